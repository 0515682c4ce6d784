"""The token sequence: the target first and contiguous, then the conditions, part by part.

A part is a number of frames with the same token grid: all memories under one tokeniser, the user's video, or what
merging made of some of their frames. Parts keep frames apart, so that merging can choose among them; the transformer
sees them flat. Legend of the shapes: B batch, F frames, R rows and C columns of tokens, D width, H head size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from model.memory.rope import Rotary


@dataclass(frozen=True)
class ConditionVideo:
    """One video that conditions the target, as latents `[B, channel, time, row, column]`.

    `patch` is its tokeniser's (2, 4 or 8), `start` the number of its temporal range (1: the user's video or the
    segment edited just before; 2: a memory). `cameras` are `[R|t]` by latent frame, `[B, time, 12]`. `present` `[B]`
    says which samples of a batch have it at all. A `live` video attends to the target too, also where memory is cached,
    and runs at the target's timestep: the user's video. `mergeable` videos take part in merging.
    """

    latents: Tensor
    patch: int
    start: int
    reverse: bool = False
    cameras: Tensor | None = None
    present: Tensor | None = None
    live: bool = False
    mergeable: bool = True


@dataclass(frozen=True)
class Part:
    """Frames with one token grid.

    `tokens` `[B, F, R, C, D]`; `rotary` `[B or 1, F, R, C, H]`; `frames` `[B, F]` numbers them through all conditions;
    `cameras` `[B, F, 12]`; `present` `[B, F]`. `whole` frames have not been merged.
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

    def take(self, chosen: Tensor) -> "Part":
        """The frames `chosen` `[B, n]`, which may differ by sample."""
        batch = self.tokens.shape[0]
        return replace(
            self,
            tokens=_take(self.tokens, chosen),
            rotary=Rotary(*(_take(each.expand(batch, -1, -1, -1, -1), chosen) for each in self.rotary)),
            frames=_take(self.frames, chosen),
            cameras=None if self.cameras is None else _take(self.cameras, chosen),
            present=None if self.present is None else _take(self.present, chosen),
        )


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


def flatten_rotary(target: tuple[Tensor, Tensor] | None, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[B or 1, L, 1, H]`, as diffusers' attention takes them."""
    batch = max([1, *(part.rotary.cos.shape[0] for part in parts)])
    joined = []
    for index in range(2):
        flat = [rearrange(part.rotary[index], "b f r c h -> b (f r c) 1 h") for part in parts]
        whole = flat if target is None else [target[index], *flat]
        joined.append(torch.cat([each.expand(batch, -1, -1, -1) for each in whole], dim=1))
    return joined[0], joined[1]


def flatten_cameras(target: Tensor | None, target_tokens_per_frame: int, parts: Sequence[Part]) -> Tensor | None:
    """The pose of every token's own video and frame `[B, L, 12]` (Eq. 17); None where nothing has a camera."""
    if target is None:
        return None
    spread = [target.repeat_interleave(target_tokens_per_frame, dim=1)] if target_tokens_per_frame else []
    for part in parts:
        assert part.cameras is not None, "with a camera for the target, every condition needs its own"
        spread.append(part.cameras.repeat_interleave(part.tokens_per_frame, dim=1))
    return torch.cat(spread, dim=1)


def _take(values: Tensor, chosen: Tensor) -> Tensor:
    index = chosen.reshape(*chosen.shape, *[1] * (values.ndim - 2))
    return torch.take_along_dim(values, index, dim=1)
