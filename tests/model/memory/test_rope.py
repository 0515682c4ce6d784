"""Positions: diffusers' own where both apply, relative, reversible, and averaged for large tokens."""

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from model.memory.attention import rotate
from model.memory.rope import Rotary, coarsen, memory_rotary, rotary_grid, split_head, temporal_positions


def flat(rotary: Rotary) -> tuple[Tensor, Tensor]:
    cos, sin = (each.flatten(1, 3).unsqueeze(2) for each in rotary)
    return cos, sin


@pytest.mark.parametrize("head_dim", [12, 32, 64, 128])
@pytest.mark.parametrize("grid", [(1, 1, 1), (3, 4, 6), (21, 15, 26)])
def test_the_targets_table_is_diffusers_own_bit_for_bit(head_dim: int, grid: tuple[int, int, int]) -> None:
    time, rows, columns = grid
    theirs = WanRotaryPosEmbed(head_dim, (1, 2, 2), 64)(torch.zeros(1, 4, time, 2 * rows, 2 * columns))
    ours = flat(rotary_grid(range(time), rows, columns, head_dim))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


@given(st.integers(1, 40).map(lambda pairs: 2 * pairs))
def test_a_head_is_divided_into_pairs_without_rest(head_dim: int) -> None:
    sizes = split_head(head_dim)
    assert sum(sizes) == head_dim
    assert all(size >= 0 and size % 2 == 0 for size in sizes)
    assert sizes[1] == sizes[2]


@given(st.integers(0, 200), st.tuples(*[st.integers(0, 2)] * 3), st.integers(0, 10_000))
def test_attention_depends_on_differences_only(later: int, moved: tuple[int, int, int], seed: int) -> None:
    """The same query and key, both moved by as many frames, rows and columns, fit as well as before."""
    query, key = torch.randn(2, 1, 1, 1, 24, generator=torch.Generator().manual_seed(seed))
    first, second = rotary_grid([0, 7], 6, 6, 24), rotary_grid([later, 7 + later], 6, 6, 24)

    def logit(table: Rotary, at: tuple[int, int, int], other: tuple[int, int, int]) -> Tensor:
        angles = [[part[:, t, r, c, None, None] for part in table] for t, r, c in (at, other)]
        turned = [rotate(each, (cos, sin)) for each, (cos, sin) in zip((query, key), angles, strict=True)]
        return (turned[0] * turned[1]).sum()

    _, down, right = moved
    here, there = logit(first, (0, 1, 2), (1, 3, 0)), logit(second, (0, 1 + down, 2 + right), (1, 3 + down, right))
    assert_close(here, there, atol=1e-4, rtol=1e-4)


def test_rotation_keeps_length() -> None:
    states = torch.randn(1, 2 * 3 * 3, 2, 24)
    turned = rotate(states, flat(rotary_grid([5, 90], 3, 3, 24)))
    assert_close(turned.norm(dim=-1), states.norm(dim=-1))


@given(st.integers(1, 21), st.integers(1, 21), st.integers(0, 2))
def test_reversal_is_an_involution(frames: int, more: int, start: int) -> None:
    forward = temporal_positions(frames, start, False, frames + more)
    backward = temporal_positions(frames, start, True, frames + more)
    assert backward == forward[::-1]
    assert sorted(backward) == forward
    first, last = forward[0], forward[-1]
    assert [first + last - position for position in backward] == forward


def test_long_edits_and_novel_views_have_three_ranges() -> None:
    """Supplement E: target, then the user's video or the segment before, then all memories, however many."""
    ranges = [temporal_positions(21, start, False) for start in range(3)]
    assert ranges == [list(range(21)), list(range(21, 42)), list(range(42, 63))]


@given(st.integers(1, 21), st.integers(1, 21))
def test_a_short_video_keeps_to_its_range(short: int, longest: int) -> None:
    frames = min(short, longest)
    ranges = [set(temporal_positions(frames, start, reverse=True, range_frames=longest)) for start in range(3)]
    assert [min(each) for each in ranges] == [0, longest, 2 * longest]
    assert len(set.union(*ranges)) == 3 * frames


@pytest.mark.parametrize(("rows", "columns"), [(8, 12), (30, 52), (10, 6)])
@pytest.mark.parametrize("patch", [2, 4, 8])
def test_a_large_token_has_the_mean_of_the_cells_that_it_covers(rows: int, columns: int, patch: int) -> None:
    cells, base_rows, base_columns = patch // 2, -(-rows // 2), -(-columns // 2)
    base, large = rotary_grid([4, 9], base_rows, base_columns, 24), memory_rotary([4, 9], rows, columns, 24, patch)
    assert large.cos.shape == (1, 2, -(-rows // patch), -(-columns // patch), 24)
    for of_base, of_large in zip(base, large, strict=True):
        for row in range(of_large.shape[2]):
            for column in range(of_large.shape[3]):
                down = torch.arange(row * cells, (row + 1) * cells).clamp(max=base_rows - 1)
                right = torch.arange(column * cells, (column + 1) * cells).clamp(max=base_columns - 1)
                mean = of_base[:, :, down][:, :, :, right].mean(dim=(2, 3))
                assert_close(of_large[:, :, row, column], mean, atol=1e-6, rtol=1e-5)


def test_averaging_by_axis_is_averaging_over_the_area() -> None:
    base = rotary_grid(range(3), 15, 26, 32)
    for one, other in zip(rotary_grid(range(3), 15, 26, 32, cells=4), coarsen(base, 4), strict=True):
        assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_a_large_token_turns_less_surely() -> None:
    """Its cosine and sine are a mean, so shorter than 1, and the more so the faster the frequency turns."""
    cos, sin = memory_rotary([0], 16, 16, 32, 8)
    length = (cos**2 + sin**2).sqrt()
    temporal, _, _ = split_head(32)
    assert_close(length[..., :temporal], torch.ones_like(length[..., :temporal]))
    by_frequency = length[0, 0, 0, 0, temporal : temporal + split_head(32)[1] : 2]
    assert (by_frequency < 1).all()
    assert (by_frequency.diff() > 0).all()


def test_coarsening_by_one_changes_nothing() -> None:
    base = rotary_grid([3], 5, 7, 12)
    for one, other in zip(coarsen(base, 1), base, strict=True):
        assert torch.equal(one, other)
