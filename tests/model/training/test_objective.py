"""What is learned: its zero, its weights, its times, and what the transformer is told."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.backbones.backbone import MEMORY, PREVIOUS
from model.backbones.transformer import MemoryOutput
from model.config import EditConfig, MixConfig, Preset, WindowConfig
from model.memory.conditioning import Conditioning
from model.training.objective import TIMESTEPS, TextStates, conditioning_of, draw_times, flow_loss
from model.training.samples import Batch, draw_batch
from tests.model.training.clips import noise_clips, texts

TEXT = texts("add")


def some_batch(seed: int = 0, **mix: object) -> Batch:
    return draw_batch(noise_clips(4), 4, MixConfig.model_validate(mix), np.random.default_rng(seed))


class Oracle(nn.Module):
    """Knows the clean latents, and so the velocity that leads from them to the noisy ones; `error` is added to it."""

    def __init__(self, clean: np.ndarray, error: Tensor | float = 0.0) -> None:
        super().__init__()
        self.clean, self.error = torch.from_numpy(clean), error

    def forward(self, hidden_states: Tensor, timestep: Tensor, **given: Any) -> MemoryOutput:
        noisy = hidden_states.chunk(2, dim=1)[0]
        time = (timestep / TIMESTEPS)[:, None, None, None, None]
        return MemoryOutput(sample=(noisy - self.clean) / time + self.error)


def loss(model: nn.Module, batch: Batch, region_weight: float = 0.0) -> float:
    return float(flow_loss(model, batch, TEXT, MixConfig(), 3.0, region_weight, torch.Generator().manual_seed(0)))


def test_the_true_velocity_has_no_loss() -> None:
    batch = some_batch()
    assert loss(Oracle(batch.target), batch) == pytest.approx(0, abs=1e-6)
    assert loss(Oracle(batch.target, 0.5), batch) == pytest.approx(0.25, rel=1e-3)


def test_regions_weigh_more() -> None:
    """A quarter of the latents is marked, and only those are wrong: each counts as five."""
    batch = some_batch()
    batch.regions[..., :2] = True
    wrong = torch.from_numpy(batch.regions)[:, None].float()
    assert loss(Oracle(batch.target, wrong), batch) == pytest.approx(0.25, rel=1e-3)
    assert loss(Oracle(batch.target, wrong), batch, region_weight=4.0) == pytest.approx(0.25 * 5 / 2, rel=1e-3)


def test_times_are_spread_evenly_and_moved_towards_noise() -> None:
    random = torch.Generator().manual_seed(0)
    even, moved = draw_times(16, 1.0, random).sort().values, draw_times(16, 5.0, random)
    assert torch.equal((even * 16).floor(), torch.arange(16.0))
    assert bool(((moved > 0) & (moved < 1)).all())
    assert float(moved.mean()) > float(even.mean()) + 0.1


def test_the_transformer_is_told_of_every_memory() -> None:
    batch = some_batch(memories=(0, 0, 0, 1), previous=1)
    mix = MixConfig(memory_noise=0, reverse_memory=True, merge_blocks=(2,))
    told = conditioning_of(batch, TEXT, mix, torch.Generator().manual_seed(0))
    assert [video.start for video in told.videos] == [PREVIOUS, MEMORY, MEMORY]
    assert all(video.reverse for video in told.videos)
    for video, memory in zip(told.videos, batch.memories, strict=True):
        edited, source = (each.numpy() for each in video.latents.chunk(2, dim=1))
        assert np.array_equal(edited, memory.edited)
        assert np.array_equal(source, memory.source)
    assert (told.memory_text is not None) is told.cached is batch.cached


def test_noise_is_put_on_edited_memories_alone() -> None:
    batch = some_batch(memories=(0, 0, 1))
    told = conditioning_of(batch, TEXT, MixConfig(memory_noise=0.5), torch.Generator().manual_seed(1))
    for video, memory in zip(told.videos, batch.memories, strict=True):
        edited, source = (each.numpy() for each in video.latents.chunk(2, dim=1))
        assert np.array_equal(source, memory.source)
        assert 0 < np.abs(edited - memory.edited).std() <= 0.5


@pytest.mark.parametrize(("merging", "mode"), [(0, "off"), (1, "merge")])
def test_merging_is_told(merging: float, mode: str) -> None:
    batch = some_batch(memories=(0, 1), merging=merging)
    told = conditioning_of(batch, TEXT, MixConfig(merge_blocks=(1, 3)), torch.Generator().manual_seed(0))
    assert (told.merging.mode, told.merging.blocks, told.merging.fraction) == (mode, (1, 3), batch.merge_share)


def view_batch(seed: int = 0, **mix: object) -> Batch:
    random = np.random.default_rng(1)
    clips = [
        replace(clip, cameras=random.normal(size=(len(clip), clip.source.shape[2], 12)).astype(np.float32))
        for clip in noise_clips(4)
    ]
    return draw_batch(clips, 4, MixConfig.model_validate(mix), np.random.default_rng(seed))


def view_conditioning(batch: Batch, **mix: object) -> Conditioning:
    return conditioning_of(batch, TEXT, MixConfig.model_validate(mix), torch.Generator().manual_seed(0))


def test_a_view_is_told_of_the_users_video_first() -> None:
    """Supplement E.1: the user's video in the next range, at the target's time; memories share the one behind it."""
    batch = view_batch(memories=(0, 0, 1))
    given = view_conditioning(batch, memory_noise=0, user_video_dropout=0)
    user_video, *memories = given.videos
    assert (user_video.live, user_video.remembered, user_video.start) == (True, False, PREVIOUS)
    assert torch.equal(user_video.latents, torch.from_numpy(batch.source))
    assert user_video.cameras is not None
    assert torch.equal(user_video.cameras[0, 0].reshape(3, 4)[:, :3], torch.eye(3))
    assert [(memory.start, memory.reverse, memory.live) for memory in memories] == [(MEMORY, False, False)] * 2
    for memory, known in zip(memories, batch.memories, strict=True):
        assert torch.equal(memory.latents, torch.from_numpy(known.edited))
        assert memory.cameras is not None
        assert known.cameras is not None
        assert torch.equal(memory.cameras, torch.from_numpy(known.cameras))
    assert given.target_cameras is not None
    assert torch.equal(given.target_cameras, torch.from_numpy(np.asarray(batch.cameras)))


def test_the_users_video_is_dropped_only_where_memory_can_stand_alone() -> None:
    alone = view_conditioning(view_batch(memories=(0, 1)), user_video_dropout=1)
    assert [video.start for video in alone.videos] == [MEMORY]
    nothing_else = view_conditioning(view_batch(memories=(1,)), user_video_dropout=1)
    assert [video.start for video in nothing_else.videos] == [PREVIOUS]


def test_a_views_source_is_not_on_the_channels() -> None:
    batch = view_batch()
    seen: list[int] = []

    class Told(Oracle):
        def forward(self, hidden_states: Tensor, timestep: Tensor, **given: Any) -> MemoryOutput:
            seen.append(hidden_states.shape[1])
            return super().forward(hidden_states.repeat(1, 2, 1, 1, 1), timestep)

    assert loss(Told(batch.target), batch) == pytest.approx(0, abs=1e-6)
    assert seen == [batch.target.shape[1]]


def test_temporal_ranges_are_those_of_the_presets_window() -> None:
    """However short the samples: an edit counts from the same positions."""
    preset = Preset(name="long", window=WindowConfig(frames=21))
    for batch in (some_batch(memories=(0, 0, 1)), view_batch(memories=(0, 0, 1))):
        told = conditioning_of(batch, TEXT, MixConfig(), torch.Generator(), preset)
        assert told.range_length(batch.target.shape[2]) == 6
        alone = conditioning_of(batch, TEXT, MixConfig(), torch.Generator())
        assert alone.range_length(batch.target.shape[2]) == batch.target.shape[2] == 2


def test_memories_have_no_sources_where_the_preset_gives_none() -> None:
    batch = some_batch(memories=(0, 0, 1))
    assert all(memory.source.any() for memory in batch.memories)
    preset = Preset(name="extended", edit=EditConfig(memory_source=False))
    told = conditioning_of(batch, TEXT, MixConfig(memory_noise=0), torch.Generator(), preset)
    for video, memory in zip(told.videos, batch.memories, strict=True):
        edited, source = video.latents.chunk(2, dim=1)
        assert torch.equal(edited, torch.from_numpy(memory.edited))
        assert not source.any()


def padded(text: str) -> Tensor:
    """States of as many words as the text has letters, of five."""
    states = torch.zeros(1, 5, 4)
    states[:, : len(text)] = torch.randn(1, len(text), 4, generator=torch.Generator().manual_seed(len(text)))
    return states


def test_texts_are_read_once_and_come_back_to_the_bit() -> None:
    read: list[str] = []
    states = TextStates(lambda text: read.append(text) or padded(text))
    assert states.keep(["", "a", "abc", "abcde"])
    read.clear()
    found = states.of(["abc", "", "abcde", "abc"])
    assert torch.equal(found, torch.cat([padded(each) for each in ("abc", "", "abcde", "abc")]))
    assert torch.equal(states.empty, padded(""))
    assert read == []


def test_texts_take_no_more_room_than_there_is() -> None:
    """Three words of four numbers: a text of two has its place, the next has none and is read whenever it is wanted."""
    read: list[str] = []
    states = TextStates(lambda text: read.append(text) or padded(text), room=3 * 4 * 4)
    assert not states.keep(["ab", "abc", "abcd"])
    read.clear()
    assert torch.equal(states.of(["ab", "abc", "abc"]), torch.cat([padded(each) for each in ("ab", "abc", "abc")]))
    assert read == ["abc", "abc"]
