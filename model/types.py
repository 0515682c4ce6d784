"""The records that travel between the parts. Numpy half: no torch.

Conventions, stated once: spans are half-open in source frames; frames are RGB, channel last; latents are channel
first; pixel values are [0, 1] as floats, or the full range of their integer type.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from model.camera.trajectory import Trajectory

LATENT_DTYPE = np.float16  # in which latents are kept: a resumed run must see the very numbers that the first run saw
CHANGE = 0.25  # of a latent, in units of its spread: less is no change of a segment


@dataclass(frozen=True, order=True)
class Span:
    """Source frames `start` (included) to `stop` (excluded)."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        assert 0 <= self.start < self.stop, f"empty or negative span [{self.start}, {self.stop})"

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Shot:
    """The frames between two cuts."""

    index: int
    span: Span


@dataclass(frozen=True)
class Segment:
    """One window of a shot that the model edits at once.

    `frames` is the length the model sees, 4k+1; where the shot is shorter, the last frame is repeated
    `padding` times on the way in and the surplus cropped on the way out.
    """

    index: int
    shot: int
    span: Span
    frames: int

    @property
    def padding(self) -> int:
        return self.frames - len(self.span)


@dataclass(frozen=True)
class Memory:
    """One remembered segment, as the model sees it (paper section 3.1: the external cache holds VAE latents).

    `edited` and `source` are normalised VAE latents. `is_previous` marks the segment edited immediately before in the
    same shot: it has a temporal range of its own (supplement E.2).
    """

    id: str
    edited: Float[np.ndarray, "channel time row column"]
    source: Float[np.ndarray, "channel time row column"]
    is_previous: bool = False


@dataclass(frozen=True)
class ViewMemory:
    """One remembered novel view, as the model sees it: normalised VAE latents, and the cameras it was rendered along.

    `trajectory` is relative to the first camera of the user's video, as all trajectories of a session are.
    """

    id: str
    edited: Float[np.ndarray, "channel time row column"]
    trajectory: Trajectory


Reason = Literal["previous", "similar", "view", "recent", "random"]
"""`previous` and `similar` are of text edits; `view` saw what the target sees; the others are baselines of views."""


@dataclass(frozen=True)
class Recall:
    """Why a memory was taken for a segment. `score` is cosine similarity for long edits, FOV score for novel views."""

    id: str
    score: float
    reason: Reason


@dataclass(frozen=True)
class Merge:
    """Latent frames of one memory that were fused before one block (paper section 3.3).

    `memory` is its place among the recalled, best first, from 0; `block` counts from 1; `frames` from 0, in the order
    of the video that is remembered.
    """

    memory: int
    block: int
    frames: tuple[int, ...]


@dataclass(frozen=True)
class EditedSegment:
    """What the editor returns for one segment.

    `frames` are in [0, 1]; the latents are normalised and are handed on to later segments without re-encoding.
    `merges` are those of its first denoising step, None where the model does not tell.
    """

    frames: Float[np.ndarray, "frame height width 3"]
    edited: Float[np.ndarray, "channel time row column"]
    source: Float[np.ndarray, "channel time row column"]
    seconds: dict[str, float] = field(default_factory=dict)
    merges: tuple[Merge, ...] | None = None


@dataclass(frozen=True)
class WindowRecord:
    """How one window of an extension was made: its drift by kind, how often it was drawn, and whether it was kept."""

    drift: Mapping[str, float]
    draws: int
    kept: bool


@dataclass(frozen=True)
class TrainingClip:
    """An edited clip as normalised latents, by segment. `versions` are results of the edit: for a `fixed` instruction
    the first is right and others contradict it, for an open one all are right. `regions` marks latents that weigh more.

    Segments behind the last one with a source are an extension, which can only be remembered (section 4.1). Of novel
    views, `cameras` are the poses by latent frame, and `source` is the user's video at the same time.
    """

    id: str
    instruction: str
    fixed: bool
    source: Float[np.ndarray, "sourced channel time row column"]
    versions: tuple[Float[np.ndarray, "segment channel time row column"], ...]
    regions: Bool[np.ndarray, "sourced time row column"]
    cameras: Float[np.ndarray, "segment time 12"] | None = None

    def __len__(self) -> int:
        return len(self.versions[0])

    @property
    def extended(self) -> bool:
        """Whether it goes on where its source ends."""
        return len(self.source) < len(self)

    @cached_property
    def changed(self) -> Bool[np.ndarray, " segment"]:
        """Which of the segments with a source the edit changes at all."""
        first = self.versions[0][: len(self.source)].astype(np.float32) - self.source
        return np.abs(first).max(axis=(1, 2, 3, 4)) > CHANGE
