"""Adaptive token merging: condition frames that the target does not respond to are fused, never dropped (section 3.3).

Frame key (Eq. 4): the mean of a frame's keys. Responsiveness (Eq. 5): for each frame, the greatest weight that any
target query gives it in a softmax over all condition frames. So scoring costs target tokens times frames, not times
tokens. Merging (Eq. 6): a learned convolution over 2x2 neighbouring tokens of one frame, started as their mean. The
paper's r is read as the share of condition frames that is merged at a block; it grows with the number of memories.
Frames are ranked among those with the same token grid, so that every sample of a batch keeps the same shape
(docs/decisions/0005). Does not know blocks or attention; it is handed queries and keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.config import MergeConfig
from model.memory.rope import coarsen
from model.memory.sequence import Part
from model.memory.tokenizers import pad_to_multiple

SMALLEST, LARGEST = 0.3, 0.7  # the range that the paper trains with
MEMORIES_AT_LARGEST = 10


@dataclass(frozen=True)
class MergeStep:
    """What was merged before one block (1-based): for each part, the chosen frames `[batch, n]` by their place in it."""

    block: int
    chosen: tuple[Tensor | None, ...]
    frames: tuple[Tensor, ...]


@dataclass(frozen=True)
class MergePlan:
    """The merges of one forward pass. It can be shown to a person, and given to another pass, which then obeys it."""

    steps: tuple[MergeStep, ...] = ()

    def merged_frames(self, sample: int = 0) -> dict[int, list[int]]:
        """By block (1-based), the condition frames merged, numbered through all conditions in their order."""
        return {
            step.block: sorted(frame for frames in step.frames for frame in frames[sample].tolist())
            for step in self.steps
        }

    def by_video(self, frames_per_video: int, sample: int = 0) -> dict[int, dict[int, list[int]]]:
        """By condition video, and block, the latent frames of it that were merged."""
        shown: dict[int, dict[int, list[int]]] = {}
        for block, frames in self.merged_frames(sample).items():
            for frame in frames:
                video, own = divmod(frame, frames_per_video)
                shown.setdefault(video, {}).setdefault(block, []).append(own)
        return shown


class FrameMerger(nn.Module):
    """Fuses 2x2 neighbouring tokens of a frame into one: depthwise, then pointwise; begins as their mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.neighbours = nn.Conv2d(width, width, kernel_size=2, stride=2, groups=width)
        self.mix = nn.Conv2d(width, width, kernel_size=1)
        self.start_as_mean()

    def start_as_mean(self) -> None:
        """Set the weights so that a merged token is the mean of its four."""
        nn.init.constant_(self.neighbours.weight, 0.25)
        nn.init.dirac_(self.mix.weight)
        for convolution in (self.neighbours, self.mix):
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)

    def forward(
        self, tokens: Float[Tensor, "batch frame row column width"]
    ) -> Float[Tensor, "batch frame half_row half_column width"]:
        """Half the rows and columns, rounded up; an odd edge is repeated."""
        batch = tokens.shape[0]
        pictures = pad_to_multiple(rearrange(tokens, "b f r c d -> (b f) d r c"), 2)
        return rearrange(self.mix(self.neighbours(pictures)), "(b f) d r c -> b f r c d", b=batch)


def merge_fraction(config: MergeConfig, memories: int) -> float:
    """Share of frames merged at a block: as configured, else from 0.3 for one memory to 0.7 for ten and more."""
    if config.fraction is not None:
        return config.fraction
    growth = min(1.0, max(0, memories - 1) / (MEMORIES_AT_LARGEST - 1))
    return SMALLEST + (LARGEST - SMALLEST) * growth


def merge_blocks(config: MergeConfig, depth: int) -> tuple[int, ...]:
    """Blocks, 1-based, before whose attention frames are merged: 10 and 20 of 30, in proportion elsewhere."""
    if config.mode == "off":
        return ()
    return config.blocks or tuple(sorted({max(1, round(depth / 3)), max(1, round(2 * depth / 3))}))


def frame_keys(keys: Float[Tensor, "batch token width"], part: Part) -> Float[Tensor, "batch frame width"]:
    """Eq. 4: the mean key of each frame of a part, from the keys of its tokens."""
    return reduce(keys, "b (f n) d -> b f d", "mean", n=part.tokens_per_frame)


def responsiveness(
    queries: Float[Tensor, "batch target width"],
    keys: Float[Tensor, "batch frame width"],
    present: Tensor | None = None,
) -> Float[Tensor, "batch frame"]:
    """Eq. 5: for each frame, its greatest softmax weight over the target's queries. In [0, 1].

    Queries and keys are those of all heads side by side, so D is the model's width. Frames that a sample does not have
    (`present` `[batch, frame]`) get no weight.
    """
    logits = queries.float() @ keys.float().mT / queries.shape[-1] ** 0.5
    if present is not None:
        logits = logits.masked_fill(~present[:, None, :], float("-inf"))
    return logits.softmax(dim=-1).amax(dim=1)


def choose_frames(
    scores: Float[Tensor, "batch frame"], fraction: float, mode: str
) -> Int[Tensor, "batch chosen"] | None:
    """The frames to merge, in their order: the least responsive, or with mode `high` the most. None if there are none."""
    count = round(fraction * scores.shape[1])
    if count == 0:
        return None
    order = scores.argsort(dim=1, descending=mode == "high", stable=True)
    return order[:, :count].sort(dim=1).values


def merge_parts(
    parts: Sequence[Part], chosen: Sequence[Tensor | None], merger: FrameMerger, mode: str
) -> tuple[list[Part], tuple[Tensor, ...]]:
    """Merge (or with mode `discard` drop) the chosen frames of each part; returns the new parts and their frames."""
    result: list[Part] = []
    frames: list[Tensor] = []
    for part, picked in zip(parts, chosen, strict=True):
        if picked is None:
            result.append(part)
            continue
        frames.append(torch.take_along_dim(part.frames, picked, dim=1))
        if picked.shape[1] < part.frames.shape[1]:
            result.append(part.take(_others(picked, part.frames.shape[1])))
        if mode != "discard":
            fused = part.take(picked)
            result.append(replace(fused, tokens=merger(fused.tokens), rotary=coarsen(fused.rotary, 2), whole=False))
    return result, tuple(frames)


def _others(picked: Int[Tensor, "batch chosen"], frames: int) -> Int[Tensor, "batch other"]:
    """The frames that were not picked, in their order."""
    left = torch.ones(picked.shape[0], frames, dtype=torch.bool, device=picked.device)
    left = left.scatter(1, picked, torch.zeros_like(picked, dtype=torch.bool))
    return left.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, : frames - picked.shape[1]]
