"""The token sequence: the target first and contiguous, then the conditions, part by part.

A part is a number of frames with the same token grid: all memories under one tokeniser, the user's video, or what
merging made of some of their frames. Parts keep frames apart, so that merging can choose among them; the transformer
sees them flat. Legend of the shapes: B batch, F frames, R rows and C columns of tokens, L tokens, D width, H head size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from model.memory.rope import Rotary


@dataclass(frozen=True)
class ConditionVideo:
    """One video that conditions the target, as latents `[B, channel, time, row, column]`, as many in time as it has.

    `patch` is its tokeniser's (2, 4 or 8), `start` the number of its temporal range (1: the user's video or the
    segment edited just before; 2: a memory). `cameras` are `[R|t]` by latent frame, `[B, time, 12]`. `present` `[B]`
    says which samples of a batch have it at all; where they do not, its latents are anything finite. A `live` video
    attends to the target too, also where memory is cached, and runs at the target's timestep: the user's video, which
    is no memory even where it is treated as one (`remembered` is False). `mergeable` videos take part in merging.
    """

    latents: Tensor
    patch: int
    start: int
    reverse: bool = False
    cameras: Tensor | None = None
    present: Tensor | None = None
    live: bool = False
    mergeable: bool = True
    remembered: bool = True


@dataclass(frozen=True)
class Part:
    """Frames with one token grid.

    `tokens` `[B, F, R, C, D]`; `rotary` `[B or 1, F, R, C, H]`; `frames` `[B, F]` numbers them through all conditions,
    each of which has as many numbers as a temporal range has; `cameras` `[B, F, 12]`; `present` `[B, F]`, or None where
    every sample has every frame. `whole` frames have not been merged.
    """

    tokens: Tensor
    rotary: Rotary
    frames: Tensor
    cameras: Tensor | None
    present: Tensor | None
    live: bool
    mergeable: bool
    whole: bool = True

    @property
    def tokens_per_frame(self) -> int:
        return self.tokens.shape[2] * self.tokens.shape[3]

    @property
    def length(self) -> int:
        return self.tokens.shape[1] * self.tokens_per_frame

    def take(self, chosen: Tensor, real: Tensor | None = None) -> "Part":
        """The frames `chosen` `[B, n]`, which may differ by sample; where `real` is False a sample has none there."""
        batch = self.tokens.shape[0]
        present = None if self.present is None else _take(self.present, chosen)
        return replace(
            self,
            tokens=_take(self.tokens, chosen),
            rotary=Rotary(*(_take(each.expand(batch, -1, -1, -1, -1), chosen) for each in self.rotary)),
            frames=_take(self.frames, chosen),
            cameras=None if self.cameras is None else _take(self.cameras, chosen),
            present=real if present is None else present if real is None else present & real,
        )


def join(parts: Sequence[Part]) -> list[Part]:
    """Neighbours with the same token grid and the same nature as one part."""
    joined: list[Part] = []
    for part in parts:
        if joined and _alike(joined[-1], part):
            part = _join_two(joined.pop(), part)
        joined.append(part)
    return joined


def flatten(target: Tensor, parts: Sequence[Part]) -> Tensor:
    """Hidden states `[B, L, D]`, target first."""
    return torch.cat([target, *(rearrange(part.tokens, "b f r c d -> b (f r c) d") for part in parts)], dim=1)


def split(hidden: Tensor, target_length: int, parts: Sequence[Part]) -> tuple[Tensor, list[Part]]:
    """Undo `flatten`: the target, and the parts with the hidden states as their tokens."""
    target, *rest = hidden.split([target_length, *(part.length for part in parts)], dim=1)
    shapes = (part.tokens.shape for part in parts)
    return target, [
        replace(part, tokens=each.reshape(*shape)) for part, each, shape in zip(parts, rest, shapes, strict=True)
    ]


def frame_presence(parts: Sequence[Part]) -> Tensor | None:
    """Which frames of the parts each sample really has, `[B, F]`; None where all have all."""
    if all(part.present is None for part in parts):
        return None
    known = (part.present for part in parts)
    everywhere = (torch.ones_like(part.frames, dtype=torch.bool) for part in parts)
    return torch.cat([a if a is not None else b for a, b in zip(known, everywhere, strict=True)], dim=1)


def token_presence(target_length: int, parts: Sequence[Part]) -> Tensor | None:
    """Which tokens of the sequence each sample really has, `[B, L]`; None where all have all."""
    frames = frame_presence(parts)
    if frames is None:
        return None
    by_part = frames.split([part.frames.shape[1] for part in parts], dim=1)
    target = frames.new_ones(frames.shape[0], target_length)
    spread = (each.repeat_interleave(part.tokens_per_frame, dim=1) for each, part in zip(by_part, parts, strict=True))
    return torch.cat([target, *spread], dim=1)


def _take(values: Tensor, chosen: Tensor) -> Tensor:
    return values[torch.arange(len(chosen), device=chosen.device)[:, None], chosen]


def _alike(one: Part, other: Part) -> bool:
    same_grid = one.tokens.shape[2:] == other.tokens.shape[2:]
    return same_grid and one.live == other.live and one.mergeable == other.mergeable


def _join_two(one: Part, other: Part) -> Part:
    pair = (one, other)
    cameras = [part.cameras for part in pair if part.cameras is not None]
    assert len(cameras) in (0, 2), "either all conditions have cameras or none"
    return replace(
        one,
        tokens=torch.cat([part.tokens for part in pair], dim=1),
        rotary=Rotary(*(torch.cat(each, dim=1) for each in zip(one.rotary, other.rotary, strict=True))),
        frames=torch.cat([part.frames for part in pair], dim=1),
        cameras=torch.cat(cameras, dim=1) if cameras else None,
        present=frame_presence(pair),
    )
