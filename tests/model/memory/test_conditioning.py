"""What a pass is conditioned on: kept in order, counted right, and refused where it makes no sense."""

from dataclasses import replace

import pytest
import torch

from model.memory.attention import MemoryCache
from model.memory.conditioning import Conditioning
from tests.model.toy import FRAMES, TEXT, memories


def test_nothing_is_merged_unless_asked_for() -> None:
    assert Conditioning(memories()).merging.mode == "off"


def test_live_videos_come_first() -> None:
    live, memory = replace(memories((2,))[0], live=True), memories((4,))[0]
    assert Conditioning((live, memory)).memories == 1
    with pytest.raises(AssertionError, match="live videos come before memories"):
        Conditioning((memory, live))


def test_cached_memory_needs_its_fixed_text_or_its_cache() -> None:
    with pytest.raises(AssertionError, match="one fixed text"):
        Conditioning(memories(), cached=True)
    assert Conditioning(memories(), cached=True, memory_text=torch.zeros(1, 3, TEXT)).memories == 3
    assert Conditioning(cached=True, cache=MemoryCache((), ())).memories == 0


def test_it_is_empty_where_the_target_is_alone() -> None:
    assert Conditioning().empty
    assert not Conditioning(memories()).empty
    assert not Conditioning(cached=True, cache=MemoryCache((), ())).empty


def test_memories_are_counted_by_sample() -> None:
    """The user's video is none, live or cached."""
    always = memories((4, 4), batch=3)
    some = memories((8,), batch=3, present=torch.tensor([True, False, False]))
    others = memories((8,), batch=3, present=torch.tensor([True, True, False]))
    user = memories((2,), batch=3, remembered=False)
    assert Conditioning((*user, *always)).memories_by_sample() == [2]
    assert Conditioning((*user, *always, *some, *others)).memories_by_sample() == [4, 3, 2]
    assert Conditioning(user).memories_by_sample() == [0]


def test_a_temporal_range_holds_the_longest_video() -> None:
    (video,) = memories((4,))
    longer = replace(video, latents=video.latents.repeat(1, 1, 2, 1, 1))
    assert Conditioning((video,)).range_length(FRAMES) == FRAMES
    assert Conditioning((video, longer)).range_length(FRAMES) == 2 * FRAMES
    assert Conditioning((video,)).range_length(FRAMES + 4) == FRAMES + 4
    assert Conditioning((video, longer), range_frames=21).range_length(FRAMES) == 21
