"""Rotary positions for a target and its conditions (paper supplement E.1, E.2; Eq. 11-14).

The spatial index of a token is where it lies; the temporal index tells what it is: the target has 0..T-1, the user's
video or the segment edited just before T..2T-1, and all other memories share 2T..3T-1, however many they are. For long
edits memories are counted backwards at inference, since training extends forward what inference remembers behind.

Computed from positions, in double precision, in the layout of diffusers' Wan (pairs interleaved, time first): equal to
its own table where both apply. A large token gets the mean cosine and sine of the base cells that it covers.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from model.memory.tokenizers import BASE_PATCH, pad_to_multiple

THETA = 10_000.0


class Rotary(NamedTuple):
    """Cosines and sines of tokens, `[batch or 1, time, row, column, head_dim]`."""

    cos: Tensor
    sin: Tensor


def split_head(head_dim: int) -> tuple[int, int, int]:
    """How Wan divides a head among time, row and column: two sixths each to the latter, rounded to pairs."""
    spatial = 2 * (head_dim // 6)
    return head_dim - 2 * spatial, spatial, spatial


def temporal_positions(frames: int, start: int, reverse: bool, range_frames: int | None = None) -> list[int]:
    """Temporal indices of a video of `frames` latent frames in range number `start`: 0 target, 1 previous, 2 memory.

    A range is `range_frames` long, by default as long as the video: a shorter video fills its beginning. Reversal is an
    involution: it maps a video's positions onto themselves.
    """
    first = start * (frames if range_frames is None else range_frames)
    positions = list(range(first, first + frames))
    return positions[::-1] if reverse else positions


def rotary_grid(
    times: Sequence[int], rows: int, columns: int, head_dim: int, device: torch.device | None = None, cells: int = 1
) -> Rotary:
    """Cosines and sines of tokens, float32 `[1, time, row, column, head_dim]`, over a grid of base tokens.

    A token covers `cells` x `cells` of the `rows` x `columns` and gets their mean, edges repeated. Each axis has its
    own part of the head, so the mean over an area is that along the axis.
    """
    axes = zip((times, range(rows), range(columns)), split_head(head_dim), (1, cells, cells), strict=True)
    by_axis = [_rotations(tuple(index), size, width, device) for index, size, width in axes]
    return Rotary(*(_spread(axes) for axes in zip(*by_axis, strict=True)))


def coarsen(rotary: Rotary, factor: int) -> Rotary:
    """The mean cosine and sine over `factor` x `factor` cells, edges repeated where that does not divide."""
    return Rotary(*_pool(torch.cat(rotary), factor).chunk(2))


def memory_rotary(
    times: Sequence[int], rows: int, columns: int, head_dim: int, patch: int, device: torch.device | None = None
) -> Rotary:
    """Positions of a video at `times`, of `rows` x `columns` latents, tokenised in `patch` x `patch`."""
    base_rows, base_columns = -(-rows // BASE_PATCH), -(-columns // BASE_PATCH)
    return rotary_grid(times, base_rows, base_columns, head_dim, device, cells=patch // BASE_PATCH)


@lru_cache(maxsize=256)
def _rotations(
    index: tuple[int, ...], size: int, cells: int, device: torch.device | None
) -> tuple[Float[Tensor, "token size"], Float[Tensor, "token size"]]:
    """Cosines and sines along one axis, each frequency twice in a row, the mean over each token's cells.

    Kept, since every forward pass asks for the same few small tables.
    """
    exponents = torch.arange(0, size, 2, dtype=torch.float64, device=device) / size
    positions = torch.tensor(index, dtype=torch.float64, device=device)
    angles = torch.outer(positions, 1.0 / THETA**exponents).repeat_interleave(2, dim=1)
    if surplus := -len(angles) % cells:
        angles = torch.cat([angles, angles[-1:].expand(surplus, -1)])
    cos, sin = (reduce(each, "(token cell) d -> token d", "mean", cell=cells) for each in (angles.cos(), angles.sin()))
    return cos.float(), sin.float()


def _spread(axes: Sequence[Tensor]) -> Float[Tensor, "1 time row column head"]:
    """One grid from the values along time, rows and columns."""
    time, row, column = axes
    shape = (len(time), len(row), len(column))
    placed = (time[:, None, None], row[None, :, None], column[None, None])
    return torch.cat([each.expand(*shape, -1) for each in placed], dim=-1)[None]


def _pool(grid: Tensor, factor: int) -> Tensor:
    cells = pad_to_multiple(rearrange(grid, "b t r c d -> b t d r c"), factor)
    return reduce(cells, "b t d (r i) (c j) -> b t r c d", "mean", i=factor, j=factor)
