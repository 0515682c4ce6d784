"""Have Extenders and an Encoder work through pairs, side by side; what goes wrong with a pair is its own affair."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayTaskError

from model.errors import LostActorError, MemoryV2VError, RunError, WeightsError, first_line
from model.types import WindowRecord
from storage.datasets.media import draw_strip
from storage.datasets.pairs import Pair
from tasks.actors.answers import POLL_SECONDS, result_of
from tasks.actors.extender import ExtendJob, start_extenders

RETURN_SECONDS = 600.0  # that an actor that died is waited for
IN_FLIGHT = 2  # pairs given to an Extender: the next one is read from disk while the first is worked at


@dataclass(frozen=True)
class Extended:
    """What came of a pair: latents by segment, frames of the pair and behind it, how windows were made, and a preview.

    `edited` holds the segments of the target, as many as `source` has, and then those of the extension.
    """

    source: np.ndarray
    edited: np.ndarray
    clip_frames: int
    extension_frames: int
    windows: tuple[WindowRecord, ...]
    strip: np.ndarray


@dataclass(frozen=True)
class _Ordered:
    """A pair that an Extender has been given, `alone` where it gets no other meanwhile, and what will come of it."""

    pair: Pair
    extender: int
    alone: bool
    segment_frames: int
    pictures: Any
    windows: Any


def extend_together(
    pairs: Iterable[Pair], framepack: str, weights: str, device: str, count: int, job_of: Callable[[Pair], ExtendJob]
) -> Iterator[tuple[Pair, Extended | MemoryV2VError]]:
    """Extend all pairs by `count` Extenders; yields each with what came of it, whichever is done first.

    A pair whose Extender died is tried once more, on one that gets no other meanwhile: of two that it had, the one
    that ended it is known only then. Where the Encoder died, only the latents are made once more.

    Raises:
        WeightsError: a model does not load.
        RunError: loading it ended a process, or failed otherwise.
    """
    extenders, encoder = start_extenders(framepack, weights, device, count)
    waiting, again = iter(pairs), deque[Pair]()
    busy: dict[Any, _Ordered] = {}
    lost: set[str] = set()

    def idlest() -> int | None:
        """The Extender with the least to do, if there is room for the next pair."""
        loads = Counter[int]()
        for each in busy.values():
            loads[each.extender] += IN_FLIGHT if each.alone else 1
        extender = min(range(count), key=loads.__getitem__)
        return extender if loads[extender] < (1 if again else IN_FLIGHT) else None

    def order(pair: Pair, extender: int) -> None:
        job, alone = job_of(pair), pair.entry.id in lost
        if alone:
            _await(extenders[extender])
        pictures, windows = extenders[extender].extend.remote(pair, job)
        latents = encoder.encode.remote(pictures, job.segment_frames)
        busy[latents] = _Ordered(pair, extender, alone, job.segment_frames, pictures, windows)

    try:
        _load([*extenders, encoder])
        while True:
            while (extender := idlest()) is not None and (pair := again.popleft() if again else next(waiting, None)):
                order(pair, extender)
            if not busy:
                return
            ready, _ = ray.wait(list(busy), timeout=POLL_SECONDS)
            for latents in ready:
                ordered = busy.pop(latents)
                outcome = _settle(latents, ordered)
                if isinstance(outcome, LostActorError) and _is_extended(ordered):
                    _await(encoder)
                    outcome = _settle(encoder.encode.remote(ordered.pictures, ordered.segment_frames), ordered)
                elif isinstance(outcome, LostActorError) and not ordered.alone:
                    lost.add(ordered.pair.entry.id)
                    again.append(ordered.pair)
                    continue
                yield ordered.pair, outcome
    finally:
        for actor in (*extenders, encoder):
            ray.kill(actor)


def _load(actors: Sequence[Any]) -> None:
    """Wait for all models: one that cannot be loaded is no fault of the pairs, which would all fail for it."""
    loading = [actor.load.remote() for actor in actors]
    while loading:
        loaded, loading = ray.wait(loading, timeout=POLL_SECONDS)
        for each in loaded:
            try:
                result_of(each)
            except RayTaskError as fault:
                raise _told(fault) from fault


def _await(actor: Any) -> None:
    """Wait until an actor that died is back: what it is asked meanwhile would fail as if it had ended it again."""
    deadline = time.monotonic() + RETURN_SECONDS
    while time.monotonic() < deadline:
        try:
            result_of(actor.load.remote())
        except LostActorError:
            time.sleep(POLL_SECONDS)
        else:
            return


def _settle(latents: Any, ordered: _Ordered) -> Extended | MemoryV2VError:
    """What came of a pair, or what went wrong with it; a model that does not load is nobody's own affair."""
    try:
        source, edited = result_of(latents)
        shown, windows = result_of(ordered.pictures), result_of(ordered.windows)
    except WeightsError:
        raise
    except MemoryV2VError as fault:
        return fault
    except RayTaskError as fault:
        return _told(fault)
    return Extended(source, edited, len(shown[1]), len(shown[2]), windows, draw_strip(shown))


def _is_extended(ordered: _Ordered) -> bool:
    """Whether the Extender did its part, so that it was the Encoder that died."""
    try:
        result_of(ordered.pictures)
    except LostActorError:
        return False
    return True


def _told(fault: RayTaskError) -> RunError:
    return RunError(f"{type(fault.cause).__name__}: {first_line(fault.cause)}")
