"""From noise to latents: the denoising loop, classifier-free guidance, and steps that are forecast instead of computed.

Knows neither models nor memories: whatever a velocity was computed with, merged tokens or cached ones, it is a velocity
of the target alone, and what is saved here is saved with all of them.
"""

from collections.abc import Callable
from math import inf
from typing import Any

import torch
from torch import Tensor

TINY = 1e-12  # of a norm: nothing is divided by less

Velocity = Callable[[Tensor, Tensor], Tensor]
"""Predicts the velocity at latents `[B, channel, T, row, column]` and a timestep (a scalar tensor)."""
Progress = Callable[[int, int], None]
"""Called after each step with the steps done and planned."""


def draw_noise(shape: tuple[int, ...], seed: int, device: torch.device) -> Tensor:
    """Standard normal noise, float32, the same on every device: it is drawn on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(device)


def part_of(progress: Progress | None, number: int, parts: int) -> Progress | None:
    """For one of several equal parts, `number` from 0: what tells of it as of a part of the whole."""
    if progress is None:
        return None
    return lambda done, planned: progress(number * planned + done, parts * planned)


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
    scheduler.set_begin_index(0)  # many steps share their first timestep, rounded; a scheduler would begin at the last
    latents = begin_with(clean, noise)
    for done, timestep in enumerate(scheduler.timesteps, 1):
        told = velocity(latents, timestep).to(noise)  # schedulers round the sample to the velocity's precision
        latents = begin_with(clean, scheduler.step(told, timestep, latents, return_dict=False)[0])
        if progress is not None:
            progress(done, len(scheduler.timesteps))
    return latents


def begin_with(clean: Tensor | None, latents: Tensor) -> Tensor:
    """The latents with `clean` ones in the place of their first frames."""
    return latents if clean is None else torch.cat([clean.to(latents), latents[:, :, clean.shape[2] :]], dim=2)


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: away from the unconditional velocity, by `scale`."""
    return unconditional + scale * (conditional - unconditional)


class GuidedVelocity:
    """A guided velocity whose unconditional branch runs in the first `computed` calls only.

    Later calls keep the last difference between the two branches, which hardly changes any more (ours, after others who
    found so). Without an unconditional branch there is no guidance.
    """

    def __init__(self, conditional: Velocity, unconditional: Velocity | None, scale: float, computed: int) -> None:
        self._conditional, self._unconditional = conditional, unconditional
        self._scale, self._left = scale, computed
        self._difference: Tensor | None = None

    def __call__(self, latents: Tensor, timestep: Tensor) -> Tensor:
        conditional = self._conditional(latents, timestep)
        if self._unconditional is None:
            return conditional
        if self._left > 0 or self._difference is None:
            self._left -= 1
            unconditional = self._unconditional(latents, timestep)
            self._difference = conditional - unconditional
            return guide(conditional, unconditional, self._scale)
        return conditional + (self._scale - 1) * self._difference


class ForecastVelocity:
    """A velocity that is forecast where that is nearly what would be computed (ours).

    Along a path the velocity bends little, so the line through the last two computed ones tells the next. Each computed
    one shows by how much the line missed it; a line through points `h` apart misses a parabola by its bend times
    d (d + h) at a distance d. A step is forecast while the miss to be expected stays within `tolerance`, in parts of
    the last velocity's norm. `computed` counts the other steps.
    """

    def __init__(self, velocity: Velocity, tolerance: float) -> None:
        self._velocity, self._tolerance = velocity, tolerance
        self._known: list[tuple[float, Tensor]] = []
        self._bend = inf
        self.computed = 0

    def __call__(self, latents: Tensor, timestep: Tensor) -> Tensor:
        time = float(timestep)
        forecast = self._forecast(time)
        if forecast is not None and self._bend * self._leverage(time) <= self._tolerance:
            return forecast
        velocity = self._velocity(latents, timestep)
        self.computed += 1
        if forecast is not None:
            self._bend = float((velocity - forecast).norm() / velocity.norm().clamp(min=TINY)) / self._leverage(time)
        self._known = [*self._known[-1:], (time, velocity)]
        return velocity

    def _forecast(self, time: float) -> Tensor | None:
        """On the line through the last two velocities; None while there are none, or where they are of one time."""
        if len(self._known) < 2:
            return None
        (earlier, before), (later, last) = self._known
        if time == later or later == earlier:
            return None
        return last + (last - before) * ((time - later) / (later - earlier))

    def _leverage(self, time: float) -> float:
        """By what a bend is multiplied at `time`."""
        (earlier, _), (later, _) = self._known
        return abs((time - later) * (time - earlier))
