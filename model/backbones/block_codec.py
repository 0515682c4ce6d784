"""A linear video codec behind the interface of Wan's VAE: what the small trained models work with.

Like Wan's VAE it is causal, keeps the first frame and then every fourth, and divides height and width (here by 4). Each
latent is the projection of a block of 4 frames x 4 x 4 pixels on the directions in which footage varies most (principal
components, a Karhunen-Loeve transform); the first frame counts as four alike. Being linear it never invents anything,
an edit of colours is an addition in latent space, and it is fitted in seconds.

Why not a small Wan VAE: see docs/log.md, where both are measured on the same clips.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["BlockCodec", "ModelMixin"]  # diffusers finds a pipeline's model by ModelMixin

BLOCK = 4  # frames, rows and columns of a block
NUMBERS = BLOCK**3 * 3  # in a block


@dataclass(frozen=True)
class Code:
    """What `encode` returns: the latents are certain, so their distribution is a point."""

    latent_dist: "Point"


@dataclass(frozen=True)
class Point:
    """A distribution without spread."""

    value: Tensor

    def mode(self) -> Tensor:
        return self.value


class BlockCodec(ModelMixin, ConfigMixin):
    """Projects blocks of video on `z_dim` directions, and back. Video is `[B, 3, frame, height, width]` in [-1, 1].

    `latents_mean` and `latents_std` are for the caller, as with Wan's VAE.
    """

    _supports_gradient_checkpointing = False

    @register_to_config
    def __init__(
        self,
        z_dim: int = 16,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
        scale_factor_temporal: int = BLOCK,
        scale_factor_spatial: int = BLOCK,
    ) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.zeros(z_dim, NUMBERS), requires_grad=False)
        self.mean = nn.Parameter(torch.zeros(NUMBERS), requires_grad=False)

    def encode(self, video: Float[Tensor, "batch 3 frame height width"]) -> Code:
        """Latents `[B, z_dim, (frame - 1) / 4 + 1, height / 4, width / 4]`."""
        latents = (_blocks(video) - self.mean) @ self.directions.mT
        return Code(Point(rearrange(latents, "b t r c z -> b z t r c").contiguous()))

    def decode(self, latents: Float[Tensor, "batch channel time row column"], return_dict: bool = True) -> Any:
        """The video of latents, as the first of a tuple."""
        assert not return_dict, "a tuple is all there is"
        blocks = rearrange(latents, "b z t r c -> b t r c z") @ self.directions + self.mean
        video = rearrange(blocks, "b t y x (c f i j) -> b c (t f) (y i) (x j)", c=3, f=BLOCK, i=BLOCK, j=BLOCK)
        first = video[:, :, :BLOCK].mean(dim=2, keepdim=True)
        return (torch.cat([first, video[:, :, BLOCK:]], dim=2),)


@torch.no_grad()
def fit_block_codec(videos: Iterable[Float[Tensor, "1 3 frame height width"]], z_dim: int) -> BlockCodec:
    """The codec that loses least of these videos with `z_dim` numbers a block.

    Latents are scaled by the root of their spread: large ones stay larger, yet small ones do not vanish in the noise.
    """
    total, outer, count = torch.zeros(NUMBERS, dtype=torch.float64), torch.zeros(NUMBERS, NUMBERS).double(), 0
    for video in videos:
        rows = rearrange(_blocks(video), "b t r c n -> (b t r c) n").double()
        total, outer, count = total + rows.sum(dim=0), outer + rows.mT @ rows, count + len(rows)
    assert count > NUMBERS, f"{count} blocks are too few to fit {NUMBERS} numbers"
    mean = total / count
    spread, directions = torch.linalg.eigh(outer / count - torch.outer(mean, mean))
    deviation = spread.flip(0)[:z_dim].clamp(min=1e-12).sqrt()
    scale = (deviation * deviation[0]).sqrt()
    codec = BlockCodec(z_dim, latents_mean=[0.0] * z_dim, latents_std=scale.tolist())
    codec.directions.copy_(_signed(directions.flip(1)[:, :z_dim].mT))
    codec.mean.copy_(mean)
    return codec


def _blocks(video: Tensor) -> Tensor:
    """Blocks `[B, time, row, column, numbers]`, the first frame four times."""
    whole = torch.cat([repeat(video[:, :, :1], "b c 1 h w -> b c f h w", f=BLOCK), video[:, :, 1:]], dim=2)
    return rearrange(whole, "b c (t f) (y i) (x j) -> b t y x (c f i j)", f=BLOCK, i=BLOCK, j=BLOCK)


def _signed(directions: Tensor) -> Tensor:
    """A direction and its opposite are the same: the greatest number of each is made positive."""
    greatest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return directions * greatest.sign()
