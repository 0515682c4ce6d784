"""A block is Wan's own until it is told what surrounds it."""

from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from torch import Tensor, nn
from torch.testing import assert_close

from model.backbones.block import MemoryBlock, Surroundings
from model.memory.attention import Visibility, keys, queries
from model.memory.modulation import Modulation
from model.memory.rope import rotary_grid

SIZES = (24, 32, 2, "rms_norm_across_heads", True, 1e-6, None)
WIDTH, LENGTH, TARGET = 24, 10, 6


def a_block(cameras: bool = False) -> MemoryBlock:
    torch.manual_seed(0)
    return MemoryBlock(*SIZES, cameras=cameras).eval()


def inputs() -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Hidden states, text, times by column and positions."""
    torch.manual_seed(1)
    cos, sin = (each.flatten(1, 3).unsqueeze(2) for each in rotary_grid(range(LENGTH), 1, 1, 12))
    return torch.randn(2, LENGTH, WIDTH), torch.randn(2, 4, WIDTH), torch.randn(2, 2, 6, WIDTH), (cos, sin)


def call(block: MemoryBlock, times: Tensor, columns: Tensor | None = None, **around: Any) -> Any:
    hidden, text, _, rotary = inputs()
    told = {"target_length": TARGET, "live_length": TARGET, **around}
    return block(hidden, text, Modulation(times, columns), rotary, Surroundings(**told))


@torch.no_grad()
def test_without_surroundings_it_is_wans_block_bit_for_bit() -> None:
    ours = a_block()
    theirs = WanTransformerBlock(*SIZES).eval()
    theirs.load_state_dict(ours.state_dict())
    hidden, text, times, rotary = inputs()
    assert torch.equal(ours(hidden, text, times[:, 0], rotary), theirs(hidden, text, times[:, 0], rotary))


@torch.no_grad()
def test_one_time_for_all_is_wans_block_too() -> None:
    block = a_block()
    hidden, text, times, rotary = inputs()
    assert_close(call(block, times[:, :1]), block(hidden, text, times[:, 0], rotary))


@torch.no_grad()
def test_a_time_by_token_is_wans_block_too() -> None:
    """The base takes a modulation for every token; ours looks few of them up."""
    block, columns = a_block(), torch.tensor([0] * TARGET + [1] * (LENGTH - TARGET))
    hidden, text, times, rotary = inputs()
    assert_close(call(block, times, columns), block(hidden, text, times[:, columns], rotary))


@torch.no_grad()
def test_secluded_memory_reads_its_own_text() -> None:
    block, (_, _, times, _) = a_block(), inputs()
    fixed = torch.randn(1, 3, WIDTH)
    cached = {"visible": Visibility(TARGET)}
    read, other = (call(block, times[:, :1], memory_text=text, **cached) for text in (fixed, fixed + 1))
    same = call(block, times[:, :1], **cached)
    assert torch.equal(read[:, :TARGET], other[:, :TARGET])
    assert (read[:, TARGET:] - other[:, TARGET:]).abs().max() > 1e-3
    assert (read[:, TARGET:] - same[:, TARGET:]).abs().max() > 1e-3
    only_live = call(block, times[:, :1], live_length=LENGTH, memory_text=fixed)
    assert_close(only_live, call(block, times[:, :1], live_length=LENGTH))


@torch.no_grad()
def test_what_is_kept_is_what_attention_used() -> None:
    block, (hidden, _, times, rotary) = a_block(), inputs()
    plain = call(block, times[:, :1])
    same, (key, value) = call(block, times[:, :1], answer="hidden and keys")
    assert torch.equal(same, plain)
    shift, scale, *_ = Modulation(times[:, :1]).added_to(block.scale_shift_table)
    entering = block.norm1(hidden) * (1 + scale) + shift
    assert_close(key, keys(block.attn1, entering, rotary))
    assert_close(value, block.attn1.to_v(entering).unflatten(2, (2, 12)))
    query, condition_key = call(block, times[:, :1], answer="queries and keys")
    assert_close(query, queries(block.attn1, entering, rotary)[:, :TARGET].flatten(2))
    assert_close(condition_key, key[:, TARGET:].flatten(2))


@torch.no_grad()
def test_the_keys_of_a_text_stand_for_it() -> None:
    """Asked for once, without anything else; secluded memory still reads its own text."""
    block, (hidden, text, times, rotary) = a_block(), inputs()
    keys_of_text = block(text, text, None, None, Surroundings(0, 0, answer="text keys"))
    fixed = torch.randn(1, 3, WIDTH)
    for around in (
        Surroundings(TARGET, TARGET),
        Surroundings(TARGET, TARGET, visible=Visibility(TARGET), memory_text=fixed),
    ):
        read, known = (block(hidden, given, Modulation(times), rotary, around) for given in (text, keys_of_text))
        assert torch.equal(known, read)


@torch.no_grad()
def test_fresh_camera_modules_change_nothing() -> None:
    plain, with_cameras = a_block(), a_block(cameras=True)
    with_cameras.load_state_dict(plain.state_dict(), strict=False)
    times, poses = inputs()[2], torch.randn(2, LENGTH, 12)
    assert_close(call(with_cameras, times[:, :1], cameras=poses), call(plain, times[:, :1]))
    nn.init.normal_(with_cameras.camera.weight)
    assert (call(with_cameras, times[:, :1], cameras=poses) - call(plain, times[:, :1])).abs().max() > 1e-2


def test_a_camera_is_added_to_the_tokens_it_belongs_to() -> None:
    """Eq. 17: with attention shut off, a pose moves its own token and no other."""
    block = a_block(cameras=True)
    nn.init.normal_(block.camera.weight)
    poses = torch.zeros(2, LENGTH, 12)
    moved = poses.clone()
    moved[:, 3] = 1
    hidden, _, times, _ = inputs()
    shift, scale, *_ = Modulation(times[:, :1]).added_to(block.scale_shift_table)
    difference = block._enter(hidden, shift, scale, moved) - block._enter(hidden, shift, scale, poses)
    assert difference[:, 3].abs().min() > 0
    others = [token for token in range(LENGTH) if token != 3]
    assert (difference[:, others] == 0).all()


def test_times_must_be_few() -> None:
    hidden, text, times, rotary = inputs()
    with pytest.raises(AssertionError):
        a_block()(hidden, text, times, rotary, Surroundings(TARGET, TARGET))
