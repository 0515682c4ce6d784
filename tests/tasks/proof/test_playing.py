"""What each method recalls, and that nothing is edited twice."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.config import EditConfig, Preset, RetrievalConfig, WorldConfig
from model.types import EditedSegment, Memory
from storage.datasets.synthetic import imagine, render
from storage.memory import MemoryRow, MemoryStore
from storage.remembered import Reach
from tasks.proof.judging import held_out
from tasks.proof.playing import METHODS, Clip, Stage, recall_latest, recall_random, recall_similar
from tasks.recall import Found, Query

WORLD = WorldConfig(size=48, segments=14, segment_frames=5, least_shown=2, least_gap=2)
CONFIG = RetrievalConfig(top_k=3)


class Copyist:
    """Leaves everything as it is, and notes what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[int, tuple[str, ...], EditConfig]] = []

    def edit(
        self, source: np.ndarray, instruction: str, memories: Sequence[Memory], seed: int, config: EditConfig
    ) -> EditedSegment:
        self.given.append((seed, tuple(memory.id for memory in memories), config))
        return EditedSegment(source, np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1, 1)), {"total": 0.0})

    def flops(self, source: np.ndarray, memories: Sequence[Memory], config: EditConfig) -> int:
        return 0

    def reconstruct(self, latents: np.ndarray) -> np.ndarray:
        raise AssertionError("nobody looks at these pictures")


def clip(story: str) -> Clip:
    """A world that tells this story."""
    seed = next(seed for seed in range(100) if imagine(WORLD, seed, "held-out").story == story)
    return held_out(WORLD, seed).clip


def row(clip: Clip, at: int) -> MemoryRow:
    """The segment as the pipeline would keep it."""
    place = {
        "session": "s",
        "video": clip.id,
        "turn": 0,
        "segment": at,
        "shot": clip.shots[at],
        "start": at,
        "stop": at + 1,
    }
    text = {"instruction": clip.instruction, "seed": 0, "model": "m", "created": dt.datetime.now(dt.UTC)}
    seen = {"descriptor": clip.descriptors[at], "descriptor_name": "thumbnail-8x8"}
    return MemoryRow(id=f"{at:06d}", **place, **text, **seen, recalled=(), scores=(), reasons=())


@pytest.mark.parametrize("settings", [{}, {"least_change": 0.5}, {"least_change": 0.5, "copy_margin": 0.2}])
@pytest.mark.parametrize("story", ["pan", "cut", "walk"])
def test_memory_recalls_what_the_pipeline_recalls(story: str, settings: dict[str, float], tmp_path: Path) -> None:
    played, config = clip(story), CONFIG.model_copy(update=settings)
    changes = np.random.default_rng(0).random(WORLD.segments).tolist()
    store = MemoryStore(tmp_path / "memory", len(played.descriptors[0]))
    for at in range(1, WORLD.segments):
        previous = played.previous(at)
        name = None if previous is None else f"{previous:06d}"
        earlier = [replace(row(played, each), change=changes[each]) for each in range(at)]
        query = Query(store, [("s", 0)], row(played, at), Reach(0, range(at), "m"), config)
        wanted = query.recall(Found([], {}), earlier, name)
        assert recall_similar(played, changes[:at], config) == [int(each.id) for each in wanted]


def test_only_a_cut_begins_a_shot() -> None:
    assert len(set(clip("pan").shots)) == 1
    shots = clip("cut").shots
    assert sorted(set(shots)) == [0, 1, 2]
    assert clip("cut").previous(shots.index(1)) is None
    assert clip("cut").previous(1) == 0


def test_random_draws_any_and_repeats_itself() -> None:
    played = clip("pan")
    for at in range(1, WORLD.segments):
        drawn = recall_random(played, [0.0] * at, CONFIG)
        assert len(set(drawn)) == len(drawn) == min(at, 3)
        assert all(each < at for each in drawn)
        assert drawn == recall_random(played, [0.0] * at, CONFIG)
    drawn = {each for at in range(4, WORLD.segments) for each in recall_random(played, [0.0] * at, CONFIG)}
    assert drawn >= set(range(8))
    assert recall_latest(played, [0.0] * 7, CONFIG) == [6, 5, 4]


def test_the_noise_of_a_segment_is_its_own_under_every_method() -> None:
    editor = Copyist()
    stage, donor = (Stage(each, editor, Preset(name="p", retrieval=CONFIG)) for each in (clip("pan"), clip("walk")))
    for method in METHODS:
        stage.play(method, donor)
    own = {seed for seed, *_ in editor.given if seed // 1000 == stage.clip.seed}
    assert len(own) == WORLD.segments


def test_what_methods_share_is_edited_once() -> None:
    editor = Copyist()
    stage = Stage(clip("pan"), editor, Preset(name="p", retrieval=CONFIG))
    stage.play("ind")
    assert len(editor.given) == WORLD.segments
    stage.play("ind")
    stage.play("memory")
    assert len(editor.given) == 2 * WORLD.segments - 1
    stage.play("recency")
    assert len(editor.given) < 3 * WORLD.segments - 3
    assert len({(seed, ids, config) for seed, ids, config in editor.given}) == len(editor.given)


def test_shuffled_takes_as_many_memories_all_of_them_strangers() -> None:
    editor = Copyist()
    stage, donor = (Stage(each, editor, Preset(name="p", retrieval=CONFIG)) for each in (clip("pan"), clip("walk")))
    stage.play("memory")
    donor.play("memory")
    honest, before = editor.given[: WORLD.segments], len(editor.given)
    stage.play("shuffled", donor)
    strangers = editor.given[before:]
    assert [len(ids) for _, ids, _ in strangers] == [len(ids) for _, ids, _ in honest[1:]]
    assert all(name.startswith(f"{donor.clip.id}/") for _, ids, _ in strangers for name in ids)


def test_methods_differ_in_merging_and_attention_as_they_say() -> None:
    preset = Preset(name="p")
    modes = {
        name: (method.config(preset).merging.mode, method.config(preset).attention) for name, method in METHODS.items()
    }
    assert modes["memory"] == ("off", "joint")
    assert modes["memory_merging"] == ("merge", "joint")
    assert modes["discard"] == ("discard", "joint")
    assert modes["cached"] == ("off", "cached")
    assert modes["shuffled"] == modes["memory"]


def test_a_world_is_cut_into_segments_in_order() -> None:
    played = clip("walk")
    rendered = render(imagine(WORLD, played.seed, "held-out"), 48)
    assert (np.rint(played.segments[3] * 255) == rendered.source[15:20]).all()
