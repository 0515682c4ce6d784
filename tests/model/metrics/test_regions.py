"""Colours and errors of regions, against known answers."""

import numpy as np
import pytest

from model.metrics.regions import (
    colour_distance,
    decibels,
    farthest_patch,
    grown,
    mean_colour,
    saturation,
    squared_error,
    without_rim,
)


def square(low: int, high: int, size: int = 12) -> np.ndarray:
    mask = np.zeros((2, size, size), bool)
    mask[:, low:high, low:high] = True
    return mask


def test_growing_adds_a_rim_and_stops_at_the_border() -> None:
    assert (grown(square(4, 8), 2) == square(2, 10)).all()
    assert (grown(square(0, 2), 3) == square(0, 5)).all()
    assert not grown(np.zeros((1, 5, 5), bool), 2).any()


def test_the_rim_goes_where_enough_is_left_and_the_border_of_the_picture_is_no_rim() -> None:
    assert (without_rim(square(3, 9)) == square(4, 8)).all()
    assert (without_rim(square(4, 6)) == square(4, 6)).all()
    assert (without_rim(square(0, 6)) == square(0, 5)).all()


def test_a_colour_is_that_of_the_pixels_meant() -> None:
    picture = np.zeros((2, 12, 12, 3), np.float32)
    picture[square(3, 9)] = (0.25, 0.5, 0.75)
    assert mean_colour(picture, square(4, 8)) == (0.25, 0.5, 0.75)
    assert mean_colour(picture, square(0, 2)) == (0.0, 0.0, 0.0)


def test_known_answers() -> None:
    assert colour_distance((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) == pytest.approx(np.sqrt(3))
    assert saturation((0.5, 0.5, 0.5)) == 0.0
    assert saturation((0.8, 0.2, 0.4)) == pytest.approx(0.75)
    black = np.zeros((2, 12, 12, 3), np.float32)
    assert decibels(squared_error(black, black + np.float32(0.1), square(0, 12))) == pytest.approx(20.0, abs=1e-5)
    assert decibels(0.0) == 100.0
    spoilt = black.copy()
    spoilt[square(3, 9)] = 1
    assert squared_error(black, spoilt, ~square(3, 9)) == 0.0


def test_a_patch_that_was_painted_is_found_in_any_frame() -> None:
    black = np.zeros((3, 20, 20, 3), np.float32)
    spoilt = black.copy()
    spoilt[2, 8:12, :8] = (0.6, 0, 0.8)
    assert farthest_patch(spoilt, black) == pytest.approx(0.5)
    assert farthest_patch(black, black) == 0.0
