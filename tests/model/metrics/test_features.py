"""Consistency by features, against the definitions written out frame by frame; nothing lies over a cut."""

from itertools import combinations

import numpy as np

from model.metrics.features import consistency, cross_frame_similarity, follow_features, segment_consistency
from model.metrics.plan import plan_measurement
from model.metrics.score import NotMeasured
from model.metrics.vbench import background_consistency, subject_consistency
from model.types import Segment, Shot, Span
from tests.model.metrics.scenes import is_number

SHOTS = (Shot(0, Span(0, 5)), Shot(1, Span(5, 12)), Shot(2, Span(12, 13)))
SEGMENTS = (
    Segment(0, 0, Span(0, 5), 5),
    Segment(1, 1, Span(5, 9), 5),
    Segment(2, 1, Span(8, 11), 5),
    Segment(3, 1, Span(10, 12), 5),
    Segment(4, 2, Span(12, 13), 5),
)
PLAN = plan_measurement(SHOTS, SEGMENTS, 0)
FEATURES = np.random.default_rng(3).normal(0.3, 1, (13, 6)).astype(np.float32)
COURSE = follow_features(FEATURES, PLAN)


def cosine(one: int, other: int) -> float:
    pair = FEATURES[[one, other]].astype(np.float64)
    return float(pair[0] @ pair[1] / np.prod(np.linalg.norm(pair, axis=1)))


def vbench(indices: list[int]) -> list[float]:
    """The definition: of each frame but the first."""
    return [
        (max(0, cosine(indices[place - 1], index)) + max(0, cosine(indices[0], index))) / 2
        for place, index in enumerate(indices)
        if place
    ]


def test_consistency_is_vbenchs_within_shots() -> None:
    expected = np.mean([value for shot in SHOTS for value in vbench(list(range(shot.span.start, shot.span.stop)))])
    for measure in (consistency, subject_consistency, background_consistency):
        assert is_number(measure(COURSE), float(expected), 10)


def test_cross_frame_similarity_is_the_mean_of_all_pairs_within_shots() -> None:
    pairs = [pair for shot in SHOTS for pair in combinations(range(shot.span.start, shot.span.stop), 2)]
    expected = np.mean([cosine(*pair) for pair in pairs])
    assert is_number(cross_frame_similarity(COURSE), float(expected), len(pairs))


def test_segments_are_compared_by_their_first_own_frames() -> None:
    starts = [span.start for span in PLAN.own[1:4]]
    assert is_number(segment_consistency(COURSE), float(np.mean(vbench(starts))), 2)


def test_a_change_at_a_cut_costs_nothing() -> None:
    still = np.repeat(FEATURES[[0, 1, 2]], [5, 7, 1], axis=0)
    course = follow_features(still, PLAN)
    for measure, cases in ((consistency, 10), (cross_frame_similarity, 31), (segment_consistency, 2)):
        assert is_number(measure(course), 1, cases)


def test_where_there_are_no_pairs_there_is_no_number() -> None:
    plan = plan_measurement(SHOTS[:1], SEGMENTS[:1], 0)
    assert isinstance(segment_consistency(follow_features(FEATURES[:5], plan)), NotMeasured)
    alone = plan_measurement((Shot(0, Span(0, 1)),), (Segment(0, 0, Span(0, 1), 5),), 0)
    course = follow_features(FEATURES[:1], alone)
    assert isinstance(consistency(course), NotMeasured)
    assert isinstance(cross_frame_similarity(course), NotMeasured)
