"""Decode and describe the next segment while the Editor works on the present one."""

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import ray

from model.types import Segment
from storage.video import read_spans
from tasks.ingest import Work

AHEAD = 1  # segments waiting; one more is being decoded


def prefetch(work: Work, segments: Sequence[Segment], embedder: Any) -> Iterator[tuple[Segment, Any, np.ndarray]]:
    """Yield each segment with its frames in Ray's object store and the descriptor of its source.

    One sequential decode serves them all. An error of the reading thread is raised here; leaving early stops it.
    """
    ready: queue.Queue[tuple[Segment, Any, Any] | BaseException] = queue.Queue(maxsize=AHEAD)
    stop = threading.Event()
    reader = threading.Thread(target=_read, args=(work, segments, embedder, ready, stop), name="prefetch", daemon=True)
    reader.start()
    try:
        for _ in segments:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            segment, frames, described = item
            yield segment, frames, ray.get(described)
    finally:
        stop.set()
        reader.join()


def _read(
    work: Work, segments: Sequence[Segment], embedder: Any, ready: queue.Queue[Any], stop: threading.Event
) -> None:
    """Body of the reading thread. Whatever goes wrong travels to the consumer, which raises it."""
    spans = [segment.span for segment in segments]
    try:
        frames = read_spans(work.info, spans, work.fit, tone_map=work.request.output.tone_map)
        for segment, pixels in zip(segments, frames, strict=True):
            shared = ray.put(pixels)
            if not _put(ready, (segment, shared, embedder.describe.remote(shared)), stop):
                break
    except BaseException as fault:  # noqa: BLE001 - handed over whole to the thread that waits
        _put(ready, fault, stop)


def _put(ready: queue.Queue[Any], item: object, stop: threading.Event) -> bool:
    """Wait for room, but not for a consumer that has gone."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
