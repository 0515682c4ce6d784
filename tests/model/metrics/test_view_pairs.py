"""Views that agree are told from views that do not; the number of an exported model is handed on."""

import numpy as np
import pytest

from model.metrics.score import NotMeasured, Score
from model.metrics.view_pairs import flow_view_distance, met3r
from tests.model.metrics.scenes import is_number, scene


def test_views_that_agree_are_nearer_than_views_that_do_not() -> None:
    one = scene(0)
    same = flow_view_distance([(one, one)])
    moved = flow_view_distance([(one, scene(3))])
    half = np.concatenate([scene(3)[:60], scene(55)[:60][::-1]])
    other = flow_view_distance([(one, half)])
    assert is_number(same, 0, 1)
    assert isinstance(moved, Score)
    assert isinstance(other, Score)
    assert moved.value < 0.1
    assert other.value > 5 * moved.value
    assert isinstance(flow_view_distance([(one, scene(55)[::-1].copy())]), NotMeasured)


def test_it_is_the_same_from_both_sides() -> None:
    one, other = scene(0), scene(4)
    forth, back = flow_view_distance([(one, other)]), flow_view_distance([(other, one)])
    assert isinstance(forth, Score)
    assert isinstance(back, Score)
    assert forth.value == pytest.approx(back.value)


def test_met3r_is_the_mean_of_what_its_model_says() -> None:
    pairs = [(scene(0), scene(1)), (scene(2), scene(2))]
    told = met3r(pairs, lambda one, other: float(np.any(one != other)))
    assert told == Score(0.5, 2)
    assert met3r([], lambda one, other: 0.0) == NotMeasured("the video has no pairs of frames that show the same")
