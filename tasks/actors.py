"""The Ray actors: one loaded model each. The only file with `ray.remote`, and the only way to torch.

Constructors return at once; the Editor's weights load beside them, while the video is still being read. So a restarted
actor loads by itself, and a bad folder is an ordinary `WeightsError` for whoever asks for the model. Actors restart
without limit and never retry a call: the Prefect task does, and the ledger makes that cheap.
"""

import os
import queue
import resource
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from model.config import EditConfig
from model.types import Memory

if TYPE_CHECKING:
    from model.descriptor import Descriptor
    from model.editor import MemoryEditor

LATENT_DTYPE = np.float16  # as stored: a resumed run must see the very numbers that the first run saw


def peak_bytes() -> int:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass(frozen=True)
class EditJob:
    """What the Editor needs for one segment besides the pictures and the memories' latents."""

    instruction: str
    frames: int
    seed: int
    memory_ids: tuple[str, ...]
    previous: str | None
    config: EditConfig


@ray.remote(max_restarts=-1, max_task_retries=0)
class Editor:
    """Edits segments. `progress` answers while `edit` runs."""

    def __init__(self, weights: str, dtype: str, device: str) -> None:
        loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="load")
        self._model: Future[MemoryEditor] = loader.submit(_load_editor, weights, dtype, device)
        self._step = (0, 0)

    def load(self) -> int:
        """Wait until the weights are loaded; returns the process id.

        Raises:
            WeightsError: they do not load.
        """
        self._model.result()
        return os.getpid()

    @ray.method(num_returns=3)
    def edit(self, frames: np.ndarray, job: EditJob, *latents: tuple[np.ndarray, np.ndarray]) -> tuple:
        """Edit `frames` `[n, h, w, 3]` (uint8 or uint16, n up to `job.frames`).

        Returns the edited frames (same shape and type), the edited and source latents as float16, and the seconds
        spent by part.
        """
        model = self._model.result()
        memories = [
            Memory(id=id, edited=edited, source=source, is_previous=id == job.previous)
            for id, (edited, source) in zip(job.memory_ids, latents, strict=True)
        ]
        padded = np.concatenate([frames, np.repeat(frames[-1:], job.frames - len(frames), axis=0)])
        full = np.iinfo(frames.dtype).max
        edited = model.edit(
            padded.astype(np.float32) / np.float32(full),
            job.instruction,
            memories=memories,
            seed=job.seed,
            config=job.config,
            progress=self._report,
        )
        pixels = np.rint(edited.frames[: len(frames)] * np.float32(full)).astype(frames.dtype)
        kept = (edited.edited.astype(LATENT_DTYPE), edited.source.astype(LATENT_DTYPE))
        return pixels, kept, dict(edited.seconds)

    def _report(self, step: int, steps: int) -> None:
        self._step = (step, steps)

    def progress(self) -> tuple[int, int]:
        """Denoising steps done and planned of the segment at hand."""
        return self._step

    def peak_bytes(self) -> int:
        """See the function of the same name."""
        return peak_bytes()


@ray.remote(max_restarts=-1, max_task_retries=0)
class Embedder:
    """Describes source segments: DINOv2, or the thumbnail fallback where no weights are given."""

    def __init__(self, descriptor: str) -> None:
        self._name = descriptor
        self._model: Descriptor | None = None

    def _loaded(self) -> "Descriptor":
        if self._model is None:
            self._model = _load_descriptor(self._name)
        return self._model

    def identity(self) -> tuple[str, int]:
        """The descriptor's name, as kept in every row, and its size."""
        model = self._loaded()
        return model.name, model.size

    def describe(self, frames: np.ndarray) -> np.ndarray:
        """Descriptor `[size]`, float32, of source frames `[n, h, w, 3]`."""
        return self._loaded().describe(frames)

    def peak_bytes(self) -> int:
        """See the function of the same name."""
        return peak_bytes()


def _load_editor(weights: str, dtype: str, device: str) -> "MemoryEditor":
    from model.editor import MemoryEditor

    return MemoryEditor.from_pretrained(weights, dtype=dtype, device=device)


def _load_descriptor(name: str) -> "Descriptor":
    if name == "thumbnail":
        from model.descriptor import ThumbnailDescriptor

        return ThumbnailDescriptor()
    from model.backbones.dinov2 import Dinov2Descriptor

    return Dinov2Descriptor(name)


class EditorPool:
    """A fixed set of Editors, leased one video at a time."""

    def __init__(self, editors: Sequence[Any]) -> None:
        self._free: queue.Queue[Any] = queue.Queue()
        for editor in editors:
            self._free.put(editor)

    @contextmanager
    def lease(self) -> Iterator[Any]:
        """Hold an Editor; waits until one is free."""
        editor = self._free.get()
        try:
            yield editor
        finally:
            self._free.put(editor)


def start_editors(weights: str, dtype: str, device: str, count: int = 1) -> EditorPool:
    """Create `count` Editors, which load at once; each takes a GPU, or its share of the cores where there is none."""
    cores = max(1, (os.cpu_count() or 2) - 1) // count or 1
    needs: dict[str, Any] = {"num_gpus": 1} if device.startswith("cuda") else {"num_cpus": cores}
    needs["max_concurrency"] = 2  # so that `progress` answers while `edit` runs
    return EditorPool([Editor.options(**needs).remote(weights, dtype, device) for _ in range(count)])


def start_embedder(descriptor: str) -> Any:
    """Create the Embedder. It works while the Editor does, so it asks for no core of its own."""
    return Embedder.options(num_cpus=0).remote(descriptor)


def descriptor_size(embedder: Any) -> int:
    """Length of the Embedder's descriptors; waits until it has loaded.

    Raises:
        WeightsError: its weights do not load.
    """
    return ray.get(embedder.identity.remote())[1]
