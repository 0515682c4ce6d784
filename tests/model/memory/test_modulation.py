"""Few distinct times, looked up by token: the same as a modulation for every token, without ever making it."""

import pytest
import torch

from model.memory.modulation import Modulation, times_of
from model.memory.rope import rotary_grid
from model.memory.sequence import Part

WIDTH, TOKENS_PER_FRAME = 5, 6


def a_part(frames: int, live: bool) -> Part:
    numbers = torch.arange(frames).expand(1, -1)
    rotary = rotary_grid(range(frames), 1, 2, 12)
    return Part(torch.zeros(1, frames, 1, 2, WIDTH), rotary, numbers, None, None, live, mergeable=True)


def test_one_timestep_serves_the_target_and_zero_serves_memory() -> None:
    times = times_of(torch.tensor([700.0, 30.0]), 4, 2, memory=True)
    assert times.values.tolist() == [[700, 0], [30, 0]]
    assert times.target.tolist() == [0, 0, 0, 0]
    assert times.of_sequence([a_part(2, live=True), a_part(3, live=False)]).tolist() == [0] * 4 + [0] * 4 + [1] * 6


def test_a_timestep_by_token_is_one_by_frame() -> None:
    """Also where the first frames are clean: a live video has the time of the frames that are not."""
    by_frame = torch.tensor([[0.0, 800.0, 800.0]])
    by_token = by_frame.repeat_interleave(TOKENS_PER_FRAME, dim=1)
    times = times_of(by_token, 3 * TOKENS_PER_FRAME, TOKENS_PER_FRAME, memory=True)
    assert times.values.tolist() == [[0, 800, 800, 0]]
    assert times.target.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert times.memory == 3
    of_all = times.of_sequence([a_part(1, live=True), a_part(1, live=False)])
    assert times.values[0, of_all].tolist() == [0.0] * 6 + [800.0] * 14 + [0.0] * 2


def test_without_a_target_there_is_only_memory() -> None:
    times = times_of(torch.zeros(1), 0, 0, memory=True)
    assert times.of_sequence([a_part(2, live=False)]).tolist() == [1] * 4


@pytest.mark.parametrize("timestep", [torch.tensor([700.0]), torch.tensor([[700.0]])], ids=["by-sample", "by-token"])
def test_without_memory_one_timestep_is_all_there_is(timestep: torch.Tensor) -> None:
    times = times_of(timestep, 4, 2, memory=False)
    assert times.values.tolist() == [[700]]
    assert times.of_sequence([a_part(2, live=True)]).tolist() == [0] * 8


@pytest.mark.parametrize("columns", [None, torch.tensor([0, 2, 2, 1])])
def test_parts_are_looked_up_as_if_every_token_had_its_own(columns: torch.Tensor | None) -> None:
    values, table = torch.randn(2, 3, 6, WIDTH), torch.randn(1, 6, WIDTH)
    modulation = Modulation(values, columns)
    parts = modulation.added_to(table)
    dense = values[:, :1] if columns is None else values[:, columns]
    for index, part in enumerate(parts):
        assert torch.equal(modulation.by_token(part), table[:, index] + dense[:, :, index])


def test_modulation_is_added_in_full_precision() -> None:
    values, table = torch.randn(1, 2, 6, WIDTH).bfloat16(), torch.randn(1, 6, WIDTH)
    assert all(part.dtype == torch.float32 for part in Modulation(values).added_to(table))
