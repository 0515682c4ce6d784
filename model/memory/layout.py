"""One forward pass: what stays the same in it, and what every token of it is at its present length.

A token has a position, a time, a camera, and may be missing from some samples of a batch. All of that changes only
where frames are merged, so it is laid out once for the blocks in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from model.memory.attention import KeyValue, Visibility
from model.memory.conditioning import Conditioning
from model.memory.modulation import Modulation, Times
from model.memory.rope import Rotary
from model.memory.sequence import Part, token_presence


@dataclass(frozen=True)
class Target:
    """The tokens to be denoised `[B, L, D]`, none where only memory is computed, in a grid of time, row, column."""

    tokens: Tensor
    rotary: Rotary | None
    grid: tuple[int, int, int]

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    @property
    def tokens_per_frame(self) -> int:
        return self.grid[1] * self.grid[2]


@dataclass(frozen=True)
class Pass:
    """What stays the same in one forward pass.

    `embedded` are the times by column, `[B, G, D]` for the output and `[B, G, 6, D]` for the blocks. `text` and
    `memory_text` `[B, words, D]` are embedded too; without the latter memory reads the text of the target, whose keys
    and values by block may be there instead.
    """

    target: Target
    times: Times
    embedded: tuple[Tensor, Tensor]
    text: Tensor | tuple[KeyValue, ...]
    memory_text: Tensor | None
    conditioning: Conditioning
    range_frames: int

    def lay_out(self, parts: Sequence[Part]) -> "Layout":
        """What every token is, with these parts behind the target."""
        live_length = self.target.length + sum(part.length for part in parts if part.live)
        return Layout(
            rotary=flatten_rotary(self.target.rotary, parts),
            modulation=self._modulation(parts),
            cameras=flatten_cameras(self.conditioning.target_cameras, self.target.tokens_per_frame, parts),
            present=token_presence(self.target.length, parts),
            live_length=live_length,
            target_length=self.target.length,
        )

    def text_of(self, index: int) -> Tensor | KeyValue:
        """The target's text for block `index`."""
        return self.text if isinstance(self.text, Tensor) else self.text[index]

    def output_modulation(self) -> Modulation:
        """For the target's tokens alone."""
        return _looked_up(self.embedded[0][:, : self.times.memory, None], self.times.target)

    def visibility(self, layout: "Layout", index: int) -> Visibility:
        """Who may look where in block `index`, whose past keys are those of the cache."""
        conditioning, present = self.conditioning, layout.present
        cache = conditioning.cache
        past = None if cache is None else cache.present[index]
        if past is not None or (present is not None and cache is not None):
            assert cache is not None
            present = _with_past(present, past, layout.length, cache.blocks[index])
        return Visibility(layout.live_length if conditioning.cached else None, present)

    def _modulation(self, parts: Sequence[Part]) -> Modulation:
        return _looked_up(self.embedded[1], self.times.of_sequence(parts))


@dataclass(frozen=True)
class Layout:
    """Every token's position `[B or 1, L, 1, H]`, time, camera `[B, L, 12]` and presence `[B, L]`."""

    rotary: tuple[Tensor, Tensor]
    modulation: Modulation
    cameras: Tensor | None
    present: Tensor | None
    live_length: int
    target_length: int

    @property
    def length(self) -> int:
        return self.rotary[0].shape[1]


def _looked_up(values: Tensor, columns: Tensor) -> Modulation:
    """By token only where there is more than one time."""
    return Modulation(values, None if values.shape[1] == 1 else columns)


def flatten_rotary(target: Rotary | None, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[B or 1, L, 1, H]`, as diffusers' attention takes them."""
    grids = [*([] if target is None else [target]), *(part.rotary for part in parts)]
    batch = max(grid.cos.shape[0] for grid in grids)
    joined = []
    for index in range(2):
        flat = (rearrange(grid[index], "b f r c h -> b (f r c) 1 h") for grid in grids)
        joined.append(torch.cat([each.expand(batch, -1, -1, -1) for each in flat], dim=1))
    return joined[0], joined[1]


def flatten_cameras(target: Tensor | None, target_tokens_per_frame: int, parts: Sequence[Part]) -> Tensor | None:
    """The pose of every token's own video and frame `[B, L, 12]` (Eq. 17); None where nothing has a camera."""
    poses = [*([(target, target_tokens_per_frame)] if target_tokens_per_frame else [])]
    poses += [(part.cameras, part.tokens_per_frame) for part in parts]
    known = [pose.repeat_interleave(tokens, dim=1) for pose, tokens in poses if pose is not None]
    assert len(known) in (0, len(poses)), "either the target and every condition have a camera, or none"
    return torch.cat(known, dim=1) if known else None


def _with_past(present: Tensor | None, past: Tensor | None, length: int, pair: KeyValue) -> Tensor:
    """Presence of the own keys, then of the past ones."""
    known = present if present is not None else past
    assert known is not None
    own = known.new_ones(known.shape[0], length) if present is None else present
    behind = known.new_ones(known.shape[0], pair[0].shape[1]) if past is None else past
    return torch.cat([own, behind], dim=1)
