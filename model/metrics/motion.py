"""Motion between two frames, and what of a picture is left unexplained by it. Numpy half: no torch.

Optical flow is OpenCV's DIS (Kroeger et al. 2016), which needs no weights, on pictures made small: neither is what
published figures were made with, so these compare with one another only. Frames of both sides of a cut have no flow;
callers leave such pairs out.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

Frame = UInt8[np.ndarray, "height width 3"]
Small = Float32[np.ndarray, "rows columns 3"]
Flow = Float32[np.ndarray, "rows columns 2"]
Mask = Bool[np.ndarray, "rows columns"]
Difference = Float32[np.ndarray, "rows columns 3"]
Pair = tuple[Small, Small]
"""An earlier and a later picture of one video."""

SHORT_SIDE = 240  # pixels of pictures in which motion is measured
LEAST_SEEN = 0.05  # share of a picture that must be seen in both frames for the pair to count
CELL = 8  # pixels
LEAST_CELL = 0.25  # share of a cell that must be seen in both frames


@dataclass(frozen=True)
class Motion:
    """Where the pixels of an earlier frame are in a later one, and which of them are seen in both."""

    flow: Flow
    seen: Mask

    @property
    def counts(self) -> bool:
        """Whether enough is seen in both frames to compare them at all."""
        return bool(self.seen.mean() >= LEAST_SEEN)

    def undo(self, later: Small) -> Small:
        """The later picture as it was at the earlier time."""
        return _sample(later, self.flow)


def shrink(frame: Frame) -> Small:
    """A frame with a short side of at most 240 pixels, in [0, 1]; smaller ones keep their size."""
    height, width = frame.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    if scale < 1:
        size = (round(width * scale), round(height * scale))
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return frame.astype(np.float32) / 255


def motion_between(earlier: Small, later: Small) -> Motion:
    """Motion from one picture to a later one; a pixel is seen in both where flow there and back meet.

    The bounds are those of Ruder et al. (2016), which Lai et al. (2018) use: a pixel is hidden where the way there and
    back ends further from where it began than a hundredth of its length (squared, plus half a pixel) allows, and not
    counted at the borders of motion.
    """
    first, second = (_grey(picture) for picture in (earlier, later))
    forth, back = _flow(first, second), _flow(second, first)
    error = _squared(forth + _sample(back, forth))
    hidden = error > 0.01 * (_squared(forth) + _squared(_sample(back, forth))) + 0.5
    border = _steepness(forth) > 0.01 * _squared(forth) + 0.002
    return Motion(forth, ~hidden & ~border & _inside(forth))


def squared_residual(earlier: Small, later: Small, motion: Motion) -> float:
    """Mean squared difference, in [0, 1], of what both pictures show; NaN where they show too little of the same."""
    return _mean(np.square(earlier - motion.undo(later)), motion)


def excess(source: Pair, edit: Pair, motion: Motion) -> Difference:
    """How an edit changed from one frame to another beyond what its source did, in levels of 255: pixel by pixel.

    What motion explains is taken out of both, and what it does not explain (light, and flow that erred) is the same in
    both. So an edit that moves with its source has none, whatever it looks like.
    """
    changes = (earlier - motion.undo(later) for earlier, later in (edit, source))
    edited, given = changes
    return 255 * (edited - given)


def flicker_of(difference: Difference, motion: Motion) -> float:
    """Mean absolute excess where both frames show the same; NaN where that is too little of the picture."""
    return _mean(np.abs(difference), motion)


def jump_of(difference: Difference, motion: Motion) -> float:
    """The same of means over cells of 8 x 8 pixels: what stays of a jump, while noise and jagged edges cancel."""
    if not motion.counts:
        return float("nan")
    seen = motion.seen.astype(np.float32)
    share, sums = _cells(seen), _cells(difference * seen[..., None])
    whole = share >= LEAST_CELL
    return float(np.abs(sums[whole] / share[whole][:, None]).mean(dtype=np.float64))


def _cells(picture: np.ndarray) -> np.ndarray:
    """Means over cells of 8 x 8; what is left over at the right and below is dropped."""
    rows, columns = (max(length // CELL, 1) for length in picture.shape[:2])
    whole = picture[: rows * CELL, : columns * CELL]
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)


def _mean(difference: Small, motion: Motion) -> float:
    channels = cv2.mean(difference, motion.seen.astype(np.uint8))[:3]
    return float(np.mean(channels)) if motion.counts else float("nan")


def _flow(earlier: np.ndarray, later: np.ndarray) -> Flow:
    """By an instance of its own: OpenCV's remembers small pictures for good, and threads that share one spoil it."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_FAST)
    return dis.calc(earlier, later, np.zeros((*earlier.shape, 2), np.float32)).astype(np.float32)


def _grey(picture: Small) -> UInt8[np.ndarray, "rows columns"]:
    return cv2.convertScaleAbs(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), alpha=255)


@cache
def _grid(rows: int, columns: int) -> Flow:
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    return np.dstack([x, y])


def _sample(picture: Float32[np.ndarray, "rows columns channel"], flow: Flow) -> np.ndarray:
    """The picture at the places to which a flow leads."""
    places = _grid(*flow.shape[:2]) + flow
    return cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[arg-type]


def _inside(flow: Flow) -> Mask:
    rows, columns = flow.shape[:2]
    places = _grid(rows, columns) + flow
    inside = (places >= 0) & (places <= (columns - 1, rows - 1))
    return inside[..., 0] & inside[..., 1]


def _squared(flow: Flow) -> Float[np.ndarray, "rows columns"]:
    return np.square(flow[..., 0]) + np.square(flow[..., 1])


def _steepness(flow: Flow) -> Float[np.ndarray, "rows columns"]:
    """Squared length of the gradients of both parts of a flow."""
    down, across = np.gradient(flow, axis=(0, 1))
    return _squared(down) + _squared(across)
