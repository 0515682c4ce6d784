"""Which codec can be had on two processor cores: a small Wan VAE trained for some minutes, or a fitted linear one.

The metric is PSNR on held-out clips of the synthetic world; there is no ceiling. Both work 4x in time and space with 16
channels, on the same clips. Minutes are the processor's, not the clock's, so that a busy machine tells the same.

    python benchmarks/codec.py [--minutes 15] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from einops import rearrange
from torch import Tensor

from model.backbones.block_codec import fit_block_codec
from model.config import WorldConfig
from storage.datasets.synthetic import imagine, render

CHANNELS = 16
CROP, BATCH = 32, 8
REPORT_SECONDS = 120
WORLD = WorldConfig()


def segments(seeds: range, wording: str) -> Tensor:
    """Source and edited segments of rendered worlds, `[n, 3, frame, size, size]` in [-1, 1]."""
    clips = [render(imagine(WORLD, seed, wording), WORLD.size) for seed in seeds]  # type: ignore[arg-type]
    frames = np.concatenate([np.stack([clip.source, clip.edited[0]]) for clip in clips], axis=1)
    pixels = torch.from_numpy(frames).float() / 127.5 - 1
    return rearrange(pixels, "v (n f) h w c -> (v n) c f h w", f=WORLD.segment_frames)


def psnr(decoded: Tensor, video: Tensor) -> float:
    """Peak signal to noise of videos in [-1, 1], in dB."""
    return float(10 * torch.log10(4 / (decoded.clamp(-1, 1) - video).square().mean()))


def crops(videos: Tensor, random: np.random.Generator) -> Iterator[Tensor]:
    """Endless batches of random crops."""
    while True:
        chosen = videos[torch.from_numpy(random.integers(len(videos), size=BATCH))]
        top, left = (int(place) for place in random.integers(0, WORLD.size - CROP + 1, size=2))
        yield chosen[..., top : top + CROP, left : left + CROP]


def train_wan_vae(training: Tensor, held_out: Tensor, minutes: float) -> dict[str, float]:
    """PSNR on held-out clips by minutes of processor time spent on training."""
    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=24, z_dim=CHANNELS, dim_mult=[1, 2, 2], num_res_blocks=1, temperal_downsample=[True, True]
    )
    optimiser = torch.optim.AdamW(vae.parameters(), 1.5e-3, weight_decay=0.01)
    spent, reached, due = 0.0, {}, REPORT_SECONDS
    for step, batch in enumerate(crops(training, np.random.default_rng(0)), 1):
        started = time.process_time()
        difference = vae.decode(vae.encode(batch).latent_dist.mode(), return_dict=False)[0] - batch
        (difference.abs().mean() + difference.square().mean()).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        spent += time.process_time() - started
        if spent > due or spent > 60 * minutes:
            due += REPORT_SECONDS
            with torch.no_grad():
                decoded = vae.decode(vae.encode(held_out).latent_dist.mode(), return_dict=False)[0]
            reached[f"{spent / 60:.1f}"] = round(psnr(decoded, held_out), 2)
            print(f"{spent / 60:.1f} min, step {step}: {psnr(decoded, held_out):.2f} dB", file=sys.stderr, flush=True)
        if spent > 60 * minutes:
            return reached
    raise AssertionError("crops never end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15, help="how long the VAE is trained")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    training, held_out = segments(range(96), "training"), segments(range(3), "held-out")
    codec = fit_block_codec(training.split(1), CHANNELS)
    linear = psnr(codec.decode(codec.encode(held_out).latent_dist.mode(), return_dict=False)[0], held_out)
    print(f"linear, fitted: {linear:.2f} dB", file=sys.stderr, flush=True)
    figures = {"linear": round(linear, 2), "wan_vae": train_wan_vae(training, held_out, options.minutes)}
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
