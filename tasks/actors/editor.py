"""The Editor and the Embedder: what edits a segment, and what describes it."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import ray

from model.camera.trajectory import Trajectory
from model.config import PLAIN, EditConfig, Precision, SpeedConfig
from model.errors import OutOfMemoryError, RunError, first_line
from model.rehearsal import Rehearsal
from model.types import LATENT_DTYPE, EditedSegment, Memory, ViewMemory
from tasks.footprint import footprint

if TYPE_CHECKING:
    from model.descriptor import Descriptor
    from model.editor import MemoryEditor

LatentPair = tuple[np.ndarray, np.ndarray]
"""Edited and source latents of a memory."""


@dataclass(frozen=True)
class EditJob:
    """What the Editor needs for one segment of a text edit besides the pictures and the memories' latents.

    `source_latents`, float16, are those of the pictures where they are known, else None.
    """

    instruction: str
    frames: int
    seed: int
    memory_ids: tuple[str, ...]
    previous: str | None
    config: EditConfig
    source_latents: np.ndarray | None = None
    trajectory: None = None

    def memories(self, latents: Sequence[LatentPair]) -> list[Memory]:
        """The memories as the model takes them."""
        return [
            Memory(id=id, edited=edited, source=source, is_previous=id == self.previous)
            for id, (edited, source) in zip(self.memory_ids, latents, strict=True)
        ]


@dataclass(frozen=True)
class ViewJob:
    """The same for one segment of a novel view: its camera path `trajectory`, and `cameras`, those of the memories."""

    instruction: str
    frames: int
    seed: int
    memory_ids: tuple[str, ...]
    cameras: tuple[Trajectory, ...]
    config: EditConfig
    trajectory: Trajectory
    source_latents: None = None

    def memories(self, latents: Sequence[LatentPair]) -> list[ViewMemory]:
        """The memories as the model takes them."""
        views = zip(self.memory_ids, latents, self.cameras, strict=True)
        return [ViewMemory(id, edited, trajectory) for id, (edited, _), trajectory in views]


@ray.remote(max_restarts=-1, max_task_retries=0)
class Editor:
    """Edits segments. `progress` answers while `edit` runs."""

    def __init__(self, weights: str, dtype: Precision, device: str, speed: SpeedConfig = PLAIN) -> None:
        loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="load")
        self._model: Future[MemoryEditor | Rehearsal] = loader.submit(_load_or_rehearse, weights, dtype, device, speed)
        self._step = (0, 0)
        self._segments = 0
        footprint()

    def load(self) -> int:
        """Wait until the weights are loaded; returns the process id.

        Raises:
            WeightsError: they do not load.
        """
        self._model.result()
        return os.getpid()

    @ray.method(num_returns=3)
    def edit(self, frames: np.ndarray, job: EditJob | ViewJob, *latents: LatentPair) -> tuple:
        """Edit `frames` `[n, h, w, 3]` (uint8 or uint16, n up to `job.frames`).

        Returns the edited frames (same shape and type), the edited and source latents as float16, and what it tells of
        the work: the seconds spent by part, and the merges where it knows them.

        Raises:
            OutOfMemoryError: the segment does not fit.
            RunError: what came out is not finite.
        """
        model, self._step = self._model.result(), (0, 0)
        padded = np.concatenate([frames, np.repeat(frames[-1:], job.frames - len(frames), axis=0)])
        full, known = np.iinfo(frames.dtype).max, job.source_latents
        with _memory_errors():
            edited = model.edit(
                padded.astype(np.float32) / np.float32(full),
                job.instruction,
                memories=job.memories(latents),
                seed=job.seed,
                config=job.config,
                progress=self._report,
                trajectory=job.trajectory,
                source_latents=None if known is None else known.astype(np.float32),
            )
        self._segments += 1
        kept = as_stored(edited)
        pixels = np.rint(edited.frames[: len(frames)] * np.float32(full)).astype(frames.dtype)
        return pixels, kept, (dict(edited.seconds), edited.merges)

    def _report(self, step: int, steps: int) -> None:
        self._step = (step, steps)

    def progress(self) -> tuple[int, int]:
        """Denoising steps done and planned of the segment at hand."""
        return self._step

    def condition(self) -> tuple[int, int]:
        """Segments edited since this process started, and bytes that it holds: of the GPU where it has one."""
        return self._segments, self._model.result().held_bytes() or footprint().held_bytes()

    def offload(self) -> None:
        """Keep the weights in main memory while they are not used, which is slow; a new process does not."""
        _offload(self._model.result())

    def peak_bytes(self) -> int:
        """The largest private resident size of this process so far."""
        return footprint().peak_bytes()


@ray.remote(max_restarts=-1, max_task_retries=0)
class Embedder:
    """Describes source segments: DINOv2 on so many threads at most, or the thumbnail fallback without weights."""

    def __init__(self, descriptor: str, threads: int = 1) -> None:
        self._name, self._threads = descriptor, threads
        self._model: Descriptor | None = None
        footprint()

    def _loaded(self) -> "Descriptor":
        if self._model is None:
            self._model = _load_descriptor(self._name, self._threads)
        return self._model

    def identity(self) -> tuple[str, int]:
        """The descriptor's name, as kept in every row, and its size."""
        model = self._loaded()
        return model.name, model.size

    def describe(self, frames: np.ndarray) -> np.ndarray:
        """Descriptor `[size]`, float32, of source frames `[n, h, w, 3]`."""
        return self._loaded().describe(frames)

    def peak_bytes(self) -> int:
        """The largest private resident size of this process so far."""
        return footprint().peak_bytes()


def _load_or_rehearse(weights: str, dtype: Precision, device: str, speed: SpeedConfig) -> "MemoryEditor | Rehearsal":
    if Rehearsal.is_at(weights):
        return Rehearsal.open(weights)
    from model.editor import MemoryEditor

    return MemoryEditor.from_pretrained(weights, dtype=dtype, device=device, speed=speed)


def as_stored(made: EditedSegment) -> LatentPair:
    """Edited and source latents of a segment as they are kept.

    Raises:
        RunError: something of it is not finite: it would spoil all segments that recall it.
    """
    with np.errstate(over="ignore"):  # it is told below
        edited, source = made.edited.astype(LATENT_DTYPE), made.source.astype(LATENT_DTYPE)
    for name, part in (("edited latents", edited), ("source latents", source), ("edited frames", made.frames)):
        if wrong := part.size - np.count_nonzero(np.isfinite(part)):
            raise RunError(
                f"{wrong} of {part.size} numbers of the {name} are NaN, infinite or beyond float16; "
                "give another --seed, or --speed plain, and check the weights"
            )
    return edited, source


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Tell want of memory from all else; a GPU says so in a type of its own, a processor in words."""
    try:
        yield
    except (MemoryError, RuntimeError) as fault:
        if isinstance(fault, MemoryError) or "out of memory" in str(fault) or "can't allocate memory" in str(fault):
            raise OutOfMemoryError(f"not enough memory for a segment: {first_line(fault, 200)}") from None
        raise


def _offload(model: "MemoryEditor | Rehearsal") -> None:
    """Have weights lie in main memory, and visit the device a part at a time."""
    if isinstance(model, Rehearsal):
        return
    from model.backbones.placement import offload

    offload(model.backbone.pipeline, model.backbone.device)


def _load_descriptor(name: str, threads: int) -> "Descriptor":
    if name == "thumbnail":
        from model.descriptor import ThumbnailDescriptor

        return ThumbnailDescriptor()
    threads = min(threads, _cores())
    os.environ["OMP_NUM_THREADS"] = str(threads)  # as torch finds it; Ray sets 1 where an actor asks for no core
    from model.backbones.dinov2 import Dinov2Descriptor

    return Dinov2Descriptor(name)


def _cores() -> int:
    """Cores that this process may use: of those it is bound to, no more than Ray counts, which knows of containers."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    here = ray.get_runtime_context().get_node_id()
    counted = next((int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["NodeID"] == here), 0)
    return min(bound, counted) if counted else bound  # a head that takes no work says that it has none
