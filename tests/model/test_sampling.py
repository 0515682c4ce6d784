"""The way from noise to latents, on flows whose end is known."""

import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from model.sampling import ForecastVelocity, GuidedVelocity, begin_with, denoise, draw_noise, guide

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
@pytest.mark.parametrize("steps", [1, 2, 7, 260])
def test_a_straight_flow_is_followed_to_its_end(name: str, steps: int) -> None:
    """x_t = (1 - t) x_0 + t noise has the velocity noise - x_0 everywhere: any number of steps arrives at x_0."""
    noise, sample = draw_noise(SHAPE, 0, CPU), draw_noise(SHAPE, 1, CPU)
    found = denoise(SCHEDULERS[name](), lambda latents, timestep: noise - sample, noise, steps)
    assert_close(found, sample, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [50, 600])
def test_many_small_steps_of_a_model_of_half_precision_are_not_lost(name: str, steps: int) -> None:
    """In bfloat16 a step of less than a 256th of the sample would vanish, whatever the number of steps."""
    noise, sample = torch.full(SHAPE, 1.3), torch.full(SHAPE, -0.4)
    found = denoise(SCHEDULERS[name](), lambda latents, timestep: (noise - sample).bfloat16(), noise, steps)
    assert_close(found, sample, atol=0.01, rtol=0)


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


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_model_of_half_precision_leaves_clean_frames_whole(name: str) -> None:
    """A scheduler would hand latents back in the precision of the velocity."""
    noise, clean = draw_noise(SHAPE, 0, CPU), draw_noise((1, 2, 1, 4, 4), 7, CPU)
    found = denoise(SCHEDULERS[name](), lambda latents, _: latents.bfloat16(), noise, 3, clean=clean)
    assert found.dtype == torch.float32
    assert torch.equal(found[:, :, :1], clean)


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


class Counted:
    """A velocity that is `bend` (t/1000)^2 + t/1000 + 1 everywhere, and how often it was asked."""

    def __init__(self, bend: float) -> None:
        self.bend, self.calls = bend, 0

    def at(self, time: float) -> float:
        return self.bend * (time / 1000) ** 2 + time / 1000 + 1

    def __call__(self, latents: Tensor, timestep: Tensor) -> Tensor:
        self.calls += 1
        return torch.full_like(latents, self.at(float(timestep)))


TIMES = [1000.0 - 20 * step for step in range(50)]


def ask_all(velocity: ForecastVelocity) -> list[Tensor]:
    return [velocity(torch.zeros(SHAPE), torch.tensor(time)) for time in TIMES]


def test_a_straight_velocity_is_computed_three_times() -> None:
    """Twice for the line, and once to see that it holds."""
    straight = Counted(bend=0)
    told = ask_all(ForecastVelocity(straight, tolerance=1e-3))
    assert straight.calls == 3
    for velocity, time in zip(told, TIMES, strict=True):
        assert_close(velocity, torch.full(SHAPE, straight.at(time)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("tolerance", [0.02, 0.1])
def test_what_is_forecast_is_as_near_as_was_asked_for(tolerance: float) -> None:
    bent = Counted(bend=3)
    told = ask_all(ForecastVelocity(bent, tolerance))
    assert 3 < bent.calls < 40
    missed = [abs(float(v.flatten()[0]) - bent.at(t)) / bent.at(t) for v, t in zip(told, TIMES, strict=True)]
    assert tolerance / 10 < max(missed) < 2 * tolerance  # the norm falls between the guess and the step


def test_a_smaller_tolerance_computes_more() -> None:
    calls = []
    for tolerance in (0.2, 0.05, 0.01):
        velocity = ForecastVelocity(Counted(bend=3), tolerance)
        ask_all(velocity)
        calls.append(velocity.computed)
    assert calls == sorted(calls)
    assert calls[0] < calls[-1]


def test_late_guidance_keeps_the_last_difference() -> None:
    conditional, unconditional = Counted(bend=1), Counted(bend=0)
    velocity = GuidedVelocity(conditional, unconditional, scale=3.0, computed=2)
    told = [float(velocity(torch.zeros(1), torch.tensor(time))) for time in (1000.0, 800.0, 500.0)]
    assert (conditional.calls, unconditional.calls) == (3, 2)
    last_difference = conditional.at(800) - unconditional.at(800)
    assert told == pytest.approx(
        [2 + 3 * 1.0, 1.8 + 3 * last_difference, conditional.at(500) + 2 * last_difference], abs=1e-5
    )


def test_guidance_to_the_end_is_guidance() -> None:
    conditional, unconditional = Counted(bend=1), Counted(bend=0)
    velocity = GuidedVelocity(conditional, unconditional, scale=3.0, computed=3)
    for time in (1000.0, 800.0, 500.0):
        at = (torch.zeros(SHAPE), torch.tensor(time))
        assert torch.equal(velocity(*at), guide(conditional(*at), unconditional(*at), 3.0))


def test_without_an_unconditional_branch_there_is_no_guidance() -> None:
    conditional = Counted(bend=1)
    told = GuidedVelocity(conditional, None, scale=3.0, computed=0)(torch.zeros(1), torch.tensor(1000.0))
    assert float(told) == conditional.at(1000)
