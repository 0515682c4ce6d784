"""What every token of a pass is: its position, its time, its camera, and whether a sample has it."""

from dataclasses import replace

import pytest
import torch

from model.memory.attention import MemoryCache
from model.memory.conditioning import Conditioning
from model.memory.layout import Pass, Target, flatten_cameras, flatten_rotary
from model.memory.modulation import times_of
from model.memory.rope import rotary_grid
from model.memory.sequence import Part

WIDTH, HEAD = 5, 12
GRID = (2, 2, 3)


def a_part(frames: int, rows: int, columns: int, start: int, **options: object) -> Part:
    given = {"cameras": None, "present": None, "live": False, "mergeable": True, **options}
    rotary = rotary_grid(range(start, start + frames), rows, columns, HEAD)
    return Part(torch.randn(2, frames, rows, columns, WIDTH), rotary, torch.arange(frames).expand(2, -1), **given)


def a_pass(conditioning: Conditioning | None = None, by_token: bool = False, memory: bool = True) -> Pass:
    length = GRID[0] * GRID[1] * GRID[2]
    target = Target(torch.randn(2, length, WIDTH), rotary_grid(range(2), 2, 3, HEAD), GRID)
    timestep = torch.tensor([[3.0], [9.0]]).expand(2, length) if by_token else torch.tensor([3.0, 9.0])
    times = times_of(timestep, length, target.tokens_per_frame, memory)
    distinct = times.values.shape[1]
    embedded = (torch.randn(2, distinct, WIDTH), torch.randn(2, distinct, 6, WIDTH))
    return Pass(target, times, embedded, torch.randn(2, 4, WIDTH), None, conditioning or Conditioning(), 2)


def test_positions_lie_in_the_order_of_the_tokens() -> None:
    target, parts = rotary_grid(range(2), 2, 3, HEAD), [a_part(2, 1, 2, start=2), a_part(1, 1, 1, start=4)]
    cos, sin = flatten_rotary(target, parts)
    assert cos.shape == sin.shape == (1, 12 + 4 + 1, 1, HEAD)
    assert torch.equal(cos[0, :12, 0], target.cos.reshape(-1, HEAD))
    assert torch.equal(sin[0, 12:16, 0], parts[0].rotary.sin.reshape(-1, HEAD))
    assert torch.equal(flatten_rotary(None, parts)[0], cos[:, 12:])


def test_positions_may_differ_by_sample() -> None:
    chosen = a_part(3, 1, 1, start=2).take(torch.tensor([[0, 1], [2, 1]]))
    cos, _ = flatten_rotary(rotary_grid(range(2), 2, 3, HEAD), [chosen, a_part(1, 1, 1, start=4)])
    assert cos.shape == (2, 12 + 2 + 1, 1, HEAD)
    assert torch.equal(cos[0, :12], cos[1, :12])
    assert not torch.equal(cos[0, 12], cos[1, 12])
    assert torch.equal(cos[0, 13], cos[1, 13])


def test_every_token_is_told_its_own_videos_camera() -> None:
    target, other = torch.randn(2, 2, 12), torch.randn(2, 3, 12)
    cameras = flatten_cameras(target, 6, [a_part(3, 1, 2, start=2, cameras=other)])
    assert cameras is not None
    for token in range(12):
        assert torch.equal(cameras[:, token], target[:, token // 6])
    for token in range(6):
        assert torch.equal(cameras[:, 12 + token], other[:, token // 2])


def test_cameras_are_all_or_none() -> None:
    seen = a_part(3, 1, 2, start=2, cameras=torch.randn(2, 3, 12))
    assert flatten_cameras(None, 6, [a_part(3, 1, 2, start=2)]) is None
    assert flatten_cameras(None, 0, [seen]) is not None, "memory alone has no target to be told anything"
    with pytest.raises(AssertionError, match="either the target and every condition"):
        flatten_cameras(None, 6, [seen])


@pytest.mark.parametrize("by_token", [False, True])
def test_the_target_has_its_time_and_memory_has_zero(by_token: bool) -> None:
    given = a_pass(by_token=by_token)
    parts = [a_part(1, 1, 2, start=2, live=True), a_part(1, 1, 3, start=4)]
    layout = given.lay_out(parts)
    assert layout.length == 12 + 2 + 3
    assert (layout.target_length, layout.live_length) == (12, 14)
    columns = layout.modulation.columns
    assert columns is not None
    assert torch.equal(given.times.values[:, columns[:14]], torch.tensor([[3.0], [9.0]]).expand(2, 14))
    assert (given.times.values[:, columns[14:]] == 0).all()


def test_a_single_time_is_never_spread_over_tokens() -> None:
    alone = a_pass(memory=False)
    assert alone.lay_out([a_part(1, 1, 2, start=2, live=True)]).modulation.columns is None
    assert alone.output_modulation().columns is None
    assert a_pass().output_modulation().columns is None
    assert a_pass(by_token=True).lay_out([]).modulation.columns is not None


def test_memory_is_secluded_only_where_it_is_cached() -> None:
    parts = [a_part(1, 1, 3, start=4)]
    joint = a_pass()
    assert joint.visibility(joint.lay_out(parts), 0).live_length is None
    cached = a_pass(Conditioning(cached=True, memory_text=torch.zeros(1, 2, WIDTH)))
    assert cached.visibility(cached.lay_out(parts), 0).live_length == 12


@pytest.mark.parametrize("own", [None, torch.tensor([[True], [False]])])
@pytest.mark.parametrize("past", [None, torch.tensor([[True, False], [True, True]])])
def test_presence_covers_own_and_past_keys(own: torch.Tensor | None, past: torch.Tensor | None) -> None:
    pair = (torch.zeros(1, 2, 1, HEAD), torch.zeros(1, 2, 1, HEAD))
    given = a_pass(Conditioning(cached=True, cache=MemoryCache((pair,), (past,))))
    part = replace(a_part(1, 1, 3, start=4), present=own)
    present = given.visibility(given.lay_out([part]), 0).present
    if own is None and past is None:
        assert present is None
        return
    assert present is not None
    expected = torch.ones(2, 12 + 3 + 2, dtype=torch.bool)
    if own is not None:
        expected[1, 12:15] = False
    if past is not None:
        expected[0, 16] = False
    assert torch.equal(present, expected)
