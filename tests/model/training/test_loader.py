"""Batches that follow from seed, epoch and rank, go on in mid-epoch, and remember an extension only."""

from itertools import islice

import numpy as np
import pytest
from torch.utils.data import DataLoader

from model.config import MixConfig
from model.training.loader import BatchLoader
from model.training.samples import Batch
from model.types import TrainingClip
from tests.model.toy import CHANNELS
from tests.model.training.clips import GRID, marked_clip, read_mark

CLIPS = [marked_clip(number, versions=1) for number in range(1, 10)]
ALWAYS = MixConfig(memories=(0.0, 0.0, 1.0), previous=1.0)


def shown(batch: Batch) -> list[tuple[int, int, int]]:
    return [read_mark(target) for target in batch.target]


def first(count: int, **options: int) -> list[list[tuple[int, int, int]]]:
    return [shown(batch) for batch in islice(BatchLoader(CLIPS, 2, ALWAYS, **options), count)]


def test_an_epoch_shows_every_clip_once() -> None:
    loader = BatchLoader(CLIPS[:8], 2, ALWAYS)
    assert loader.batches_per_epoch == 4
    epochs = [
        [mark[0] for number in range(start, start + 4) for mark in shown(loader.batch(number))] for start in (0, 4)
    ]
    assert [sorted(epoch) for epoch in epochs] == [list(range(1, 9))] * 2
    assert epochs[0] != epochs[1]


def test_everything_follows_from_the_seed() -> None:
    assert first(6, seed=3) == first(6, seed=3)
    assert first(6, seed=3) != first(6, seed=4)


def test_ranks_share_the_clips_out_in_batches_of_one_form() -> None:
    loaders = [BatchLoader(CLIPS[:8], 2, MixConfig(), rank=rank, ranks=2) for rank in range(2)]
    for number in range(20):
        one, other = (loader.batch(number) for loader in loaders)
        assert not {mark[0] for mark in shown(one)} & {mark[0] for mark in shown(other)}
        assert [memory.patch for memory in one.memories] == [memory.patch for memory in other.memories]
        assert (one.cached, one.merge_share) == (other.cached, other.merge_share)


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_it_goes_on_in_the_middle_of_an_epoch(stop: int) -> None:
    loader = BatchLoader(CLIPS, 2, ALWAYS, seed=1)
    before = [shown(batch) for batch in islice(loader, stop)]
    again = BatchLoader(CLIPS, 2, ALWAYS, seed=1)
    again.load_state_dict(loader.state_dict())
    assert before + [shown(batch) for batch in islice(again, 9 - stop)] == first(9, seed=1)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:This DataLoader will create")
def test_workers_of_a_dataloader_share_the_work_in_order() -> None:
    loader = DataLoader(BatchLoader(CLIPS, 2, ALWAYS), batch_size=None, num_workers=2)
    assert [shown(batch) for batch in islice(loader, 6)] == first(6)


def test_too_few_clips_are_refused() -> None:
    with pytest.raises(AssertionError, match="9 clips are too few for 2 batches of 8"):
        BatchLoader(CLIPS, 8, ALWAYS, ranks=2)


def extended_clip(number: int) -> TrainingClip:
    """Two segments with a source, and four that follow."""
    clip = marked_clip(number, versions=1)
    return TrainingClip(clip.id, clip.instruction, False, clip.source[:2], clip.versions, clip.regions[:2])


def test_an_extension_is_remembered_and_never_a_target() -> None:
    loader = BatchLoader([extended_clip(number) for number in range(1, 9)], 4, ALWAYS)
    remembered = set()
    for number in range(40):
        batch = loader.batch(number)
        for index, target in enumerate(batch.target):
            segment = read_mark(target)[2]
            assert segment < 2
            memories = [read_mark(memory.edited[index])[2] for memory in batch.memories]
            assert memories[0] == segment + 1, "its neighbour comes behind it"
            assert segment not in memories
            remembered |= set(memories)
            for memory, place in zip(batch.memories, memories, strict=True):
                assert memory.source[index].any() == (place < 2), "an extension has no source"
    assert remembered == set(range(6))
    assert batch.regions.shape == (4, *GRID)
    assert batch.target.shape == (4, CHANNELS, *GRID)
    assert np.isfinite(batch.target).all()
