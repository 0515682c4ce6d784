"""Rotary positions for a target and its conditions (paper supplement E.1, E.2; Eq. 11-14).

The spatial index of a token is where it lies; the temporal index tells what it is: the target has 0..T-1, the user's
video or the segment edited just before T..2T-1, and all other memories share 2T..3T-1, however many they are. For long
edits memories are counted backwards at inference, since training extends forward what inference remembers behind.

Computed from positions, in double precision, in the layout of diffusers' Wan (pairs interleaved, time first): equal to
its own table where both apply. A large token gets the mean cosine and sine of the base cells that it covers.
"""

from collections.abc import Sequence
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


def temporal_positions(frames: int, start: int, reverse: bool) -> list[int]:
    """Temporal indices of a video of `frames` latent frames in range number `start`: 0 target, 1 previous, 2 memory.

    Reversal is an involution: it maps the range onto itself.
    """
    positions = list(range(start * frames, (start + 1) * frames))
    return positions[::-1] if reverse else positions


def rotary_grid(
    times: Sequence[int], rows: int, columns: int, head_dim: int, device: torch.device | None = None
) -> Rotary:
    """Cosines and sines of a grid of base tokens, float32 `[1, time, row, column, head_dim]`."""
    axes = zip(split_head(head_dim), (times, range(rows), range(columns)), strict=True)
    angles = [_angles(torch.tensor(list(index), dtype=torch.float64, device=device), size) for size, index in axes]
    shape = (len(times), rows, columns)
    spread = [
        angle.reshape([-1 if axis == own else 1 for axis in range(3)] + [angle.shape[-1]]).expand(*shape, -1)
        for own, angle in enumerate(angles)
    ]
    grid = torch.cat(spread, dim=-1)[None]
    return Rotary(grid.cos().float(), grid.sin().float())


def coarsen(rotary: Rotary, factor: int) -> Rotary:
    """The mean cosine and sine over `factor` x `factor` cells, edges repeated where that does not divide."""
    return Rotary(*(_pool(part, factor) for part in rotary))


def memory_rotary(
    frames: int, rows: int, columns: int, head_dim: int, *, patch: int, start: int, reverse: bool, device: torch.device
) -> Rotary:
    """Positions of one video of `frames` x `rows` x `columns` latents, tokenised in `patch` x `patch`."""
    times = temporal_positions(frames, start, reverse)
    grid = rotary_grid(times, -(-rows // BASE_PATCH), -(-columns // BASE_PATCH), head_dim, device)
    return coarsen(grid, patch // BASE_PATCH)


def _angles(index: Float[Tensor, " index"], size: int) -> Float[Tensor, "index size"]:
    """Rotation angles of one axis, each frequency twice in a row."""
    exponents = torch.arange(0, size, 2, dtype=torch.float64, device=index.device) / size
    return torch.outer(index, 1.0 / THETA**exponents).repeat_interleave(2, dim=1)


def _pool(grid: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return grid
    cells = pad_to_multiple(rearrange(grid, "b t r c d -> b t d r c"), factor)
    return reduce(cells, "b t d (r i) (c j) -> b t r c d", "mean", i=factor, j=factor)
