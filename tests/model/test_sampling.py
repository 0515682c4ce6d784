"""The way from noise to latents, on flows whose end is known."""

import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from model.sampling import begin_with, denoise, draw_noise, guide

CPU = torch.device("cpu")
SHAPE = (1, 2, 3, 4, 4)
SCHEDULERS = {
    "unipc": lambda: UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0),
    "euler": lambda: FlowMatchEulerDiscreteScheduler(shift=5.0),
}


@given(st.integers(0, 2**63 - 1))
def test_noise_is_its_seeds(seed: int) -> None:
    noise = draw_noise(SHAPE, seed, CPU)
    assert noise.dtype == torch.float32
    assert torch.equal(noise, draw_noise(SHAPE, seed, CPU))
    assert not torch.equal(noise, draw_noise(SHAPE, seed ^ 1, CPU))


def test_noise_is_standard_normal_and_leaves_the_global_generator() -> None:
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    noise = draw_noise((1, 16, 8, 32, 32), 5, CPU)
    assert torch.equal(torch.randn(3), expected)
    assert abs(float(noise.mean())) < 0.01
    assert abs(float(noise.std()) - 1) < 0.01


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_straight_flow_is_followed_to_its_end(name: str, steps: int) -> None:
    """x_t = (1 - t) x_0 + t noise has the velocity noise - x_0 everywhere: any number of steps arrives at x_0."""
    noise, sample = draw_noise(SHAPE, 0, CPU), draw_noise(SHAPE, 1, CPU)
    found = denoise(SCHEDULERS[name](), lambda latents, timestep: noise - sample, noise, steps)
    assert_close(found, sample, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_may_be_used_again(name: str) -> None:
    scheduler, noise = SCHEDULERS[name](), draw_noise(SHAPE, 0, CPU)

    def velocity(latents: Tensor, timestep: Tensor) -> Tensor:
        return torch.tanh(latents) * timestep / 1000

    assert torch.equal(denoise(scheduler, velocity, noise, 4), denoise(scheduler, velocity, noise, 4))


def test_progress_is_told_after_every_step() -> None:
    told: list[tuple[int, int]] = []
    noise = draw_noise(SHAPE, 0, CPU)
    denoise(SCHEDULERS["unipc"](), lambda *_: noise, noise, 3, lambda done, planned: told.append((done, planned)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_clean_frames_stand_from_the_start_to_the_end(name: str) -> None:
    """Whatever the model predicts there; other frames go where they would."""
    noise, clean = draw_noise(SHAPE, 0, CPU), draw_noise((1, 2, 1, 4, 4), 7, CPU)
    seen: list[Tensor] = []

    def velocity(latents: Tensor, timestep: Tensor) -> Tensor:
        seen.append(latents[:, :, :1])
        return 0.1 * torch.ones_like(latents)

    found = denoise(SCHEDULERS[name](), velocity, noise, 4, clean=clean)
    assert len(seen) == 4
    assert all(torch.equal(each, clean) for each in [*seen, found[:, :, :1]])
    without = denoise(SCHEDULERS[name](), velocity, noise, 4)
    assert torch.equal(found[:, :, 1:], without[:, :, 1:])


@given(st.integers(1, 3))
def test_beginning_replaces_so_many_frames(count: int) -> None:
    latents, clean = torch.zeros(SHAPE), torch.ones(1, 2, count, 4, 4, dtype=torch.float64)
    begun = begin_with(clean, latents)
    assert begun.dtype == latents.dtype
    assert begun[0, 0, :, 0, 0].tolist() == [1.0] * count + [0.0] * (3 - count)
    assert begin_with(None, latents) is latents


def test_guidance_leads_away_from_the_unconditional() -> None:
    conditional, unconditional = draw_noise(SHAPE, 0, CPU), draw_noise(SHAPE, 1, CPU)
    assert_close(guide(conditional, unconditional, 1.0), conditional)
    assert_close(guide(conditional, unconditional, 0.0), unconditional)
    assert_close(guide(conditional, unconditional, 3.0), conditional + 2 * (conditional - unconditional))
