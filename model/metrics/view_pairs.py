"""Whether two views of one scene agree where no geometry is known: MEt3R, and what can be had without it.

Takes pairs of frames of the same moment in two turns (paper Table 2: turns 1 and 2, 1 and 3, 2 and 3). Where cameras
only turn, `views.py` is exact and better than both. Numpy half: no torch.
"""

from collections.abc import Callable, Iterable

import cv2
import numpy as np
from jaxtyping import Float

from model.metrics.fidelity import C2, SPREAD, WINDOW
from model.metrics.motion import Frame, Small, motion_between, shrink
from model.metrics.score import Measurement, mean_score

Pairs = Iterable[tuple[Frame, Frame]]
PAIRS = "pairs of frames that show the same"


def met3r(pairs: Pairs, distance: Callable[[Frame, Frame], float]) -> Measurement:
    """MEt3R (Asim et al. 2025): 1 minus the cosine of DINO features of what both views show; 0 to 2, lower is better.

    The second view is laid over the first by MASt3R's points, and the first over the second; the mean of both. Needs
    met3r.onnx, which is yours to make: MASt3R's weights are for non-commercial use.
    """
    return mean_score(np.array([distance(one, other) for one, other in pairs], dtype=np.float64), PAIRS)


def flow_view_distance(pairs: Pairs) -> Measurement:
    """1 minus the structure that two views share after optical flow laid one over the other; 0 to 2, lower is better.

    Not MEt3R, and not on its scale: flow in the place of its geometry, and in that of its features the structure term
    of SSIM (the correlation within a Gaussian window). The mean of both directions, over what flow finds in both
    views; needs no weights. Flow also fits what is not the same thing, so it tells views that differ from those that
    agree, and little about how much they differ. Ours.
    """
    return mean_score(np.array([_flow_distance(one, other) for one, other in pairs], dtype=np.float64), PAIRS)


def _flow_distance(one: Frame, other: Frame) -> float:
    first, second = shrink(one), shrink(other)
    return (_one_way(first, second) + _one_way(second, first)) / 2


def _one_way(first: Small, second: Small) -> float:
    motion = motion_between(first, second)
    if not motion.counts:
        return float("nan")
    return 1 - float(_structure(first, motion.undo(second))[motion.seen].mean(dtype=np.float64))


def _structure(one: Small, other: Small) -> Float[np.ndarray, "rows columns"]:
    """Wang et al. (2004), their s(x, y): 1 where both vary alike, -1 where contrarily."""
    x, y = (255 * cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (one, other))
    mean_x, mean_y = _blur(x), _blur(y)
    shared = _blur(x * y) - mean_x * mean_y
    spreads = (_blur(x * x) - mean_x**2).clip(0) * (_blur(y * y) - mean_y**2).clip(0)
    return (shared + C2 / 2) / (np.sqrt(spreads) + C2 / 2)


def _blur(picture: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(picture, (WINDOW, WINDOW), SPREAD)
