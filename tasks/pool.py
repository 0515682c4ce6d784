"""Editors at work, leased one video at a time, and the Embedder beside them: who starts them, and who ends them."""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray

from model.config import PLAIN, FaultPolicy, Precision, SpeedConfig
from model.errors import LostActorError, LostEditorError
from model.rehearsal import Rehearsal
from tasks.actors.answers import result_of
from tasks.actors.editor import Editor, Embedder
from tasks.cluster import require_capacity
from tasks.editor_handle import RETURN_SECONDS, EditorHandle, Usage
from tasks.terminal import say

SPARE_SECONDS = 60.0  # that a turn which has an Editor waits for another one's weights


class EditorPool:
    """A fixed set of Editors, leased one video at a time. What they did is in `usage`.

    `create` makes the actor of one, which loads at once. `expected` counts the videos that will need one soon; a
    catalog sets it. `leased` are held by a video as its own, not as spare ones.
    """

    def __init__(self, create: Callable[[], Any], count: int, policy: FaultPolicy) -> None:
        self.usage, self.size, self._create = Usage(), count, create
        self._ended = threading.Event()
        self._all = [EditorHandle(create(), policy, self.usage, self._ended) for _ in range(count)]
        self._free: queue.Queue[EditorHandle | None] = queue.Queue()
        self._left, self._why, self.leased = len(self._all), "", 0
        self.expected: Callable[[], int] = lambda: 0
        for editor in self._all:
            self._free.put(editor)

    @contextmanager
    def lease(self) -> Iterator[EditorHandle]:
        """Hold an Editor with its model loaded; waits until one is free.

        One that dies meanwhile, and does not come back or load, is not leased again.

        Raises:
            WeightsError: the model does not load, nor did it ever.
            LostActorError: no Editor is left.
        """
        editor = self._take()
        self._count_leased(1)
        try:
            yield editor
        finally:
            self._count_leased(-1)
            self._give_back(editor)

    @contextmanager
    def lease_spare(self) -> Iterator[EditorHandle | None]:
        """Hold an Editor that nobody else needs; None if there is none now. Who holds one may ask.

        Waits for nobody, and for weights that are still being loaded a minute at most.

        Raises:
            WeightsError: the model does not load, nor did it ever.
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
        if editor.is_lost:
            self._lose(editor)
            return
        try:
            editor.settle()
        finally:
            self._free.put(editor)

    def _take(self) -> EditorHandle:
        while True:
            free = self._free.get()
            if free is None:
                self._free.put(None)  # for whoever else waits
                raise LostActorError(
                    f"no Editor is left (the last one {self._why}); "
                    "free memory, or start the lost nodes, and run it again"
                )
            if (editor := self._loaded(free, RETURN_SECONDS)) is not None:  # else another one may be there
                return editor

    def _take_spare(self) -> EditorHandle | None:
        deadline = time.monotonic() + SPARE_SECONDS
        for patient in (False, True):  # who is there at once comes first
            for _ in range(self._free.qsize()):
                if self.spare == 0:
                    return None
                try:
                    free = self._free.get_nowait()
                except queue.Empty:  # somebody was faster
                    return None
                if free is None:
                    self._free.put(None)  # the mark that none is left stays
                    return None
                seconds = deadline - time.monotonic() if patient and not free.is_late else RETURN_SECONDS
                if (editor := self._loaded(free, max(seconds, RETURN_SECONDS))) is not None:
                    return editor
        return None

    def _loaded(self, editor: EditorHandle, seconds: float) -> EditorHandle | None:
        """The Editor with its model. None where it is not there so soon: it is put back, unless it is lost."""
        with ExitStack() as undo:
            undo.callback(self._free.put, editor)  # also where its model does not load
            try:
                editor.load(seconds)
            except LostEditorError:
                editor.is_late = editor.is_late or seconds > RETURN_SECONDS
                if editor.is_lost:
                    undo.pop_all()
                    self._lose(editor)
                return None
            undo.pop_all()
            return editor

    def _lose(self, editor: EditorHandle) -> None:
        with self.usage.lock:
            self._left -= 1
            self._why = editor.why
            say(f"an Editor {editor.why}; {self._left} of {self.size} are left")
            if self._left == 0:
                self._free.put(None)

    def _count_leased(self, more: int) -> None:
        with self.usage.lock:
            self.leased += more


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
    """Raises:
    RequestError: this machine has no room for so many Editors.
    """
    (each,) = _needs(weights, device, count).values()
    require_capacity("editors", count, device, each)


def _needs(weights: str, device: str, count: int) -> dict[str, Any]:
    """A GPU, or its share of the cores where there is none; a rehearsal only waits, so that any number find room."""
    if Rehearsal.is_at(weights):
        return {"num_cpus": 0}
    if device.startswith("cuda"):
        return {"num_gpus": 1}
    cores = min(os.cpu_count() or 2, int(ray.cluster_resources().get("CPU", 1)))  # a container may have fewer
    return {"num_cpus": max(1, (cores - 1) // count)}


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
