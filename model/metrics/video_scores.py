"""All that can be told of one edited video: a number for each metric, and series by segment. Numpy half: no torch.

Videos come as functions that give their frames anew each time: they are read once for all that needs no weights, and
once for each instrument that is there. Nothing is kept of them but numbers. Scores of two files, of camera paths and of
pairs of views have their own functions (`catalogue.py` says which).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import UInt8

from model.metrics.catalogue import CATALOGUE, Features, Frame, InstrumentSet, missing
from model.metrics.course import Course, follow
from model.metrics.drift import segment_colours, segment_drift
from model.metrics.features import FeatureCourse, cross_frame_similarity, follow_features, segment_consistency
from model.metrics.fidelity import psnr, ssim
from model.metrics.plan import Plan, plan_measurement
from model.metrics.score import Measurement, NotMeasured, Score, mean_score
from model.metrics.steadiness import (
    BySegment,
    flicker,
    flicker_bursts,
    seams,
    warping_error,
    worst_burst,
    worst_seam,
)
from model.metrics.vbench import (
    aesthetic_quality,
    background_consistency,
    flickering_beyond_source,
    imaging_quality,
    motion_smoothness,
    subject_consistency,
    temporal_flickering,
)
from model.types import Segment, Shot

BATCH = 16  # frames that an instrument sees at once

Video = Callable[[], Iterable[Frame]]
"""Gives all frames of a video in order, uint8 RGB, as often as it is called."""


@dataclass(frozen=True, eq=False)
class SegmentSeries:
    """One number a segment. `colour`: how far its colours are from the other segments', in CIELAB units. `seam`:
    the jump at its beginning, in parts of jumps inside; NaN for the first of a shot. `flicker`: its worst burst, in
    levels."""

    colour: BySegment
    seam: BySegment
    flicker: BySegment


@dataclass(frozen=True, eq=False)
class VideoScores:
    """Every metric of an edit by its name in the catalogue, and the series of its segments."""

    scores: Mapping[str, Measurement]
    segments: SegmentSeries


def score_video(
    source: Video,
    edit: Video,
    shots: Sequence[Shot],
    segments: Sequence[Segment],
    overlap: int,
    instruments: InstrumentSet | None = None,
) -> VideoScores:
    """Measure an edit of a video that was stitched from segments with cross-fades of at most `overlap` frames.

    Without weights a frame of 480 lines takes 27 ms of one core (docs/metrics.md).

    Raises:
        RequestError: source and edit differ in size or length, or the shots are of another video.
        WeightsError: an instrument that is there does not load.
    """
    plan = plan_measurement(shots, segments, overlap)
    course = follow(source(), edit(), plan)
    by_segment = score_segments(course)
    scores = {**_without_weights(course, by_segment), **_with_instruments(source, edit, plan, instruments)}
    return VideoScores({name: scores[name] for name in CATALOGUE if name in scores}, by_segment)


def score_segments(course: Course) -> SegmentSeries:
    """The series by segment alone."""
    return SegmentSeries(
        colour=segment_drift(segment_colours(course.colours, course.dependences)),
        seam=seams(course.jumps, len(course.plan.segments)),
        flicker=flicker_bursts(course.flicker, course.plan.led),
    )


def st_lpips(pairs: Iterable[tuple[Frame, Frame]], distance: Callable[[Frame, Frame], float]) -> Measurement:
    """The mean ST-LPIPS (Ghildyal and Liu 2022) of frames and their source; 0 and up, lower is nearer.

    Needs st-lpips.onnx. It is no LPIPS: it was trained to forgive shifts.
    """
    return mean_score(np.array([distance(one, other) for one, other in pairs], dtype=np.float64), "frames")


def colour_drift(by_segment: BySegment) -> Measurement:
    """How far the segment that is farthest is from the others, in CIELAB units; of one alone nothing can be said."""
    if len(by_segment) < 2:
        return NotMeasured("the video has one segment")
    return Score(float(by_segment.max()), len(by_segment))


def _without_weights(course: Course, by_segment: SegmentSeries) -> dict[str, Measurement]:
    return {
        "temporal_flickering": temporal_flickering(course.edit_change),
        "flickering_beyond_source": flickering_beyond_source(course.edit_change, course.source_change),
        "warping_error": warping_error(course.warping),
        "flicker": flicker(course.flicker),
        "worst_burst": worst_burst(by_segment.flicker),
        "worst_seam": worst_seam(by_segment.seam),
        "colour_drift": colour_drift(by_segment.colour),
        "psnr": psnr(course.squared_error),
        "ssim": ssim(course.similarity),
    }


@dataclass(frozen=True)
class _Look:
    """What is looked at through instruments, and they."""

    source: Video
    edit: Video
    plan: Plan
    tools: InstrumentSet

    def course(self, name: Features) -> FeatureCourse:
        """One pass over the edit through a vision model."""
        parts = (self.tools.features(part, name) for part in _batches(self.edit))
        return follow_features((vector for part in parts for vector in part), self.plan)


def _by_dino(look: _Look) -> dict[str, Measurement]:
    course = look.course("dino-vitb16")
    return {"subject_consistency": subject_consistency(course), "segment_consistency": segment_consistency(course)}


def _by_clip(look: _Look) -> dict[str, Measurement]:
    course = look.course("clip-vit-base-patch32")
    return {"background_consistency": background_consistency(course), "clip_f": cross_frame_similarity(course)}


def _by_dinov2(look: _Look) -> dict[str, Measurement]:
    return {"dino_f": cross_frame_similarity(look.course("dinov2-base"))}


def _by_taste(look: _Look) -> dict[str, Measurement]:
    votes = [look.tools.aesthetic(part) for part in _batches(look.edit)]
    return {"aesthetic_quality": aesthetic_quality(np.concatenate(votes))}


def _by_musiq(look: _Look) -> dict[str, Measurement]:
    return {"imaging_quality": imaging_quality(np.array([look.tools.imaging(frame) for frame in look.edit()]))}


def _by_amt(look: _Look) -> dict[str, Measurement]:
    return {"motion_smoothness": motion_smoothness(look.edit(), look.plan, look.tools.between)}


def _by_lpips(look: _Look) -> dict[str, Measurement]:
    return {"st_lpips": st_lpips(zip(look.source(), look.edit(), strict=True), look.tools.perceptual_distance)}


PASSES: Mapping[tuple[str, ...], Callable[[_Look], dict[str, Measurement]]] = {
    ("subject_consistency", "segment_consistency"): _by_dino,
    ("background_consistency", "clip_f"): _by_clip,
    ("dino_f",): _by_dinov2,
    ("aesthetic_quality",): _by_taste,
    ("imaging_quality",): _by_musiq,
    ("motion_smoothness",): _by_amt,
    ("st_lpips",): _by_lpips,
}
"""One pass over the edit for each model; the metrics of one pass need the same."""


def _with_instruments(
    source: Video, edit: Video, plan: Plan, instruments: InstrumentSet | None
) -> dict[str, Measurement]:
    found: dict[str, Measurement] = {}
    for names, measure in PASSES.items():
        reason = missing(names[0], None) if instruments is None else instruments.missing(names[0])
        if instruments is None or reason is not None:
            found |= {name: NotMeasured(str(reason)) for name in names}
        else:
            found |= measure(_Look(source, edit, plan, instruments))
    return found


def _batches(video: Video) -> Iterator[UInt8[np.ndarray, "frame height width 3"]]:
    """Frames in parts of 16, `[frame, height, width, 3]`."""
    frames = iter(video())
    while part := list(islice(frames, BATCH)):
        yield np.stack(part)
