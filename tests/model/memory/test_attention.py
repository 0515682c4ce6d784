"""Attention with seclusion, a past and absent memories equals attention under one explicit mask."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor
from torch.testing import assert_close

from model.backbones.transformer import Conditioning, MemoryWanTransformer
from model.config import MergeConfig
from model.memory.attention import EVERYWHERE, KeyValue, Visibility, attend, keys, queries, read, text_keys
from model.memory.rope import rotary_grid
from model.memory.sequence import ConditionVideo
from tests.model.toy import DEPTH, OFF, TEXT, memories, predict, target, toy_transformer

WIDTH, HEADS, LENGTH, LIVE = 24, 2, 12, 8
EXACT: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}


def an_attention() -> WanAttention:
    torch.manual_seed(0)
    return WanAttention(WIDTH, HEADS, WIDTH // HEADS, processor=WanAttnProcessor()).eval()


def positions(length: int = LENGTH) -> tuple[Tensor, Tensor]:
    cos, sin = (each.flatten(1, 3).unsqueeze(2) for each in rotary_grid(range(length), 1, 1, WIDTH // HEADS))
    return cos, sin


def masked(
    attention: Any,
    hidden: Tensor,
    rotary: tuple[Tensor, Tensor],
    visible: Visibility = EVERYWHERE,
    past: KeyValue | None = None,
) -> tuple[Tensor, KeyValue]:
    """The same by brute force: one mask of queries times keys."""
    query, key = queries(attention, hidden, rotary), keys(attention, hidden, rotary)
    own = (key, attention.to_v(hidden).unflatten(2, (attention.heads, -1)))
    batch, length = hidden.shape[:2]
    all_keys, all_values = own
    if past is not None:
        all_keys, all_values = (
            torch.cat([mine, theirs.expand(batch, -1, -1, -1)], dim=1) for mine, theirs in zip(own, past, strict=True)
        )
    mask = torch.ones(batch, length, all_keys.shape[1], dtype=torch.bool)
    if visible.live_length is not None:
        mask[:, visible.live_length :, : visible.live_length] = False
    if visible.present is not None:
        mask &= visible.present[:, None]
        mask |= ~mask.any(dim=2, keepdim=True)
    moved = (each.transpose(1, 2) for each in (query, all_keys, all_values))
    mixed = F.scaled_dot_product_attention(*moved, attn_mask=mask[:, None]).transpose(1, 2).flatten(2)
    return attention.to_out[1](attention.to_out[0](mixed)), own


@torch.no_grad()
def test_reading_the_keys_of_a_text_is_reading_the_text() -> None:
    """Bit for bit what diffusers' cross-attention computes."""
    attention, hidden, text = an_attention(), torch.randn(2, LENGTH, WIDTH), torch.randn(2, 5, WIDTH)
    assert torch.equal(read(attention, hidden, text_keys(attention, text)), attention(hidden, text, None, None))


@torch.no_grad()
def test_where_all_see_all_it_is_wans_attention_bit_for_bit() -> None:
    attention, hidden = an_attention(), torch.randn(2, LENGTH, WIDTH)
    ours, _ = attend(attention, hidden, positions())
    assert torch.equal(ours, attention(hidden, None, None, positions()))


@pytest.mark.parametrize("live", [None, 0, LIVE, LENGTH])
@pytest.mark.parametrize("some_absent", [False, True])
@pytest.mark.parametrize("with_past", [False, True])
@torch.no_grad()
def test_it_equals_one_explicit_mask(live: int | None, some_absent: bool, with_past: bool) -> None:
    attention, hidden = an_attention(), torch.randn(2, LENGTH, WIDTH)
    past = (torch.randn(1, 3, HEADS, WIDTH // HEADS), torch.randn(1, 3, HEADS, WIDTH // HEADS)) if with_past else None
    present = torch.ones(2, LENGTH + (3 if with_past else 0), dtype=torch.bool)
    present[0, LIVE + 1 :] = False
    visible = Visibility(live, present if some_absent else None)
    if with_past and live not in (None, LENGTH):
        visible = replace(visible, live_length=None)  # memory is either in the sequence or past
    ours, own = attend(attention, hidden, positions(), visible, past)
    expected, _ = masked(attention, hidden, positions(), visible, past)
    assert_close(ours, expected, **EXACT)
    assert own[0].shape == own[1].shape == (2, LENGTH, HEADS, WIDTH // HEADS)


@torch.no_grad()
def test_a_sample_without_any_memory_is_never_blind() -> None:
    attention, hidden = an_attention(), torch.randn(2, LENGTH, WIDTH)
    present = torch.ones(2, LENGTH, dtype=torch.bool)
    present[0, LIVE:] = False
    mixed, _ = attend(attention, hidden, positions(), Visibility(LIVE, present))
    assert mixed.isfinite().all()
    alone, _ = attend(attention, hidden[:1, :LIVE], positions(LIVE))
    assert_close(mixed[:1, :LIVE], alone, **EXACT)


def secluded(videos: tuple[ConditionVideo, ...], merging: MergeConfig = OFF) -> Conditioning:
    fixed = torch.randn(1, 4, TEXT, generator=torch.Generator().manual_seed(9))
    return Conditioning(videos, merging, cached=True, memory_text=fixed)


def through_a_cache(model: MemoryWanTransformer, given: tuple[Tensor, Tensor, Tensor], all_of: Conditioning) -> Any:
    """A function of target, time and text that computes memory once, as the editor does."""
    plan = model.plan_merges(*given, all_of)
    live, memory = (tuple(video for video in all_of.videos if video.live == wanted) for wanted in (True, False))
    cache = model.remember(replace(all_of, videos=memory), plan.share(live=False))
    assert len(cache.blocks) == DEPTH
    steps = replace(all_of, videos=live, cache=cache, plan=plan.share(live=True))
    return plan, lambda later: predict(model, later, steps)


@pytest.mark.parametrize("live", [False, True], ids=["memories", "with-a-live-video"])
@pytest.mark.parametrize("merging", [OFF, MergeConfig(fraction=0.5)], ids=["whole", "merged"])
@torch.no_grad()
def test_a_cache_equals_the_mask_over_steps_and_branches(
    monkeypatch: pytest.MonkeyPatch, merging: MergeConfig, live: bool
) -> None:
    """To 1e-5 in float32: the cache is made once, and used at other times, of other latents, under other texts."""
    model = toy_transformer()
    user = (replace(memories((2,), seed=5)[0], start=1, live=True, remembered=False),) if live else ()
    conditioning = secluded((*user, *memories((4, 4, 8))), merging)
    first = target()
    plan, quick = through_a_cache(model, first, conditioning)
    assert bool(plan.merged_frames()) == (merging.mode != "off")
    for seed in range(3):
        later = target(seed=seed)
        with monkeypatch.context() as brute_force:
            brute_force.setattr("model.backbones.block.attend", masked)
            expected = predict(model, later, replace(conditioning, plan=plan))
        assert_close(quick(later), expected, **EXACT)


@torch.no_grad()
def test_cached_memory_takes_no_notice_of_the_target() -> None:
    """Keys and values of memory are the same whatever is denoised, and reach it all the same."""
    model, conditioning = toy_transformer(), secluded(memories((4, 8)))
    cache = model.remember(conditioning)
    steps = Conditioning(cached=True, cache=cache)
    without = Conditioning()
    assert (predict(model, target(), steps) - predict(model, target(), without)).abs().max() > 1e-3


COUNTS = [3, 1, 0, 2]


def by_count(merging: MergeConfig, cached: bool) -> tuple[Conditioning, list[Conditioning]]:
    """One batch of samples with different numbers of memories, and the same samples one at a time."""
    whole = memories((4, 4, 8), batch=len(COUNTS))
    marked = tuple(
        replace(video, present=torch.tensor([rank < count for count in COUNTS])) for rank, video in enumerate(whole)
    )
    kind = secluded if cached else Conditioning
    alone = [
        kind(tuple(replace(video, latents=video.latents[row : row + 1]) for video in whole[:count]), merging)
        for row, count in enumerate(COUNTS)
    ]
    return kind(marked, merging), alone


@pytest.mark.parametrize("cached", [False, True], ids=["joint", "cached"])
@pytest.mark.parametrize(
    "merging",
    [OFF, MergeConfig(fraction=0.5), MergeConfig(), MergeConfig(mode="high"), MergeConfig(mode="discard")],
    ids=["whole", "merged", "merged-by-count", "high", "discard"],
)
@torch.no_grad()
def test_different_numbers_of_memories_in_one_batch(merging: MergeConfig, cached: bool) -> None:
    """Equal to one at a time, also where each sample merges its own share."""
    model, given = toy_transformer(), target(batch=len(COUNTS))
    together, alone = by_count(merging, cached)
    found = predict(model, given, together)
    for row, one in enumerate(alone):
        latents, timestep, text = (each[row : row + 1] for each in given)
        assert_close(found[row : row + 1], predict(model, (latents, timestep, text), one), **EXACT)


@torch.no_grad()
def test_a_cache_knows_which_sample_has_which_memory() -> None:
    model, given = toy_transformer(), target(batch=len(COUNTS))
    together, _ = by_count(MergeConfig(fraction=0.5), cached=True)
    plan, quick = through_a_cache(model, given, together)
    assert_close(quick(given), predict(model, given, replace(together, plan=plan)), **EXACT)
