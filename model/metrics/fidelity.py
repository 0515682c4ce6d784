"""How near an edit stays to its source, frame by frame: exact, at full size. Numpy half: no torch.

An edit is meant to differ from its source, so these say how much was changed and not how well; they are quality
measures of a codec, of a reconstruction, or of what an edit should have left alone (`regions.py`).
"""

import cv2
import numpy as np
from jaxtyping import Float, Float32

from model.metrics.motion import Frame
from model.metrics.regions import decibels
from model.metrics.score import Measurement, NotMeasured, Score, mean_score

Picture = Float32[np.ndarray, "rows columns"]

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
WINDOW, SPREAD = 11, 1.5  # pixels of the Gaussian window, and its deviation
STRIP = 32  # rows looked at together: what fits into a core's cache takes less than half of the time


def psnr(squared_error: Float[np.ndarray, " frame"]) -> Measurement:
    """Peak signal to noise ratio in decibels, of the mean squared error of all frames; higher is nearer.

    From 0 to 100, which stands for equality too. Of RGB with peak 255, as ffmpeg's `average`; no weights.
    """
    mean = mean_score(squared_error, "frames")
    return mean if isinstance(mean, NotMeasured) else Score(decibels(mean.value / 255**2), mean.cases)


def ssim(similarity: Float[np.ndarray, " frame"]) -> Measurement:
    """Structural similarity (Wang et al. 2004) of luma, the mean over frames; in [-1, 1], higher is nearer.

    Gaussian window of 11 pixels with deviation 1.5, K1 = 0.01, K2 = 0.03, at full size; no weights.
    """
    return mean_score(similarity, "frames")


def mean_squared_error(one: Frame, other: Frame) -> float:
    """Mean squared difference of two frames, in squared levels of 255."""
    return cv2.norm(one, other, cv2.NORM_L2SQR) / one.size


def frame_change(one: Frame, other: Frame) -> float:
    """Mean absolute difference of two frames, in levels of 255."""
    return cv2.norm(one, other, cv2.NORM_L1) / one.size


def structural_similarity(one: Frame, other: Frame) -> float:
    """SSIM of two frames; the rim of half a window is left out, and 1 is equality.

    NaN for frames smaller than the window.
    """
    if min(one.shape[:2]) < WINDOW:
        return float("nan")
    rim = WINDOW // 2
    x, y = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in (one, other))
    starts = range(0, len(x) - 2 * rim, STRIP)
    strips = [slice(start, start + STRIP + 2 * rim) for start in starts]
    sums = [_similarities(x[rows], y[rows])[rim:-rim, rim:-rim].sum(dtype=np.float64) for rows in strips]
    return float(sum(sums)) / ((x.shape[0] - 2 * rim) * (x.shape[1] - 2 * rim))


def _similarities(x: Picture, y: Picture) -> Picture:
    """SSIM at every pixel, wrong at the rim."""
    mean_x, mean_y, squares, product = _blur(x), _blur(y), _blur(x * x + y * y), _blur(x * y)
    both, means = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    return (2 * both + C1) * (2 * (product - both) + C2) / ((means + C1) * (squares - means + C2))


def _blur(picture: Picture) -> Picture:
    return cv2.GaussianBlur(picture, (WINDOW, WINDOW), SPREAD)
