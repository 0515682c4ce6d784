"""Editors at work: leased one video at a time, watched while they edit, and started anew when that is due.

The one place where the process of an Editor is expected to die, to hang or to run out of memory. What is wrong with a
segment comes out as a `SegmentError`, which `tasks/edit.py` counts; what is wrong with an Editor is mended here.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from model.config import PLAIN, FaultPolicy, Precision, SpeedConfig
from model.errors import InputError, LostActorError, OutOfMemoryError, RequestError
from model.rehearsal import Rehearsal
from model.types import Merge
from storage.faults import FaultKind
from tasks.actors.answers import as_raised, result_of
from tasks.actors.editor import EditJob, Editor, Embedder, LatentPair, ViewJob
from tasks.metrics import count_death, count_segment

POLL_SECONDS, LONGEST_POLL = 0.5, 2.0  # between looks at an Editor at work: they cost the driver some 1.4 ms each
LOOKS_BEFORE_HANGING = 4
RETURN_SECONDS = 1.0  # between looks at whether an Editor is back
SPARE_SECONDS = 60.0  # that a turn which has an Editor waits for another one's weights


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
    it, None before.
    """

    segments: int = 0
    busy: float = 0.0
    waits: list[float] = field(default_factory=list)
    first: float | None = None
    last: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def utilisation(self, editors: int) -> float | None:
        """Share of the time between first and last in which `editors` Editors were at work; None before."""
        if self.first is None or self.last is None or self.last <= self.first:
            return None
        return self.busy / (editors * (self.last - self.first))


class EditorHandle:
    """One Editor as the driver sees it. `waited` is how long it had nothing to do before its last segment."""

    def __init__(self, actor: Any, policy: FaultPolicy, usage: Usage, ended: threading.Event) -> None:
        self.actor, self._policy, self._usage, self._ended = actor, policy, usage, ended
        self._idle_since: float | None = None
        self._first_held: int | None = None
        self._process = self._ended_process = 0
        self.waited: float | None = None

    def load(self, seconds: float | None = None) -> None:
        """Wait until the weights are loaded, also where the Editor has just died and starts anew.

        It has so many `seconds`; None is what the policy gives it.

        Raises:
            WeightsError: they do not load.
            RequestError: its machine cannot do what the speed asks for.
            LostActorError: it did not come back in time, or dies while it loads.
        """
        seconds = self._policy.load_seconds if seconds is None else seconds
        deadline = time.monotonic() + seconds
        while True:
            try:
                answer = self.actor.load.remote()
                self._process = ray.get(answer, timeout=max(deadline - time.monotonic(), RETURN_SECONDS))
                if self._process != self._ended_process or time.monotonic() >= deadline:  # the old one may still answer
                    return
                time.sleep(RETURN_SECONDS)
            except RayTaskError as fault:
                raise as_raised(fault) from None
            except (RayActorError, GetTimeoutError) as fault:
                self._require_going_on()
                if time.monotonic() >= deadline:
                    raise LostActorError(
                        f"an Editor did not come back within {seconds:g} s ({_first_line(fault)}); "
                        "free memory, or start its node again, then run the same command"
                    ) from fault
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
            results = self.actor.edit.remote(frames, job, *latents)
            self._watch(results[0], report)
            pixels, pair, (seconds, merges) = ray.get(results)
        except RayActorError as fault:
            self._require_going_on()
            count_death()
            raise SegmentError("death", f"the model's process died: {_first_line(fault)}") from fault
        except InputError as fault:
            raise as_raised(fault) from None
        except OutOfMemoryError as fault:
            raise SegmentError("memory", _first_line(fault)) from fault
        except RayTaskError as fault:
            raise SegmentError("error", _cause(fault)) from fault
        finally:
            self._end(started)
        count_segment(seconds["total"], self.waited)
        return pixels, (pair, results[1]), seconds["total"], merges

    def offload(self) -> None:
        """Have the Editor keep its weights in main memory while they are not used, until it starts anew."""
        ray.get(self.actor.offload.remote())

    def restart(self) -> None:
        """End the process; Ray starts another one, which loads by itself."""
        self._first_held = self._idle_since = None
        self._ended_process = self._process
        ray.kill(self.actor, no_restart=False)

    def peak_bytes(self) -> int:
        """The largest private memory of its process so far."""
        return ray.get(self.actor.peak_bytes.remote())

    def settle(self) -> None:
        """Between two videos: start anew after so many segments, or where memory has grown too far."""
        try:
            segments, held = ray.get(self.actor.condition.remote(), timeout=RETURN_SECONDS)
        except (RayActorError, RayTaskError, GetTimeoutError):
            return  # whoever leases it next waits for it, and is told where its model does not load
        if segments == 0:
            return
        first = self._first_held = self._first_held or held
        if is_due(segments, held / first, self._policy):
            self.restart()

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


class EditorPool:
    """A fixed set of Editors, leased one video at a time. What they did is in `usage`.

    `create` makes the actor of one, which loads at once. `expected` counts the videos that will need one soon; a
    catalog sets it.
    """

    def __init__(self, create: Callable[[], Any], count: int, policy: FaultPolicy) -> None:
        self.usage, self.size, self._create = Usage(), count, create
        self._ended = threading.Event()
        self._all = [EditorHandle(create(), policy, self.usage, self._ended) for _ in range(count)]
        self._free: queue.Queue[EditorHandle | None] = queue.Queue()
        self._left = len(self._all)
        self.expected: Callable[[], int] = lambda: 0
        for editor in self._all:
            self._free.put(editor)

    @contextmanager
    def lease(self) -> Iterator[EditorHandle]:
        """Hold an Editor with its model loaded; waits until one is free.

        Raises:
            WeightsError: the model does not load.
            LostActorError: no Editor is left.
        """
        editor = self._take()
        try:
            yield editor
        finally:
            self._give_back(editor)

    @contextmanager
    def lease_spare(self) -> Iterator[EditorHandle | None]:
        """Hold an Editor that nobody else needs; None if there is none now. Who holds one may ask.

        Waits for nobody, and for weights that are still being loaded a minute at most.

        Raises:
            WeightsError: the model does not load.
        """
        editor = self._take_spare()
        try:
            yield editor
        finally:
            if editor is not None:
                self._give_back(editor)

    @property
    def spare(self) -> int:
        """Editors that nobody holds, or will need soon."""
        return max(0, self._free.qsize() - self.expected())

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Have no Editors for a while in which none is held: another run may need their GPUs to come to its end."""
        for editor in self._all:
            ray.kill(editor.actor)
        try:
            yield
        finally:
            for editor in self._all:
                editor.actor = self._create()

    def close(self) -> None:
        """End all Editors; who holds one is told that the run was ended."""
        self._ended.set()
        for editor in self._all:
            ray.kill(editor.actor)

    def _give_back(self, editor: EditorHandle) -> None:
        try:
            editor.settle()
        finally:
            self._free.put(editor)

    def _take(self) -> EditorHandle:
        while True:
            free = self._free.get()
            if free is None:
                self._free.put(None)  # for whoever else waits
                raise LostActorError("no Editor is left; free memory, or start the lost nodes, and run it again")
            if (editor := self._loaded(free)) is not None:
                return editor

    def _take_spare(self) -> EditorHandle | None:
        if self.spare == 0:
            return None
        try:
            free = self._free.get_nowait()
        except queue.Empty:  # somebody was faster
            return None
        if free is None:
            self._free.put(None)  # the mark that none is left stays
            return None
        with ExitStack() as undo:
            undo.callback(self._free.put, free)  # where its model does not load, or not soon
            try:
                free.load(SPARE_SECONDS)
            except LostActorError:
                return None
            undo.pop_all()
            return free

    def _loaded(self, editor: EditorHandle) -> EditorHandle | None:
        """The Editor with its model, or None where it does not come back."""
        with ExitStack() as undo:
            undo.callback(self._free.put, editor)  # where its model does not load
            try:
                editor.load()
            except LostActorError:
                self._left -= 1
                undo.pop_all()
                if self._left == 0:
                    self._free.put(None)
                return None
            undo.pop_all()
            return editor


def start_editors(
    weights: str,
    dtype: Precision,
    device: str,
    count: int = 1,
    policy: FaultPolicy | None = None,
    speed: SpeedConfig = PLAIN,
) -> EditorPool:
    """Create `count` Editors, which load at once; what each takes of a node, `_needs` says.

    Raises:
        RequestError: this machine has no room for so many.
    """
    require_room(weights, device, count)
    needs = _needs(weights, device, count) | {"max_concurrency": 2}  # so that `progress` answers while `edit` runs
    asked = (weights, dtype, device, speed)
    return EditorPool(lambda: Editor.options(**needs).remote(*asked), count, policy or FaultPolicy())


def require_room(weights: str, device: str, count: int) -> None:
    """Ray would wait for room for ever; where there is a cluster to join, it may still come.

    Raises:
        RequestError: this machine has no room for so many Editors.
    """
    (name, each), *_ = _needs(weights, device, count).items()
    kind = {"num_gpus": "GPU", "num_cpus": "CPU"}[name]
    room = int(ray.cluster_resources().get(kind, 0)) // each if each else count
    if count > room and not os.environ.get("RAY_ADDRESS"):
        raise RequestError(f"editors {count}: this machine has room for {room}, one {kind} each; or set RAY_ADDRESS")


def _needs(weights: str, device: str, count: int) -> dict[str, Any]:
    """A GPU, or its share of the cores where there is none; a rehearsal only waits, so that any number find room."""
    if device.startswith("cuda"):
        return {"num_gpus": 1}
    cores = min(os.cpu_count() or 2, int(ray.cluster_resources().get("CPU", 1)))  # a container may have fewer
    return {"num_cpus": 0 if Rehearsal.is_at(weights) else max(1, (cores - 1) // count)}


def start_embedder(descriptor: str, device: str = "cpu") -> Any:
    """Create the Embedder. It works while the Editors do, so it asks for no core of its own.

    Where those are on GPUs it takes the cores that they leave idle: on one, DINOv2-base needs 35 s for 81 frames, and a
    GPU would wait for it.
    """
    threads = max(1, (os.cpu_count() or 2) - 1) if device.startswith("cuda") else 1
    return Embedder.options(num_cpus=0).remote(descriptor, threads)


def dismiss(editors: EditorPool, embedder: Any) -> None:
    """End these actors, with the cores and GPUs that they hold: the traceback of a death would keep them alive."""
    editors.close()
    ray.kill(embedder)


def descriptor_of(embedder: Any) -> tuple[str, int]:
    """Name and length of the Embedder's descriptors; waits until it has loaded.

    Raises:
        WeightsError: its weights do not load.
    """
    return result_of(embedder.identity.remote())


def _first_line(fault: BaseException) -> str:
    return next((line.strip() for line in str(fault).splitlines() if line.strip()), type(fault).__name__)


def _cause(fault: RayTaskError) -> str:
    """The error raised in the Editor, without the traceback that Ray adds."""
    cause = getattr(fault, "cause", fault)
    return f"{type(cause).__name__}: {_first_line(cause)}"
