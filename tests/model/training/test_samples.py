"""What a batch holds, told by latents that say where they come from."""

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import pytest

from model.config import MixConfig
from model.memory.tokenizers import COARSE, FINE
from model.training.samples import Batch, draw_batch
from tests.model.training.clips import marked_clip, read_mark

CLIPS = [marked_clip(1), marked_clip(2), marked_clip(3, fixed=True), marked_clip(4, fixed=True)]
DRAWS = 60


def draw(seed: int, **mix: object) -> Batch:
    return draw_batch(CLIPS, 4, MixConfig.model_validate(mix), np.random.default_rng(seed))


def samples(**mix: object) -> Iterator[tuple[Batch, tuple[int, int, int], list[tuple[int, int, int]]]]:
    """Batches with the marks of a sample's target and of its memories."""
    for seed in range(DRAWS):
        batch = draw(seed, **mix)
        for index, target in enumerate(batch.target):
            yield batch, read_mark(target), [read_mark(memory.edited[index]) for memory in batch.memories]


def test_memories_are_other_segments_of_the_same_clip() -> None:
    for _, (clip, _, segment), memories in samples():
        assert {memory[0] for memory in memories} <= {clip}
        places = [memory[2] for memory in memories]
        assert segment not in places
        assert len(set(places)) == len(places)


def test_sources_are_those_of_what_they_stand_beside() -> None:
    for seed in range(DRAWS):
        batch = draw(seed)
        for edited, source in [(batch.target, batch.source), *((each.edited, each.source) for each in batch.memories)]:
            for one, other in zip(edited, source, strict=True):
                (clip, _, segment), beside = read_mark(one), read_mark(other)
                assert beside == (clip, -1, segment)


def test_versions_agree_unless_a_fixed_text_is_contradicted() -> None:
    contradicted = 0
    for _, (clip, version, _), memories in samples(disagreeing=0.5):
        kept = {memory[1] for memory in memories}
        assert len(kept) <= 1
        if clip in (1, 2):
            assert kept <= {version}
        else:
            assert version == 0
            contradicted += kept == {1}
    assert contradicted > 0


def test_nothing_is_contradicted_unless_asked_for() -> None:
    assert all({memory[1] for memory in memories} <= {own[1]} for _, own, memories in samples(disagreeing=0))


def test_the_previous_memory_is_the_segment_before() -> None:
    seen = 0
    for batch, (_, _, segment), memories in samples(previous=1):
        flags = [memory.previous for memory in batch.memories]
        assert flags == [True, *[False] * (len(flags) - 1)][: len(flags)]
        if memories:
            assert memories[0][2] == segment - 1
            seen += 1
    assert seen > 0
    assert not any(memory.previous for batch, _, _ in samples(previous=0) for memory in batch.memories)


def test_a_seed_is_a_batch() -> None:
    one, same, other = draw(5), draw(5), draw(6)

    def flat(batch: Batch) -> list[bytes]:
        plain = [
            np.asarray(getattr(batch, field.name)).tobytes() for field in fields(batch) if field.name != "memories"
        ]
        return plain + [part.tobytes() for memory in batch.memories for part in (memory.edited, memory.source)]

    assert flat(one) == flat(same)
    assert flat(one) != flat(other)


def test_targets_are_segments_that_change_as_often_as_asked() -> None:
    clips = [marked_clip(1, unchanged=(0, 1, 2, 3))]
    always = [draw_batch(clips, 8, MixConfig(changed=1), np.random.default_rng(seed)) for seed in range(10)]
    marks = [read_mark(target)[2] for batch in always for target in batch.target]
    assert set(marks) == {4, 5}
    never = [draw_batch(clips, 8, MixConfig(changed=0), np.random.default_rng(seed)) for seed in range(10)]
    assert {read_mark(target)[2] for batch in never for target in batch.source} == set(range(6))


def test_counts_tokenisers_and_merging_follow_the_mix() -> None:
    one = [draw(seed, memories=(0, 0, 0, 1), one_tokenizer=1, merging=1, cached=1) for seed in range(DRAWS)]
    assert {len(batch.memories) for batch in one} == {3}
    assert {frozenset(memory.patch for memory in batch.memories) for batch in one} == {
        frozenset({FINE}),
        frozenset({COARSE}),
    }
    finer = [draw(seed, memories=(0, 0, 0, 1), one_tokenizer=0, patches=(2, 4)) for seed in range(DRAWS)]
    assert {memory.patch for batch in finer for memory in batch.memories} == {2, 4}
    assert all([m.patch for m in batch.memories] == sorted(m.patch for m in batch.memories) for batch in finer)
    assert all(batch.merge_share is not None and 0.3 <= batch.merge_share <= 0.7 and batch.cached for batch in one)
    mixed = [draw(seed, memories=(0, 0, 0, 1), one_tokenizer=0, merging=0, cached=0) for seed in range(DRAWS)]
    assert all([m.patch for m in batch.memories] == sorted(m.patch for m in batch.memories) for batch in mixed)
    assert all(batch.merge_share is None and not batch.cached for batch in mixed)


@pytest.mark.parametrize(("dropout", "expected"), [(1, {""}), (0, {"edit 1", "edit 2", "edit 3", "edit 4"})])
def test_texts_are_dropped_as_often_as_asked(dropout: float, expected: set[str]) -> None:
    assert {text for seed in range(DRAWS) for text in draw(seed, text_dropout=dropout).instructions} == expected


def test_workers_draw_other_samples_in_the_same_form() -> None:
    def form(batch: Batch) -> tuple[object, ...]:
        return [(each.patch, each.previous) for each in batch.memories], batch.merge_share, batch.cached

    different = 0
    for seed in range(DRAWS):
        one, other = (
            draw_batch(CLIPS, 4, MixConfig(), np.random.default_rng([seed, rank]), np.random.default_rng(seed))
            for rank in range(2)
        )
        assert form(one) == form(other)
        different += not np.array_equal(one.target, other.target)
    assert different > DRAWS / 2
