"""Parts keep frames apart, and the sequence flat, without losing anything on the way."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from model.memory.rope import rotary_grid
from model.memory.sequence import Part, flatten, frame_presence, join, split, token_presence

WIDTH, TARGET = 6, 7


def a_part(frames: int = 3, rows: int = 2, columns: int = 3, seed: int = 0, **options: Any) -> Part:
    random = torch.Generator().manual_seed(seed)
    given = {"cameras": None, "present": None, "live": False, "mergeable": True, **options}
    return Part(
        tokens=torch.randn(2, frames, rows, columns, WIDTH, generator=random),
        rotary=rotary_grid(range(seed, seed + frames), rows, columns, 12),
        frames=(torch.arange(frames) + 100 * seed).expand(2, -1),
        **given,
    )


def test_splitting_undoes_flattening() -> None:
    target, parts = torch.randn(2, TARGET, WIDTH), [a_part(), a_part(2, 1, 2, seed=1), a_part(1, 4, 4, seed=2)]
    hidden = flatten(target, parts)
    assert hidden.shape == (2, TARGET + sum(part.length for part in parts), WIDTH)
    assert torch.equal(hidden[:, :TARGET], target), "target tokens come first and are contiguous"
    again, back = split(hidden, TARGET, parts)
    assert torch.equal(again, target)
    for one, other in zip(back, parts, strict=True):
        assert torch.equal(one.tokens, other.tokens)
        assert one.frames is other.frames


def test_neighbours_under_one_tokenizer_become_one_part() -> None:
    one, two, coarse = a_part(), a_part(seed=1), a_part(3, 1, 1, seed=2)
    joined = join([one, two, coarse])
    assert [part.frames.shape[1] for part in joined] == [6, 3]
    assert torch.equal(joined[0].tokens, torch.cat([one.tokens, two.tokens], dim=1))
    assert torch.equal(joined[0].rotary.sin, torch.cat([one.rotary.sin, two.rotary.sin], dim=1))
    assert joined[0].frames[0].tolist() == [0, 1, 2, 100, 101, 102]
    assert joined[0].length == one.length + two.length


@pytest.mark.parametrize("other", [{"live": True}, {"mergeable": False}])
def test_parts_of_another_nature_stay_apart(other: dict[str, bool]) -> None:
    assert len(join([a_part(**other), a_part(seed=1)])) == 2


def test_parts_that_some_samples_lack_are_joined_with_those_that_all_have() -> None:
    some = torch.tensor([[True] * 3, [False] * 3])
    (joined,) = join([a_part(present=some), a_part(seed=1)])
    assert joined.present is not None
    assert joined.present.tolist() == [[True] * 6, [False] * 3 + [True] * 3]


def test_cameras_are_joined_and_never_half() -> None:
    with_cameras = a_part(cameras=torch.ones(2, 3, 12))
    (joined,) = join([with_cameras, a_part(seed=1, cameras=torch.zeros(2, 3, 12))])
    assert joined.cameras is not None
    assert joined.cameras[0, :, 0].tolist() == [1, 1, 1, 0, 0, 0]
    with pytest.raises(AssertionError, match="either all conditions have cameras or none"):
        join([with_cameras, a_part(seed=1)])


def presence(part: Part) -> list[Any] | None:
    return None if part.present is None else part.present.tolist()


def test_frames_are_taken_by_sample() -> None:
    part, chosen = a_part(cameras=torch.randn(2, 3, 12)), torch.tensor([[2, 0], [1, 1]])
    real = torch.tensor([[True, True], [True, False]])
    taken = part.take(chosen, real)
    assert part.cameras is not None
    assert taken.cameras is not None
    for sample in range(2):
        assert torch.equal(taken.tokens[sample], part.tokens[sample, chosen[sample]])
        assert torch.equal(taken.rotary.cos[sample], part.rotary.cos[0, chosen[sample]])
        assert torch.equal(taken.cameras[sample], part.cameras[sample, chosen[sample]])
    assert taken.frames.tolist() == [[2, 0], [1, 1]]
    assert presence(taken) == real.tolist()
    assert presence(part.take(chosen)) is None
    lacking = replace(part, present=torch.tensor([[True, True, False], [True, True, True]]))
    assert presence(lacking.take(chosen)) == [[False, True], [True, True]]
    assert presence(lacking.take(chosen, real)) == [[False, True], [True, False]]


def test_presence_is_by_frame_and_by_token() -> None:
    some = torch.tensor([[True, False, True], [True, True, True]])
    parts = [a_part(), a_part(3, 1, 2, seed=1, present=some)]
    frames, tokens = frame_presence(parts), token_presence(TARGET, parts)
    assert frames is not None
    assert tokens is not None
    assert frames.tolist() == [[True] * 3 + [True, False, True], [True] * 6]
    own = TARGET + parts[0].length
    expected = torch.ones(2, own + 6, dtype=torch.bool)
    expected[0, own + 2 : own + 4] = False
    assert torch.equal(tokens, expected)
    assert frame_presence(parts[:1]) is None
    assert token_presence(TARGET, parts[:1]) is None


def test_gradients_pass_through_taking_and_flattening() -> None:
    tokens: Tensor = torch.randn(2, 3, 2, 3, WIDTH, requires_grad=True)
    part = replace(a_part(), tokens=tokens)
    flatten(torch.zeros(2, 1, WIDTH), [part.take(torch.tensor([[0, 2], [1, 1]]))]).sum().backward()
    assert tokens.grad is not None
    assert tokens.grad[:, :, 0, 0, 0].tolist() == [[1, 0, 1], [0, 2, 0]]
