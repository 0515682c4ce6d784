"""Decode, describe and look up the next segment while the Editor works on the present one."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from model.memory.retrieval import Candidate
from model.types import Segment
from storage.video import read_spans
from tasks.ingest import Work

AHEAD = 1  # segments waiting; one more is being decoded

Find = Callable[[Segment, np.ndarray], list[Candidate]]
"""The memories in the store that a segment with this descriptor might recall."""


@dataclass(frozen=True)
class FetchedSegment:
    """A segment with the frames to edit in Ray's object store, a descriptor, and what the store held for it.

    The descriptor is of the user's video, also where an earlier turn's result is edited: what looked alike there stays
    alike, however often it was edited since.
    """

    segment: Segment
    frames: Any
    descriptor: np.ndarray
    found: list[Candidate]


def prefetch(work: Work, segments: Sequence[Segment], embedder: Any, find: Find) -> Iterator[FetchedSegment]:
    """Yield each segment with all that can be known before the one before it is edited.

    One sequential decode serves them all. An error of the reading thread is raised here; leaving early stops it.
    """
    ready: queue.Queue[FetchedSegment | BaseException] = queue.Queue(maxsize=AHEAD)
    stop = threading.Event()
    arguments = (work, segments, embedder, find, ready, stop)
    reader = threading.Thread(target=_read, args=arguments, name="prefetch", daemon=True)
    reader.start()
    try:
        for _ in segments:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        reader.join()


def _read(
    work: Work,
    segments: Sequence[Segment],
    embedder: Any,
    find: Find,
    ready: queue.Queue[Any],
    stop: threading.Event,
) -> None:
    """Body of the reading thread. Whatever goes wrong travels to the consumer, which raises it."""
    spans = [segment.span for segment in segments]
    try:
        frames = read_spans(work.info, spans, work.fit, tone_map=work.request.output.tone_map)
        for segment, pixels in zip(segments, frames, strict=True):
            shared = ray.put(pixels)
            descriptor: Any = ray.get(embedder.describe.remote(shared))
            edited = shared if work.parent is None else ray.put(work.parent.frames(segment))
            if not _put(ready, FetchedSegment(segment, edited, descriptor, find(segment, descriptor)), stop):
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
