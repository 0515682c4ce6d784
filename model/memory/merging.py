"""Adaptive token merging: condition frames that the target does not respond to are fused, never dropped (section 3.3).

Frame key (Eq. 4): the mean of a frame's keys. Responsiveness (Eq. 5): for each frame, the greatest weight that any
target query gives it in a softmax over all condition frames. So scoring costs target tokens times frames, not times
tokens. Merging (Eq. 6): a learned convolution over 2x2 neighbouring tokens of one frame, started as their mean. The
paper's r is read as the share of condition frames, of those still whole, that is merged at a block: two blocks merge
1 - (1 - r)^2 of all. It grows with the number of memories.
Frames compete with those of the same token grid, so that the length of the sequence does not depend on the scores.
Does not know blocks or attention; it is handed queries and keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn

from model.config import MergeConfig
from model.memory.rope import coarsen
from model.memory.sequence import Part
from model.memory.tokenizers import pad_to_multiple
from model.types import Merge

SMALLEST, LARGEST = 0.3, 0.7  # the range that the paper trains with
MEMORIES_AT_LARGEST = 10
NOBODY = -1  # in place of a frame's number where a sample has no frame


@dataclass(frozen=True)
class Choice:
    """Frames of one part by their place in it: `merged` `[B, m]` and `kept` `[B, k]`.

    Where samples have different numbers of frames, the shorter ones are filled up with places that are not `real`.
    """

    merged: Tensor
    kept: Tensor
    merged_real: Tensor | None = None
    kept_real: Tensor | None = None


@dataclass(frozen=True)
class MergeStep:
    """What was merged before one block (1-based): for each part a choice, and the numbers of its merged frames.

    The first `live` parts are those of live videos.
    """

    block: int
    choices: tuple[Choice | None, ...]
    frames: tuple[Tensor | None, ...]
    live: int = 0

    def share(self, live: bool) -> "MergeStep":
        """What concerns live videos, or all else."""
        mine = slice(self.live) if live else slice(self.live, None)
        return MergeStep(self.block, self.choices[mine], self.frames[mine], self.live if live else 0)


@dataclass(frozen=True)
class MergePlan:
    """The merges of one forward pass. It can be shown to a person, and given to another pass, which then obeys it.

    Every condition video has `range_frames` numbers for its frames.
    """

    steps: tuple[MergeStep, ...] = ()
    range_frames: int = 1

    def merged_frames(self, sample: int = 0) -> dict[int, list[int]]:
        """By block (1-based), the condition frames merged, numbered through all conditions in their order."""
        shown = {}
        for step in self.steps:
            numbers = [number for frames in step.frames if frames is not None for number in frames[sample].tolist()]
            shown[step.block] = sorted(number for number in numbers if number != NOBODY)
        return shown

    def by_video(self, sample: int = 0) -> dict[int, dict[int, list[int]]]:
        """By condition video, and block, the latent frames of it that were merged."""
        shown: dict[int, dict[int, list[int]]] = {}
        for block, frames in self.merged_frames(sample).items():
            for frame in frames:
                video, own = divmod(frame, self.range_frames)
                shown.setdefault(video, {}).setdefault(block, []).append(own)
        return shown

    def merges(self, others: int) -> tuple[Merge, ...]:
        """The same of the memories alone, which come after so many `others`, for a record."""
        return tuple(
            Merge(video - others, block, tuple(frames))
            for video, blocks in sorted(self.by_video().items())
            for block, frames in sorted(blocks.items())
            if video >= others
        )

    def share(self, live: bool) -> "MergePlan":
        """The same merges for a pass that has live videos alone, or all else alone."""
        return replace(self, steps=tuple(step.share(live) for step in self.steps))


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
    """Share of frames merged at a block: as configured, else from 0.3 for one memory to 0.7 for ten and more.

    Without memories none are: the user's video alone is what the base was trained on.
    """
    if memories == 0:
        return 0.0
    if config.fraction is not None:
        return config.fraction
    growth = min(1.0, (memories - 1) / (MEMORIES_AT_LARGEST - 1))
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
        logits = logits.masked_fill(~present[:, None, :], torch.finfo(logits.dtype).min)
    return logits.softmax(dim=-1).amax(dim=1)


def choose_frames(
    scores: Float[Tensor, "batch frame"], fractions: Sequence[float], mode: str, present: Tensor | None = None
) -> Choice | None:
    """Merge the least responsive share of the frames, or with mode `high` the most. None where there is none to merge.

    `fractions` are one by sample, or one for all. Each sample merges that share of the frames that it has.
    """
    batch, frames = scores.shape
    if present is None and len(set(fractions)) > 1:
        present = torch.ones_like(scores, dtype=torch.bool)
    if present is None:
        order = scores.argsort(dim=1, descending=mode == "high", stable=True)
        count = round(fractions[0] * frames)
        return Choice(*(each.sort(dim=1).values for each in order.split([count, frames - count], 1))) if count else None
    last = float("-inf") if mode == "high" else float("inf")
    order = scores.masked_fill(~present, last).argsort(dim=1, descending=mode == "high", stable=True)
    owned = present.sum(dim=1).tolist()
    shares = fractions if len(fractions) == batch else [fractions[0]] * batch
    counts = [round(share * own) for share, own in zip(shares, owned, strict=True)]
    if not any(counts):
        return None
    merged, merged_real = _fill_up([row[:n] for row, n in zip(order, counts, strict=True)])
    kept, kept_real = _fill_up([row[n:own] for row, n, own in zip(order, counts, owned, strict=True)])
    return Choice(merged, kept, merged_real, kept_real)


def merge_parts(
    parts: Sequence[Part], choices: Sequence[Choice | None], merger: FrameMerger, mode: str
) -> tuple[list[Part], tuple[Tensor | None, ...]]:
    """Merge (or with mode `discard` drop) the chosen frames of each part; returns the new parts, and those frames."""
    result: list[Part] = []
    frames: list[Tensor | None] = []
    for part, choice in zip(parts, choices, strict=True):
        if choice is None:
            result.append(part)
            frames.append(None)
            continue
        chosen = part.take(choice.merged, choice.merged_real)
        frames.append(chosen.frames if chosen.present is None else chosen.frames.where(chosen.present, NOBODY))
        if choice.kept.shape[1]:
            result.append(part.take(choice.kept, choice.kept_real))
        if mode != "discard":
            result.append(replace(chosen, tokens=merger(chosen.tokens), rotary=coarsen(chosen.rotary, 2), whole=False))
    return result, tuple(frames)


def _fill_up(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Places of each sample, sorted and filled up to the same number, `[B, n]`, and which of them are real."""
    longest = max(len(row) for row in rows)
    padded = torch.stack([nn.functional.pad(row.sort().values, (0, longest - len(row))) for row in rows])
    lengths = torch.tensor([len(row) for row in rows], device=padded.device)
    return padded, torch.arange(longest, device=padded.device) < lengths[:, None]
