"""VBench's six dimensions that the paper reports (Tables 2 to 4), from their definitions. Numpy half: no torch.

VBench (Huang et al., CVPR 2024; github.com/Vchitect/VBench) scores whole files; here no pair of frames lies over a cut,
so figures of videos of one shot are VBench's and those of others are better founded. All are in [0, 1], higher is
better, means over frames or pairs. What a model sees of a frame is prepared as there (`instruments.py`).
"""

from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Float

from model.metrics.features import FeatureCourse, consistency
from model.metrics.fidelity import frame_change
from model.metrics.motion import Frame
from model.metrics.plan import Plan
from model.metrics.score import Measurement, NotMeasured, Score, mean_score

PAIRS = "pairs of frames within a shot"


def subject_consistency(course: FeatureCourse) -> Measurement:
    """`consistency` of features of DINO ViT-B/16 (the first DINO, its class token); needs dino-vitb16."""
    return consistency(course)


def background_consistency(course: FeatureCourse) -> Measurement:
    """`consistency` of image embeddings of CLIP ViT-B/32; needs clip-vit-base-patch32."""
    return consistency(course)


def aesthetic_quality(votes: Float[np.ndarray, " frame"]) -> Measurement:
    """The mean of LAION's aesthetic score, a linear head on CLIP ViT-L/14's unit embedding, over 10.

    Needs clip-vit-large-patch14 and aesthetic.safetensors. Nothing bounds the head: 0 to 1 is what it gives pictures.
    """
    return _scaled(mean_score(votes, "frames"), 10)


def imaging_quality(votes: Float[np.ndarray, " frame"]) -> Measurement:
    """The mean score of MUSIQ trained on SPAQ, over 100; needs musiq-spaq.onnx.

    The long side of frames is reduced to 512 pixels, VBench's default.
    """
    return _scaled(mean_score(votes, "frames"), 100)


def temporal_flickering(changes: Float[np.ndarray, " frame"]) -> Measurement:
    """(255 - m) / 255, where m is the mean absolute difference of neighbouring frames in levels; no weights.

    VBench means it for scenes that stand still: motion lowers it as flicker does. See `flickering_beyond_source`.
    """
    mean = mean_score(changes, PAIRS)
    return mean if isinstance(mean, NotMeasured) else Score((255.0 - mean.value) / 255.0, mean.cases)


def flickering_beyond_source(edit: Float[np.ndarray, " frame"], source: Float[np.ndarray, " frame"]) -> Measurement:
    """Temporal flickering of the edit less that of its source: 0 is as steady, below flickers more; -1 to 1. Ours."""
    ours, theirs = temporal_flickering(edit), temporal_flickering(source)
    if isinstance(ours, NotMeasured) or isinstance(theirs, NotMeasured):
        return NotMeasured(f"the video has no {PAIRS}")
    return Score(ours.value - theirs.value, ours.cases)


def motion_smoothness(frames: Iterable[Frame], plan: Plan, between: Callable[[Frame, Frame], Frame]) -> Measurement:
    """(255 - m) / 255, where m is the mean absolute difference of every second frame from what was made in its place.

    Frames 1, 3, 5 .. of each shot are made anew from both their neighbours by AMT-S (`between`); needs amt-s.onnx.
    """
    errors = [frame_change(middle, between(left, right)) for left, middle, right in _thirds(frames, plan)]
    return temporal_flickering(np.array(errors, dtype=np.float64))


def _thirds(frames: Iterable[Frame], plan: Plan) -> Iterable[tuple[Frame, Frame, Frame]]:
    """Each odd frame of a shot with its neighbours."""
    shot: list[Frame] = []
    for index, frame in enumerate(frames):
        shot = [frame] if index in plan.firsts else [*shot, frame]
        if len(shot) == 3:
            yield shot[0], shot[1], shot[2]
            shot = shot[2:]


def _scaled(measured: Measurement, by: int) -> Measurement:
    return measured if isinstance(measured, NotMeasured) else Score(measured.value / by, measured.cases)
