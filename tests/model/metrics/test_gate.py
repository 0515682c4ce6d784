"""Flags of known series, and a course renewed where one segment has changed."""

import cv2
import numpy as np
import pytest

from model.config import GateBounds
from model.metrics import course
from model.metrics.course import Course, follow
from model.metrics.gate import excess, flags, measured, renew, score, surroundings
from model.metrics.plan import Plan, plan_measurement
from model.metrics.video_scores import SegmentSeries
from model.segments import plan_segments
from model.stitching import stitch
from model.types import Segment, Shot, Span

NAN = float("nan")
BOUNDS = GateBounds(colour=2.0, seam=3.0, flicker=4.0)


def scores(colour: list[float], seam: list[float], flicker: list[float]) -> SegmentSeries:
    return SegmentSeries(*(np.array(each, np.float64) for each in (colour, seam, flicker)))


def test_what_is_beyond_its_bound_is_flagged_and_what_was_not_measured_passes() -> None:
    found = flags(scores([0.0, 2.5, 2.0], [NAN, 1.0, 6.0], [4.0, 5.0, NAN]), BOUNDS)
    assert [[flag.name for flag in each] for each in found] == [[], ["colour", "flicker"], ["seam"]]
    assert (found[2][0].value, found[2][0].bound) == (6.0, 3.0)
    assert (
        found[2][0].sentence == "Where it begins, the picture jumps 6.0 times as far as elsewhere, more than 3 times."
    )


def test_only_what_was_measured_is_told() -> None:
    assert measured(scores([0.5], [NAN], [1.0]), 0) == {"colour": 0.5, "flicker": 1.0}


def test_of_two_neighbours_the_one_that_jumps_at_both_ends_is_further_beyond() -> None:
    beyond = excess(scores([0, 0, 0, 0], [NAN, 1, 6, 6], [0, 0, 0, 0]), BOUNDS)
    assert beyond.tolist() == [0, 1, 2, 1]


SIZE, WINDOW, OVERLAP = (40, 64), 9, 2


@pytest.fixture(scope="module")
def source() -> np.ndarray:
    """60 frames of a picture that glides."""
    picture = cv2.resize(np.random.default_rng(3).random((8, 20, 3)).astype(np.float32), (160, 40))
    frames = [picture[:, at : at + 64] for at in range(60)]
    return np.rint(255 * np.stack(frames)).astype(np.uint8)


@pytest.fixture(scope="module")
def plan(source: np.ndarray) -> Plan:
    shots = (Shot(0, Span(0, 45)), Shot(1, Span(45, 60)))
    return plan_measurement(shots, plan_segments(shots, WINDOW, OVERLAP), OVERLAP)


def watch(
    source: np.ndarray, whole: Plan, lighter: dict[int, int], first: int = 0, start: int = 0, part: Plan | None = None
) -> Course:
    """The course of an edit, or of a part of it, whose segments are lighter by so many levels."""
    plan = part or whole
    those = whole.segments[first : first + len(plan.segments)]

    def read(segment: Segment):
        noise = np.random.default_rng(segment.index).integers(0, 6, (len(segment.span), *SIZE, 3))
        frames = source[segment.span.start : segment.span.stop] * 0.8 + noise + lighter.get(segment.index, 0)
        return iter(frames.astype(np.uint8))

    return follow(iter(source[start : start + plan.frames]), stitch(those, read, plan.overlap), plan)


@pytest.mark.parametrize("index", [0, 3, 5, 6])
def test_a_course_renewed_around_a_segment_is_that_of_the_whole_video(
    source: np.ndarray, plan: Plan, index: int
) -> None:
    before, after = watch(source, plan, {}), watch(source, plan, {index: 20})
    around = surroundings(plan, index)
    found = watch(source, plan, {index: 20}, around.first, around.span.start, around.plan)
    renewed, wanted = score(renew(before, found, around)), score(after)
    for name in ("seam", "flicker", "colour"):
        np.testing.assert_allclose(getattr(renewed, name), getattr(wanted, name), rtol=1e-6)
    assert not np.allclose(excess(wanted, BOUNDS), excess(score(before), BOUNDS)), "the change is to be seen"
    assert len(around.plan.segments) < len(plan.segments)


def test_what_was_fitted_to_a_segment_is_not_fitted_again(
    source: np.ndarray, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another attempt at one of thousands looks at its neighbours, and at no more."""
    fitted: list[int] = []
    fit = course.colour_dependence

    def counted(sample: np.ndarray) -> np.ndarray:
        fitted.append(len(sample))
        return fit(sample)

    monkeypatch.setattr(course, "colour_dependence", counted)
    before, around = watch(source, plan, {}), surroundings(plan, 5)
    assert len(fitted) == len(plan.segments)
    found = watch(source, plan, {5: 20}, around.first, around.span.start, around.plan)
    for each in (before, renew(before, found, around)):
        score(each)
    assert len(fitted) == len(plan.segments) + len(around.plan.segments)


def test_a_segment_in_other_colours_is_flagged_alone(source: np.ndarray, plan: Plan) -> None:
    bounds = GateBounds(colour=3.0, seam=1e6, flicker=1e6)
    found = flags(score(watch(source, plan, {2: 20})), bounds)
    assert [bool(each) for each in found] == [index == 2 for index in range(len(plan.segments))]
