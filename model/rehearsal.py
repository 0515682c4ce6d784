"""A stand-in for a model, to rehearse a night without a GPU: it waits as long as a segment would take.

Everything around it is real: decoding, retrieval, commits, stitching. It hands back the pictures unchanged, with
latents of the usual size. Trouble is rehearsed, too: an instruction with `[error]`, `[memory]`, `[hang]` or `[death]`
in it fails that way at every segment, with `[error:20]` at some 20 in 100, always the same ones; with `[tight]` a
segment fits into memory in tiles alone; with `[drift]` its colours come out wrong, which is no error. Which segments
are concerned follows from their noise: another attempt may be spared. Numpy half: no torch.
"""

import json
import os
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from model.config import PRESET_FILE, EditConfig, Preset, SamplingConfig, WindowConfig
from model.types import EditedSegment, Memory, ViewMemory

PIPELINE = "Rehearsal"  # the class that its model_index.json names
SETTINGS = "rehearsal.json"
CHANNELS, PIXELS = 16, 8  # of latents, and in height and width of one
STEPS = 20  # so often it says how far it is
TROUBLE = re.compile(r"\[(error|memory|tight|hang|death|drift)(?::([0-9]{1,3}))?\]")
DRIFT = np.array([0.1, 0.0, -0.1], np.float32)  # of the range of colours
HANG_SECONDS = 10**6


@dataclass(frozen=True)
class Rehearsal:
    """Takes `seconds` for a segment."""

    seconds: float

    @staticmethod
    def is_at(folder: str | Path) -> bool:
        """Whether a model folder is a rehearsal."""
        return (Path(folder) / SETTINGS).is_file()

    @classmethod
    def open(cls, folder: str | Path) -> "Rehearsal":
        """The rehearsal that `write_rehearsal` wrote."""
        return cls(**json.loads((Path(folder) / SETTINGS).read_text()))

    def held_bytes(self) -> int:
        """Bytes of a GPU that it holds: none."""
        return 0

    def edit(
        self,
        source: Float32[np.ndarray, "frame height width 3"],
        instruction: str = "",
        memories: Sequence[Memory] | Sequence[ViewMemory] = (),
        seed: int = 0,
        config: EditConfig | None = None,
        progress: Any = None,
        **_others: Any,
    ) -> EditedSegment:
        """What `MemoryEditor.edit` would return, with the pictures as they were."""
        trouble = meets(instruction, seed)
        rehearse_trouble(trouble, tiled=config is not None and config.tile is not None)
        for step in range(1, STEPS + 1):
            time.sleep(self.seconds / STEPS)
            if progress is not None:
                progress(step, STEPS)
        frames, height, width, _ = source.shape
        shape = (CHANNELS, (frames - 1) // 4 + 1, height // PIXELS, width // PIXELS)
        latents = np.full(shape, source.mean(), np.float32)
        pictures = np.clip(source + DRIFT, 0, 1) if trouble == "drift" else source
        return EditedSegment(frames=pictures, edited=latents, source=latents, seconds={"total": self.seconds})


def meets(instruction: str, seed: int) -> str | None:
    """The trouble that an instruction asks for, if the segment of this seed is one of those that have it."""
    found = TROUBLE.search(instruction)
    return found[1] if found is not None and seed % 100 < int(found[2] or 100) else None


def rehearse_trouble(trouble: str | None, tiled: bool) -> None:
    """Fail, if that is the trouble."""
    if trouble == "death":
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "hang":
        time.sleep(HANG_SECONDS)
    if trouble == "memory" or (trouble == "tight" and not tiled):
        raise MemoryError("rehearsed: out of memory")
    if trouble == "error":
        raise ValueError("rehearsed: this segment does not work")


def write_rehearsal(folder: Path, seconds: float) -> None:
    """Write a model folder; its preset is last."""
    folder.mkdir(parents=True, exist_ok=True)
    preset = Preset(
        name="rehearsal",
        window=WindowConfig(frames=5, overlap=1, height=64, width=64),
        edit=EditConfig(sampling=SamplingConfig(steps=STEPS, guidance=1)),
    )
    (folder / "model_index.json").write_text(json.dumps({"_class_name": PIPELINE}))
    (folder / SETTINGS).write_text(json.dumps({"seconds": seconds}))
    (folder / PRESET_FILE).write_text(preset.model_dump_json())  # not indented: its bytes are part of names
