"""How near an edit stays to its source, frame by frame: exact, at full size. Numpy half: no torch.

An edit is meant to differ from its source, so these say how much was changed and not how well; they are quality
measures of a codec, of a reconstruction, or of what an edit should have left alone (`regions.py`).
"""

import cv2
import numpy as np
from jaxtyping import Float

from model.metrics.motion import Frame
from model.metrics.regions import decibels
from model.metrics.score import Measurement, NotMeasured, Score, mean_score

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
WINDOW, SPREAD = 11, 1.5  # pixels of the Gaussian window, and its deviation


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
    x, y = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in (one, other))
    mean_x, mean_y = _blur(x), _blur(y)
    spread = _blur(x * x + y * y) - mean_x**2 - mean_y**2
    shared = _blur(x * y) - mean_x * mean_y
    top = (2 * mean_x * mean_y + C1) * (2 * shared + C2)
    bottom = (mean_x**2 + mean_y**2 + C1) * (spread + C2)
    rim = WINDOW // 2
    return float((top / bottom)[rim:-rim, rim:-rim].mean(dtype=np.float64))


def _blur(picture: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(picture, (WINDOW, WINDOW), SPREAD)
