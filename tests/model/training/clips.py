"""Training clips whose latents say where they come from."""

import numpy as np
import torch

from model.training.objective import TextStates
from model.types import TrainingClip
from tests.model.toy import CHANNELS, TEXT

SEGMENTS = 6
GRID = (2, 8, 8)  # time, rows, columns


def marked_clip(number: int, fixed: bool = False, versions: int = 2, unchanged: tuple[int, ...] = ()) -> TrainingClip:
    """Every latent of a source is 1000 * clip + segment, of a version 100 * (version + 1) more.

    In `unchanged` segments versions are the source.
    """
    shape = (SEGMENTS, CHANNELS, *GRID)
    source = (1000 * number + np.arange(SEGMENTS))[:, None, None, None, None] * np.ones(shape, np.float32)
    changed = np.array([segment not in unchanged for segment in range(SEGMENTS)])[:, None, None, None, None]
    edited = tuple((source + 100 * (version + 1) * changed).astype(np.float32) for version in range(versions))
    regions = np.zeros((SEGMENTS, *GRID), bool)
    regions[..., :2] = True
    return TrainingClip(f"clip-{number}", f"edit {number}", fixed, source.astype(np.float32), edited, regions)


def read_mark(latents: np.ndarray) -> tuple[int, int, int]:
    """Clip, version (-1: the source) and segment of the latents of one sample."""
    (value,) = np.unique(latents).astype(int).tolist()
    return value // 1000, value % 1000 // 100 - 1, value % 100


def noise_clips(count: int, seed: int = 0) -> list[TrainingClip]:
    """Clips to be learned: a source of few numbers, and an edit that adds one to it, another that takes one away."""
    random = np.random.default_rng(seed)
    clips = []
    for number in range(count):
        source = np.repeat(random.standard_normal((SEGMENTS, CHANNELS, 1, 1, 1)), 128, axis=-1)
        source = source.reshape(SEGMENTS, CHANNELS, *GRID).astype(np.float32)
        regions = np.zeros((SEGMENTS, *GRID), bool)
        clips.append(TrainingClip(f"clip-{number}", "add", False, source, (source + 1, source - 1), regions))
    return clips


def texts(*instructions: str) -> TextStates:
    """A random state for each instruction, and for the empty one."""
    random = torch.Generator().manual_seed(0)
    states = {each: torch.randn(1, 3, TEXT, generator=random) for each in ("", *instructions)}
    return TextStates(states.__getitem__)
