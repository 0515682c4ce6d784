"""Regions: soft inwards, steady over time, and nothing beyond them changes."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from model.region import STEADY, Change, at_chroma, feather, marks_anything

CHANGE = Change(0.06)
SHAPE = (68, 120)


def box(value: int = 255) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[20:50, 30:90] = value
    return mask


def test_edges_are_soft_inwards_only() -> None:
    region = feather(box(), 6)
    assert region[box() == 0].max() == 0
    assert region[35, 60] == region[30:40, 40:80].min() == 1
    rise = region[35, 29:38]
    assert rise[0] == 0
    assert np.all(np.diff(rise) >= 0)
    assert 0 < rise[1] < 0.5 < rise[5] < 1 == rise[-1]


def test_the_picture_s_own_edge_is_none() -> None:
    assert feather(np.full(SHAPE, 255, np.uint8), 6).min() == 1


def test_without_feather_a_mask_is_taken_as_drawn() -> None:
    region = feather(box(), 0)
    assert set(np.unique(region)) == {0, 1}
    half = feather(box(128), 0)[35, 60]
    assert half == pytest.approx(0.5, abs=0.01)
    assert feather(box(128), 3)[35, 60] == half


@pytest.mark.parametrize(("value", "marks"), [(0, False), (12, False), (40, True), (255, True)])
def test_what_a_codec_makes_of_black_is_black(value: int, marks: bool) -> None:
    assert marks_anything(box(value)) is marks
    assert bool(feather(box(value), 4).any()) is marks


def texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).random((*SHAPE, 3)).astype(np.float32)
    return 0.2 + 0.6 * cv2.GaussianBlur(noise, (0, 0), 1)


def lossy(picture: np.ndarray, seed: int) -> np.ndarray:
    """As a codec of some 33 dB leaves it."""
    return (picture + np.random.default_rng(seed).normal(0, 0.022, picture.shape)).astype(np.float32)


def pairs(frames: int, edited: range) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A box is recoloured in some frames; all else is only coded."""
    for number in range(frames):
        edit = texture()
        if number in edited:
            edit[20:50, 30:90] += np.float32([0.2, -0.1, 0])
        yield texture(), lossy(edit, number)


def test_a_codec_s_loss_is_no_change() -> None:
    assert max(region.max() for region in CHANGE.regions(pairs(8, range(0)), {0})) == 0


def test_a_change_is_found_whole_and_alone() -> None:
    for region in CHANGE.regions(pairs(6, range(6)), {0}):
        assert region[20:50, 30:90].min() > 0.99
        assert region[:10].max() == region[:, 110:].max() == 0
        assert 0.15 < region.mean() < 0.5


def test_a_change_does_not_flicker() -> None:
    """It is seen in all frames but one, and is kept in that one."""

    def flickering() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number, (source, edit) in enumerate(pairs(12, range(12))):
            yield source, lossy(source, 0) if number == 6 else edit

    steady = [region[35, 60] for region in CHANGE.regions(flickering(), {0})]
    assert min(steady) > 0.99
    assert max(np.abs(np.diff(steady))) < 0.01


def test_a_change_comes_and_goes_smoothly() -> None:
    course = [region[35, 60] for region in CHANGE.regions(pairs(20, range(8, 12)), {0})]
    assert min(course[8:12]) > 0.99
    assert max(course[: 8 - 2 * STEADY]) == max(course[12 + 2 * STEADY :]) == 0
    assert max(np.abs(np.diff(course))) < 1 / (2 * STEADY)


def test_a_cut_is_the_end_of_a_change() -> None:
    course = [region[35, 60] for region in CHANGE.regions(pairs(16, range(8)), {0, 8})]
    assert min(course[:8]) > 0.99
    assert max(course[8:]) == 0


@pytest.mark.parametrize("frames", [1, 2, 3, 9])
def test_every_frame_has_a_region(frames: int) -> None:
    assert len(list(CHANGE.regions(pairs(frames, range(frames)), {0}))) == frames


@pytest.mark.parametrize("shape", [(34, 60), (68, 60), (68, 120)])
def test_pixels_that_are_kept_take_colour_from_no_sample_that_changes(shape: tuple[int, int]) -> None:
    """However a player blows chroma up, as long as it looks at the two samples nearest to each pixel."""
    region = feather(box(), 0)
    seen = cv2.resize(at_chroma(region, shape), SHAPE[::-1], interpolation=cv2.INTER_LINEAR)
    assert seen[region == 0].max() == 0
    assert seen[35, 60] == 1
