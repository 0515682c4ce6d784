"""Decode the next segment, and look up what is known of it, while the Editor works on the present one."""

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import ray

from model.types import Segment
from storage.video import read_spans
from tasks.work import Work

AHEAD = 1  # segments waiting; one more is being decoded

Looked = TypeVar("Looked")
Look = Callable[[Segment, Any], Looked]
"""What can be known of a segment, with the video's frames in Ray's store, before the one before it is edited."""


@dataclass(frozen=True)
class FetchedSegment(Generic[Looked]):
    """A segment with the frames to edit in Ray's object store, and what was found out about it."""

    segment: Segment
    frames: Any
    looked: Looked


def prefetch(
    work: Work, segments: Sequence[Segment], look: Look[Looked]
) -> Generator[FetchedSegment[Looked], None, None]:
    """Yield each segment with all that can be known before the one before it is edited.

    One sequential decode serves them all. An error of the reading thread is raised here; leaving early stops it.
    """
    ready: queue.Queue[FetchedSegment[Looked] | BaseException] = queue.Queue(maxsize=AHEAD)
    stop = threading.Event()
    arguments = (work, segments, look, ready, stop)
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
    work: Work, segments: Sequence[Segment], look: Look[Looked], ready: queue.Queue[Any], stop: threading.Event
) -> None:
    """Body of the reading thread. Whatever goes wrong travels to the consumer, which raises it."""
    spans = [segment.span for segment in segments]
    try:
        frames = read_spans(work.info, spans, work.fit, tone_map=work.request.output.tone_map)
        for segment, pixels in zip(segments, frames, strict=True):
            shared = ray.put(pixels)
            looked, other = look(segment, shared), work.frames_to_edit(segment)
            edited = shared if other is None else ray.put(other)
            if not _put(ready, FetchedSegment(segment, edited, looked), stop):
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
