"""From noise to latents: the denoising loop and classifier-free guidance. Knows neither models nor memories."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""Predicts the velocity at latents `[B, channel, T, row, column]` and a timestep (a scalar tensor)."""
Progress = Callable[[int, int], None]
"""Called after each step with the steps done and planned."""


def draw_noise(shape: tuple[int, ...], seed: int, device: torch.device) -> Tensor:
    """Standard normal noise, float32, the same on every device: it is drawn on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(device)


def denoise(
    scheduler: Any,
    velocity: Velocity,
    noise: Tensor,
    steps: int,
    progress: Progress | None = None,
    clean: Tensor | None = None,
) -> Tensor:
    """Follow the flow from noise (t = 1) to a sample (t = 0) in `steps` steps of a diffusers scheduler.

    `clean` latents, if any, are the first frames of the sample: they stand in their place from the start to the end.
    """
    scheduler.set_timesteps(steps, device=noise.device)
    latents = begin_with(clean, noise)
    for done, timestep in enumerate(scheduler.timesteps, 1):
        latents = scheduler.step(velocity(latents, timestep), timestep, latents, return_dict=False)[0]
        latents = begin_with(clean, latents)
        if progress is not None:
            progress(done, len(scheduler.timesteps))
    return latents


def begin_with(clean: Tensor | None, latents: Tensor) -> Tensor:
    """The latents with `clean` ones in the place of their first frames."""
    return latents if clean is None else torch.cat([clean.to(latents), latents[:, :, clean.shape[2] :]], dim=2)


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: away from the unconditional velocity, by `scale`."""
    return unconditional + scale * (conditional - unconditional)
