"""How alike the frames of a video are, by features of a vision model; in one pass, in bounded memory.

Knows no model: features come in as vectors, one a frame. VBench's form of consistency compares each frame with the
first and the one before; here within a shot, since a cut is no inconsistency. Numpy half: no torch.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64

from model.metrics.plan import Plan
from model.metrics.score import Measurement, NotMeasured, Score, mean_score

Vector = Float[np.ndarray, " size"]


@dataclass(frozen=True, eq=False)
class FeatureCourse:
    """What one pass over features found: cosines to the frame before and to the shot's first, NaN there; the sum of all
    unit vectors of each shot; and the unit vector of each segment's first own frame."""

    plan: Plan
    to_previous: Float64[np.ndarray, " frame"]
    to_first: Float64[np.ndarray, " frame"]
    sums: Float64[np.ndarray, "shot size"]
    starts: Float64[np.ndarray, "segment size"]


def follow_features(features: Iterable[Float32[np.ndarray, " size"]], plan: Plan) -> FeatureCourse:
    """Look at the features of all frames of a video once, in order."""
    to_previous, to_first = np.full((2, plan.frames), np.nan)
    sums: list[Vector] = []
    first = previous = np.zeros(0)
    starts: dict[int, Vector] = {span.start: previous for span in plan.own}
    for index, feature in enumerate(features):
        unit = _unit(feature)
        if index in plan.firsts:
            first = unit
            sums.append(np.zeros_like(unit))
        else:
            to_previous[index], to_first[index] = previous @ unit, first @ unit
        if index in starts:
            starts[index] = unit
        sums[-1] += unit
        previous = unit
    return FeatureCourse(plan, to_previous, to_first, np.stack(sums), np.stack([starts[s.start] for s in plan.own]))


def consistency(course: FeatureCourse) -> Measurement:
    """VBench's form: of each frame the mean of max(0, cosine to the first) and max(0, cosine to the one before).

    The mean over all frames but the first of each shot; in [0, 1], higher is better.
    """
    both = (np.maximum(course.to_previous, 0) + np.maximum(course.to_first, 0)) / 2
    return mean_score(both, "shot of two frames or more")


def cross_frame_similarity(course: FeatureCourse) -> Measurement:
    """The mean cosine of all pairs of frames within shots; in [-1, 1], higher is better.

    Of n unit vectors with sum s it is (|s|^2 - n) / (n (n - 1)), so no pair has to be made.
    """
    counts = np.array([len(shot.span) for shot in course.plan.shots])
    pairs = int((counts * (counts - 1)).sum())
    if not pairs:
        return NotMeasured("the video has no shot of two frames or more")
    total = (np.square(course.sums).sum(axis=1) - counts).sum()
    return Score(float(total / pairs), pairs // 2)


def segment_consistency(course: FeatureCourse) -> Measurement:
    """VBench-Long's clip-to-clip consistency: `consistency` of the first frames of the segments of each shot alone.

    In [0, 1], higher is better. Its clips have two seconds, ours are the segments, by their first own frame; its
    rescaling to the figures of single clips, by constants that belong to those clips and its models, is left out.
    """
    found = []
    shots = [segment.shot for segment in course.plan.segments]
    for shot in dict.fromkeys(shots):
        units = course.starts[[index for index, each in enumerate(shots) if each == shot]]
        to_previous, to_first = (units[:-1] * units[1:]).sum(axis=1), units[1:] @ units[0]
        found.append((np.maximum(to_previous, 0) + np.maximum(to_first, 0)) / 2)
    return mean_score(np.concatenate(found), "shot of two segments or more")


def _unit(feature: Vector) -> Float64[np.ndarray, " size"]:
    exact = feature.astype(np.float64)
    return exact / max(float(np.linalg.norm(exact)), 1e-12)
