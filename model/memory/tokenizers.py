"""Dynamic tokenisers: large patches for memories, larger ones for the less relevant (paper section 3.2).

A tokeniser is a patch embedding without temporal compression. The base model's own covers 1x2x2 latents; ours cover
1x4x4 and 1x8x8. The paper does not say how they start: ours stretch the base kernel over the larger window, divided by
the number of repeats, so that a fresh large token is the base embedder applied to the average-pooled latents.
"""

import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from model.config import TokenConfig

BASE_PATCH, FINE, COARSE = 2, 4, 8
"""Latents that a token covers, in rows and in columns: the base's, a relevant memory's, any other memory's."""


class MemoryTokenizer(nn.Conv3d):
    """Tokens of `patch` x `patch` latents of one frame; what does not divide is padded by repeating its edge."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__(channels, width, kernel_size=(1, patch, patch), stride=(1, patch, patch))
        self.patch = patch

    def inflate(self, base: nn.Conv3d) -> None:
        """Start from the base patch embedding `[width, channels, 1, 2, 2]`."""
        repeats = self.patch // BASE_PATCH
        stretched = base.weight.data.repeat_interleave(repeats, dim=-2).repeat_interleave(repeats, dim=-1)
        self.weight.data.copy_(stretched / repeats**2)
        if self.bias is not None and base.bias is not None:
            self.bias.data.copy_(base.bias.data)

    def forward(
        self, input: Float[Tensor, "batch channel time row column"]
    ) -> Float[Tensor, "batch time token_row token_column width"]:
        """One token for each window of each latent frame."""
        return rearrange(super().forward(pad_to_multiple(input, self.patch)), "b d t r c -> b t r c d")


def memory_patch(rank: int, tokens: TokenConfig) -> int:
    """The budget: the tokeniser of the memory that is `rank`-th best, from 0."""
    return tokens.fine_patch if rank < tokens.fine else tokens.coarse_patch


def pad_to_multiple(grid: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of `[..., row, column]` until both divide by `multiple`."""
    rows, columns = -grid.shape[-2] % multiple, -grid.shape[-1] % multiple
    if not rows and not columns:
        return grid
    flat = grid.flatten(0, -4) if grid.ndim > 4 else grid
    padded = F.pad(flat, (0, columns, 0, rows), mode="replicate")
    return padded.reshape(*grid.shape[:-2], *padded.shape[-2:])
