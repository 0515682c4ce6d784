"""Looks are read off every segment: one look for all is agreement, another for each is not, none at all is told."""

import numpy as np
import pytest

from storage.datasets.clip import EditedClip
from storage.datasets.looks import apply_look, draw_look
from tasks.proof.looking import LOOK_TALLIES, NO_LOOK, LookView, look_at, look_clip
from tasks.proof.playing import Clip

LENGTH, SEGMENTS = 5, 4


def scene(seed: int) -> np.ndarray:
    """A picture that stands still, uint8 `[frame, 24, 24, 3]`, of two segments."""
    picture = np.random.default_rng(seed).integers(60, 190, (24, 24, 3), np.uint8)
    return np.repeat(picture[None], 2 * LENGTH, axis=0)


@pytest.fixture(scope="module")
def clip() -> Clip:
    source = np.concatenate([scene(0), scene(1)])
    nothing = np.zeros(source.shape[:3], bool)
    return look_clip(EditedClip("footage-1", "give it a new look", False, source, (source,), nothing), 1, LENGTH)


def view_of(clip: Clip, seeds: list[int]) -> LookView:
    """Each segment in the look of its seed."""
    looks = [draw_look(np.random.default_rng(seed)) for seed in seeds]
    return look_at(clip, [apply_look(look, segment) for look, segment in zip(looks, clip.segments, strict=True)])


def mean(view: LookView, name: str) -> float:
    tally = LOOK_TALLIES[name](view)
    return tally.total / tally.cases


def test_a_cut_begins_a_shot(clip: Clip) -> None:
    assert clip.shots == (0, 0, 1, 1)
    assert clip.segments.shape[:2] == (SEGMENTS, LENGTH)


def test_one_look_for_all_segments_agrees(clip: Clip) -> None:
    view = view_of(clip, [3] * SEGMENTS)
    assert mean(view, "look_distance") < 0.03
    assert mean(view, "look_applied") == 1.0


def test_a_look_for_each_does_not(clip: Clip) -> None:
    same, other = view_of(clip, [3] * SEGMENTS), view_of(clip, [3, 4, 5, 6])
    assert mean(other, "look_distance") > 5 * mean(same, "look_distance")
    assert LOOK_TALLIES["look_distance"](other).cases == SEGMENTS - 1


def test_no_look_is_told(clip: Clip) -> None:
    view = look_at(clip, list(clip.segments))
    assert mean(view, "look_applied") == 0.0
    assert max(view.applied) == pytest.approx(0, abs=0.02)
    assert NO_LOOK.contrast == 1.0
