"""One Editor as the driver sees it: fed a segment, watched while it edits, and started anew when that is due.

The one place where the process of an Editor is expected to die, to hang or to run out of memory. What is wrong with a
segment comes out as a `SegmentError`, which `tasks/desk.py` counts; what is wrong with an Editor is mended here.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, RayError, RayTaskError

from model.config import FaultPolicy
from model.errors import InputError, LostActorError, LostEditorError, OutOfMemoryError, first_line
from model.types import Merge
from storage.faults import FaultKind
from tasks.actors.answers import DEATHS, as_raised
from tasks.actors.editor import EditJob, LatentPair, ViewJob
from tasks.metrics import count_death, count_segment

POLL_SECONDS, LONGEST_POLL = 0.5, 2.0  # between looks at an Editor at work: they cost the driver some 1.4 ms each
LOOKS_BEFORE_HANGING = 4
RETURN_SECONDS = 1.0  # between looks at whether an Editor is back


class SegmentError(Exception):
    """An attempt at a segment that failed. `kind` says whether the Editor died of it, or wanted too much memory."""

    kind: FaultKind

    def __init__(self, kind: FaultKind, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


@dataclass
class Usage:
    """What Editors did: seconds at work, and the wait before each segment but an Editor's first.

    `segments` counts attempts. `first` and `last` are when the first segment reached an Editor and the last one left
    it, None before. `loaded`: some Editor has had its model.
    """

    segments: int = 0
    busy: float = 0.0
    waits: list[float] = field(default_factory=list)
    first: float | None = None
    last: float | None = None
    loaded: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def utilisation(self, editors: int) -> float | None:
        """Share of the time between first and last in which `editors` Editors were at work; None before."""
        if self.first is None or self.last is None or self.last <= self.first:
            return None
        return self.busy / (editors * (self.last - self.first))


class EditorHandle:
    """One Editor as the driver sees it.

    `waited` is how long it had nothing to do before its last segment. `is_late`: as a spare it was waited
    for in vain, and is waited for no more until it has loaded (its pool says so); `is_lost`: it was waited for in vain
    for as long as the policy says, or does not load while others could. `why` says what became of it then.
    """

    def __init__(self, actor: Any, policy: FaultPolicy, usage: Usage, ended: threading.Event) -> None:
        self.actor, self._policy, self._usage, self._ended = actor, policy, usage, ended
        self._idle_since: float | None = None
        self._first_held: int | None = None
        self._process = self._ended_process = 0
        self.waited: float | None = None
        self._waited_for, self._asked = 0.0, None
        self.is_late = self.is_lost = self._is_offloaded = False
        self.why = ""

    def load(self, seconds: float | None = None) -> None:
        """Wait until the weights are loaded, also where the Editor has just died and starts anew.

        Waits `seconds` at most, and never longer than is left of the policy's `load_seconds`, which count on over calls
        until it has loaded.

        Raises:
            WeightsError: they do not load, nor did they ever in this pool.
            RequestError: its machine cannot do what the speed asks for; the same holds.
            LostEditorError: it did not come back in time, dies while it loads, or cannot load what loaded before.
            LostActorError: the run is being ended.
        """
        began, left = time.monotonic(), self._policy.load_seconds - self._waited_for
        deadline = began + (left if seconds is None else min(seconds, left))
        while True:
            try:
                process = self._answer(max(deadline - time.monotonic(), RETURN_SECONDS))
                if process != self._ended_process or time.monotonic() >= began + left:  # the old one may still answer
                    self._began_in(process)
                    return
                why = "its last process has not ended"
            except RayTaskError as fault:
                if not self._usage.loaded:
                    raise as_raised(fault) from None
                self.is_lost = True
                raise self._lost(f"does not load any more: {_cause(fault)}") from None
            except (*DEATHS, GetTimeoutError) as fault:
                self._require_going_on()
                why = first_line(fault)
            if time.monotonic() >= deadline:
                self._waited_for += time.monotonic() - began
                self.is_lost = self._waited_for >= self._policy.load_seconds
                raise self._lost(f"did not come back within {self._waited_for:.3g} s ({why})")
            time.sleep(RETURN_SECONDS)

    def edit(
        self,
        frames: Any,
        job: EditJob | ViewJob,
        latents: Sequence[Any],
        report: Callable[[float], None],
    ) -> tuple[Any, tuple[LatentPair, Any], float, tuple[Merge, ...] | None]:
        """Edit one segment; `frames` and `latents` are Ray references. `report` gets the share done.

        Returns the pixels, the latents with a reference to them, the Editor's seconds, and what it merged, if it tells.

        Raises:
            SegmentError: the attempt failed; the Editor can be used again after `load`.
            InputError: the request itself is at fault, and another attempt would be too.
            LostActorError: the run is being ended.
        """
        started = self._begin()
        try:
            with self._attempting():
                results = self.actor.edit.remote(frames, job, *latents)
                self._watch(results[0], report)
                pixels, pair, (seconds, merges) = ray.get(results)
        finally:
            self._end(started)
        count_segment(seconds["total"], self.waited)
        return pixels, (pair, results[1]), seconds["total"], merges

    def offload(self) -> None:
        """Have the Editor keep its weights in main memory while they are not used, until it starts anew.

        Raises: as `edit` does.
        """
        self._is_offloaded = True
        with self._attempting():
            ray.get(self.actor.offload.remote())

    def restart(self) -> None:
        """End the process; Ray starts another one, which loads by itself."""
        self._ended_process = self._process
        ray.kill(self.actor, no_restart=False)

    def peak_bytes(self) -> int:
        """The largest private memory of its process so far."""
        return ray.get(self.actor.peak_bytes.remote())

    def settle(self) -> None:
        """Between two videos: start anew after so many segments, or where memory has grown too far.

        Also where weights had to make room, since it is slow from then on, and where not even this can be asked.
        """
        if self._is_offloaded:
            self.restart()
            return
        try:
            segments, held = ray.get(self.actor.condition.remote(), timeout=RETURN_SECONDS)
        except RayTaskError:
            self.restart()
            return
        except (*DEATHS, GetTimeoutError):
            return  # whoever leases it next waits for it
        if segments == 0:
            return
        first = self._first_held = self._first_held or held
        if is_due(segments, held / first, self._policy):
            self.restart()

    def _answer(self, seconds: float) -> int:
        """The process in which the model is loaded. Who asks again, since it took too long, asks the same question."""
        asked, self._asked = self._asked or self.actor.load.remote(), None
        try:
            return ray.get(asked, timeout=seconds)
        except GetTimeoutError:
            self._asked = asked
            raise

    def _began_in(self, process: int) -> None:
        """Its model is loaded, in this process: what was known of another one is out of date."""
        if process != self._process:
            self._first_held = self._idle_since = None
            self._is_offloaded = False
        self._process, self._waited_for, self.is_late = process, 0.0, False
        self._usage.loaded = True

    def _lost(self, why: str) -> LostEditorError:
        self.why = why
        return LostEditorError(f"an Editor {why}; free memory, or start its node again, then run the same command")

    @contextmanager
    def _attempting(self) -> Iterator[None]:
        """Whatever Ray raises meanwhile, as what went wrong with an attempt."""
        try:
            yield
        except DEATHS as fault:
            self._require_going_on()
            count_death()
            raise SegmentError("death", f"the model's process died: {first_line(fault)}") from fault
        except InputError as fault:
            raise as_raised(fault) from None
        except OutOfMemoryError as fault:
            raise SegmentError("memory", first_line(fault)) from fault
        except (RayTaskError, ObjectLostError) as fault:  # lost with the node that had made it
            raise SegmentError("error", _cause(fault)) from fault

    def _require_going_on(self) -> None:
        """That an Editor dies with its run is no fault of a segment."""
        if self._ended.is_set():
            raise LostActorError("the run was ended; the same command goes on from there")

    def _begin(self) -> float:
        now = time.perf_counter()
        with self._usage.lock:
            self._usage.segments += 1
            self.waited = None if self._idle_since is None else now - self._idle_since
            if self.waited is not None:
                self._usage.waits.append(self.waited)
            self._usage.first = min(self._usage.first or now, now)
        return now

    def _end(self, started: float) -> None:
        now = time.perf_counter()
        with self._usage.lock:
            self._idle_since = now
            self._usage.busy += now - started
            self._usage.last = max(self._usage.last or now, now)

    def _watch(self, result: Any, report: Callable[[float], None]) -> None:
        """Wait for `result`; an Editor that stands still for too long is killed."""
        seen, moved, pause = None, time.monotonic(), POLL_SECONDS
        longest = max(POLL_SECONDS, min(LONGEST_POLL, self._policy.hang_seconds / LOOKS_BEFORE_HANGING))
        while not ray.wait([result], timeout=pause, fetch_local=False)[0]:
            pause = min(2 * pause, longest)
            step = self._step()
            if step is not None and step != seen:
                seen, moved = step, time.monotonic()
                report(step[0] / step[1] if step[1] else 0.0)
            elif time.monotonic() - moved > self._policy.hang_seconds:
                self.restart()
                count_death()
                raise SegmentError("death", f"no progress for {self._policy.hang_seconds:g} s; its process was killed")

    def _step(self) -> tuple[int, int] | None:
        try:
            return ray.get(self.actor.progress.remote(), timeout=POLL_SECONDS)
        except GetTimeoutError:
            return None


def is_due(segments: int, growth: float, policy: FaultPolicy) -> bool:
    """Whether an Editor is to start anew: it edited so many segments, and holds so many times what it held at first."""
    return segments >= policy.recycle_after or growth > policy.growth


def _cause(fault: RayError) -> str:
    """The error raised in the Editor, without the traceback that Ray adds."""
    cause = getattr(fault, "cause", fault)
    return f"{type(cause).__name__}: {first_line(cause)}"
