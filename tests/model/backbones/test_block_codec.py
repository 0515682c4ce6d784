"""The linear codec: a projection, good on what it was fitted to, and one more codec of a model folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.backbones.block_codec import BlockCodec, fit_block_codec
from model.config import WorldConfig
from storage.datasets.synthetic import training_clip


def videos(seeds: range, wording: str = "training", size: int = 32) -> list[Tensor]:
    """Segments `[1, 3, 9, size, size]` of worlds, in [-1, 1]."""
    world = WorldConfig(size=size, segments=6)
    clips = [training_clip(world, seed, wording).versions[0] for seed in seeds]  # type: ignore[arg-type]
    parts = [clip.reshape(-1, 9, size, size, 3) for clip in clips]
    return [torch.from_numpy(each).float().permute(3, 0, 1, 2)[None] / 127.5 - 1 for part in parts for each in part]


@pytest.fixture(scope="module")
def codec() -> BlockCodec:
    return fit_block_codec(videos(range(12)), 16)


def through(codec: BlockCodec, video: Tensor) -> Tensor:
    return codec.decode(codec.encode(video).latent_dist.mode(), return_dict=False)[0]


def test_shapes_are_those_of_wan(codec: BlockCodec) -> None:
    (video, *_) = videos(range(1))
    latents = codec.encode(video).latent_dist.mode()
    assert latents.shape == (1, 16, 3, 8, 8)
    assert through(codec, video).shape == video.shape


def test_what_went_through_goes_through_unchanged(codec: BlockCodec) -> None:
    for video in videos(range(2)):
        once = through(codec, video)
        latents = codec.encode(video).latent_dist.mode()
        assert codec.encode(once).latent_dist.mode()[:, :, 1:] == pytest.approx(latents[:, :, 1:], abs=1e-4)
        assert through(codec, once)[:, :, 1:] == pytest.approx(once[:, :, 1:], abs=1e-4)


def test_held_out_worlds_lose_little() -> None:
    """At the size that the small model works at; half of it has edges twice as close."""
    codec = fit_block_codec(videos(range(48), size=64), 16)
    held_out = videos(range(12), "held-out", 64)
    squares = [(through(codec, video).clamp(-1, 1) - video).square().mean() for video in held_out]
    psnr = -10 * np.log10(float(torch.stack(squares).mean()) / 4)
    assert psnr > 30


def test_more_numbers_lose_less() -> None:
    seen, held_out = videos(range(6)), videos(range(2), "held-out")
    losses = []
    for channels in (4, 8, 16):
        codec = fit_block_codec(seen, channels)
        losses.append(sum(float((through(codec, video) - video).square().mean()) for video in held_out))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 2


def test_it_is_linear(codec: BlockCodec) -> None:
    """So that an edit of colours is an addition in latent space."""
    one, other, *_ = videos(range(1))
    a, b, middle = (codec.encode(each).latent_dist.mode() for each in (one, other, (one + other) / 2))
    assert middle == pytest.approx((a + b) / 2, abs=1e-4)


def test_fitting_twice_is_fitting_once(codec: BlockCodec) -> None:
    again = fit_block_codec(videos(range(12)), 16)
    assert torch.equal(codec.directions, again.directions)
    assert codec.config["latents_std"] == again.config["latents_std"]


def test_it_comes_back_from_disk(codec: BlockCodec, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path)
    again = BlockCodec.from_pretrained(tmp_path)
    assert isinstance(again, BlockCodec)
    (video, *_) = videos(range(1))
    assert torch.equal(through(codec, video), through(again, video))
