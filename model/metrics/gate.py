"""Which segments of an edit a person should look at, and which of two attempts at one is better. Numpy half: no torch.

The scores are those of `video_scores.py`, all the better the lower; each has a bound. Colours alone are held against
those of the same shot instead of the whole video: one edit makes very different changes to different scenes. What is
not measured, such as the seam of a segment that begins a shot, passes. A segment shows in two seams, that at its
beginning and that with which the next one begins: for its own excess both count. Does not know how segments are edited.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from model.config import GateBounds
from model.metrics.course import Course
from model.metrics.drift import segment_colours, segment_drift
from model.metrics.plan import Gap, Plan, plan_measurement
from model.metrics.steadiness import flicker_bursts, seams
from model.metrics.video_scores import SegmentSeries
from model.stitching import share_frames
from model.types import Segment, Shot, Span

REACH = 2  # segments on each side of one that decide how its joins are measured
LEAST_SEGMENTS = 3  # of a shot for its colours to be judged: of two nobody can say which is wrong


@dataclass(frozen=True)
class Flag:
    """A score of a segment beyond its bound: `colour`, `seam` or `flicker`."""

    name: str
    value: float
    bound: float

    @property
    def sentence(self) -> str:
        """What a person should look at."""
        return MEANING[self.name].format(value=self.value, bound=self.bound)


MEANING: Mapping[str, str] = {
    "colour": "Its colours are {value:.1f} away from those of its shot, more than {bound:g}.",
    "seam": "Where it begins, the picture jumps {value:.1f} times as far as elsewhere, more than {bound:g} times.",
    "flicker": "It flickers by {value:.1f} levels beyond its source, more than {bound:g}.",
}


def score(course: Course) -> SegmentSeries:
    """The scores that the gate goes by; `colour` is NaN in shots of fewer than three segments."""
    shots = np.array([segment.shot for segment in course.plan.segments])
    colours, drift = segment_colours(course.colours, course.dependences), np.full(len(shots), np.nan)
    for shot in np.unique(shots):
        if (shots == shot).sum() >= LEAST_SEGMENTS:
            drift[shots == shot] = segment_drift(colours[shots == shot])
    return SegmentSeries(drift, seams(course.jumps, len(shots)), flicker_bursts(course.flicker, course.plan.led))


def flags(scores: SegmentSeries, bounds: GateBounds) -> tuple[tuple[Flag, ...], ...]:
    """The flags of each segment, in the order of the scores' names."""
    named = [(name, getattr(bounds, name), by_segment) for name, by_segment in _series(scores).items()]
    return tuple(
        tuple(Flag(name, float(series[index]), bound) for name, bound, series in named if series[index] > bound)
        for index in range(len(scores.colour))
    )


def measured(scores: SegmentSeries, index: int) -> dict[str, float]:
    """The scores of one segment by name, without those that could not be measured."""
    return {name: float(each[index]) for name, each in _series(scores).items() if np.isfinite(each[index])}


def excess(scores: SegmentSeries, bounds: GateBounds) -> Float64[np.ndarray, " segment"]:
    """By how much each segment is beyond its bounds, in parts of them, all summed up; 0 passes.

    With the seam at its end, which the next segment's flag tells of: of two neighbours the one that jumps at both ends
    is at fault.
    """
    beyond = {
        name: np.nan_to_num(np.maximum(each / getattr(bounds, name) - 1, 0)) for name, each in _series(scores).items()
    }
    return beyond["colour"] + beyond["flicker"] + beyond["seam"] + np.append(beyond["seam"][1:], 0.0)


def _series(scores: SegmentSeries) -> dict[str, Float64[np.ndarray, " segment"]]:
    return {"colour": scores.colour, "seam": scores.seam, "flicker": scores.flicker}


@dataclass(frozen=True)
class Surroundings:
    """What of a video must be looked at anew where segment `index` has changed: its neighbours in the shot.

    `plan` is that of `span` alone, whose frames and segments it counts from 0; `first` is its first segment.
    `changed` are the pairs of frames of it in which the segment shows, each told by its later frame.
    """

    index: int
    first: int
    span: Span
    plan: Plan
    changed: Span


def surroundings(plan: Plan, index: int) -> Surroundings:
    """Those of a segment of a whole video."""
    shot = plan.segments[index].shot
    near = [one for one in plan.segments if one.shot == shot and abs(one.index - index) <= REACH]
    span = Span(near[0].span.start, near[-1].span.stop)
    moved = [_moved(one, near[0].index, span.start) for one in near]
    local = plan_measurement([Shot(0, Span(0, len(span)))], moved, plan.overlap)
    share = share_frames(moved, plan.overlap)[index - near[0].index]
    changed = Span(share.start, min(share.stop + 1, len(span)))
    return Surroundings(index, near[0].index, span, local, changed)


def _moved(segment: Segment, first: int, start: int) -> Segment:
    span = Span(segment.span.start - start, segment.span.stop - start)
    return Segment(segment.index - first, 0, span, segment.frames)


def renew(course: Course, found: Course, around: Surroundings) -> Course:
    """The course of a whole video with that of a segment's surroundings, in which only this segment has changed.

    Of its series only `flicker` is renewed: what segments are scored by.
    """
    offset, local, changed = around.span.start, around.index - around.first, around.changed
    flicker = course.flicker.copy()
    flicker[offset + changed.start : offset + changed.stop] = found.flicker[changed.start : changed.stop]
    jumps = {
        Gap(gap.segment + around.first, gap.before + offset, gap.after + offset, gap.crosses): jump
        for gap, jump in found.jumps.items()
        if gap.segment in (local, local + 1)
    }
    colours, dependences = list(course.colours), list(course.dependences)
    colours[around.index], dependences[around.index] = found.colours[local], found.dependences[local]
    return replace(
        course,
        flicker=flicker,
        jumps={**course.jumps, **jumps},
        colours=tuple(colours),
        dependences=tuple(dependences),
    )
