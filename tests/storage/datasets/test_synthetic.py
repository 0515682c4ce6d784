"""The world keeps what it promises: masks, poses, gaps and words are the truth."""

from dataclasses import replace

import numpy as np
import pytest

from model.config import WorldConfig
from storage.datasets import wording
from storage.datasets.shapes import OUTLINES
from storage.datasets.synthetic import RenderedWorld, colour_of, imagine, render, shown_segments, training_clip

SMALL = WorldConfig(size=32, segments=6)
SEEDS = range(24)
HUES = (10.0, 200.0)


@pytest.fixture(scope="module")
def worlds() -> list[RenderedWorld]:
    return [render(imagine(SMALL, seed), SMALL.size, HUES) for seed in SEEDS]


def test_a_seed_is_a_clip() -> None:
    one, same, other = (training_clip(SMALL, seed) for seed in (3, 3, 4))
    assert one.instruction == same.instruction
    assert np.array_equal(one.source, same.source)
    assert all(np.array_equal(*pair) for pair in zip(one.versions, same.versions, strict=True))
    assert not np.array_equal(one.source, other.source)


def test_training_and_held_out_worlds_differ_even_under_one_seed() -> None:
    """In their backgrounds, too: the corner of the first frame shows nothing else."""
    for seed in SEEDS:
        one, other = (training_clip(SMALL, seed, wording).source[0, :2, :2] for wording in ("training", "held-out"))
        assert np.abs(one.astype(int) - other).max() > 0
    training = imagine(SMALL, 3)
    elsewhere = render(replace(training, wording="held-out"), SMALL.size)
    same = np.all(elsewhere.source == render(training, SMALL.size).source, axis=-1)
    things = np.logical_or.reduce(elsewhere.masks)
    assert same[things].mean() > 0.5 > 0.05 > same[~things].mean()


def test_masks_are_exact(worlds: list[RenderedWorld]) -> None:
    """A pixel in the mask is mostly of the new colour, any other mostly as it was; none changes away from it."""
    for drawn in worlds:
        far = ~_widened(drawn.changed | drawn.masks[drawn.world.subject])
        far[:, [0, 1, -2, -1]] = far[:, :, [0, 1, -2, -1]] = False  # a shape may stand just outside the view
        source = drawn.source.astype(float)
        for edited, hue in zip(drawn.edited, (drawn.world.change.hue, *HUES), strict=True):
            most = np.abs(255 * np.array(colour_of(hue)) - source)
            moved = np.abs(edited - source)
            assert (moved >= most / 2 - 1)[drawn.changed].all()
            assert (moved <= most / 2 + 1)[~drawn.changed].all()
            assert not moved[far].any()


def test_versions_differ_wherever_the_edit_is(worlds: list[RenderedWorld]) -> None:
    for drawn in worlds:
        first, second = (edited.astype(int) for edited in drawn.edited[1:])
        assert drawn.changed.any()
        assert (np.abs(first - second).max(axis=-1)[drawn.changed] > 40).all()


@pytest.mark.parametrize("story", ["cut", "walk"])
def test_the_subject_leaves_for_whole_segments_and_comes_back(story: str, worlds: list[RenderedWorld]) -> None:
    told = [drawn for drawn in worlds if drawn.world.story == story]
    assert told
    for drawn in told:
        shown = np.array(shown_segments(drawn.masks[drawn.world.subject], SMALL.segment_frames))
        gap = np.flatnonzero(shown == 0)
        assert shown[0] > 4
        assert len(gap) >= SMALL.least_gap
        assert shown[gap[-1] :].max() > 4


def test_poses_say_how_the_picture_moves() -> None:
    """A camera that moves by two pixels a frame shows the same background two pixels further, and its pose says so."""
    world = imagine(SMALL, 0)
    steps = np.arange(world.frames)[:, None] * np.array([2.0, 0.0]) / SMALL.size
    drawn = render(replace(world, camera=steps, scenes=(0,) * world.frames), SMALL.size)
    moved = drawn.poses.poses[:, :3, 3] * SMALL.size
    assert moved[:, 0] == pytest.approx(2 * np.arange(world.frames))
    assert not moved[:, 1:].any()
    things = _widened(np.logical_or.reduce(drawn.masks))
    before, after = drawn.source[:-1, :, 2:].astype(int), drawn.source[1:, :, :-2].astype(int)
    free = ~(things[:-1, :, 2:] | things[1:, :, :-2])
    assert np.abs(before - after)[free].max() <= 1
    assert np.abs(drawn.source[:-1].astype(int) - drawn.source[1:])[~things[:-1] & ~things[1:]].max() > 1


def _widened(mask: np.ndarray) -> np.ndarray:
    """A mask with two pixels around it."""
    for axis in (1, 2):
        mask = np.logical_or.reduce([np.roll(mask, shift, axis) for shift in range(-2, 3)])
    return mask


def pairs_in(texts: set[str]) -> set[tuple[str, str]]:
    """Shapes and colours that are named together."""
    pairs = {(shape, colour) for shape in OUTLINES for colour in wording.HUES}
    return {pair for pair in pairs if any(set(pair) <= set(text.split()) for text in texts)}


def test_held_out_words_never_occur_in_training() -> None:
    training = {imagine(SMALL, seed).change.instruction for seed in range(400)}
    held_out = {imagine(SMALL, seed, "held-out").change.instruction for seed in range(400)}
    kept = set(wording.HELD_OUT_PAIRS.items())
    assert not pairs_in(training) & kept
    assert pairs_in(held_out) & kept
    patterns = [*wording.HELD_OUT_OPEN.values(), *wording.HELD_OUT_FIXED.values()]
    phrases = {text.format(shape=shape, colour=hue) for text in patterns for shape in OUTLINES for hue in wording.HUES}
    assert not training & phrases
    assert held_out & phrases


def test_what_is_named_is_what_is_painted() -> None:
    for seed in range(60):
        change = imagine(SMALL, seed).change
        named = [hue for colour, hue in wording.HUES.items() if colour in change.instruction.split()]
        assert bool(named) is change.named
        if named:
            assert named == [change.hue]
