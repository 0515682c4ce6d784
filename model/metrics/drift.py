"""How far an extension has drifted from its clip, window by window (section 6 names imperfect extensions as a cause);
and how far an edit drifts along a video.

Five numbers, each in parts of its bound; the worst of them is the drift of a window. Bounds lie well beyond what single
shots of real footage do in 200 frames: a colour of 4.5, sharpness of 0.11, content of 0.15, no jump and motion of 1.1
were the worst of ten windows (docs/log.md). Numpy half: no torch.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from model.descriptor import ThumbnailDescriptor

Frames = UInt8[np.ndarray, "_ height width 3"]
CellColours = Float32[np.ndarray, "_ 6"]
"""CIELAB of cells of a frame, and how an edit changed it."""
Dependence = Float64[np.ndarray, "3 3"]
"""By how much the change of each colour grows with each colour."""

BOUNDS: Mapping[str, float] = {"colour": 10.0, "sharpness": 0.7, "content": 0.4, "jump": 1.1, "motion": 1.6}
"""In CIELAB units; as the logarithm of a factor (2 is 0.7, 3 is 1.1, 5 is 1.6); and as 1 minus a cosine."""
EDIT_BOUND = 10.0
"""Of the drift of an edit, in CIELAB units: what is beyond wants to be looked at."""
CELLS = (16, 9)  # columns and rows into which a frame is divided
STIFFNESS = 4.0  # squared CIELAB units: colours that vary by less tell nothing of how an edit depends on them
TRIMS, KEPT = 3, 0.7  # rounds of a fit, and the share of cells that the next one is made with
FLOOR = 0.5  # levels of grey: motion and sharpness below are noise


def measure_drift(clip: Frames, before: Frames, new: Frames) -> dict[str, float]:
    """Drift from the clip of `new` frames, which follow those `before`; each number at least 0, in parts of its bound.

    `colour`: how far mean and spread in CIELAB have moved. `sharpness`: by which factor the variance of the Laplacian
    changed. `content`: how little thumbnails agree. `jump`: change over the junction, in parts of the largest change
    between frames nearby. `motion`: by which factor the mean change between frames has changed.
    """
    describe = ThumbnailDescriptor().describe
    steps, new_steps = _steps(before[-len(new) :]), _steps(new)
    junction = _steps(np.concatenate([before[-1:], new[:1]]))[0]
    usual = max(float(np.max(np.concatenate([steps, new_steps]), initial=0)), FLOOR)
    numbers = {
        "colour": float(np.abs(_colour(new) - _colour(clip)).max()),
        "sharpness": abs(np.log((_sharpness(new) + FLOOR) / (_sharpness(clip) + FLOOR))),
        "content": 1 - _cosine(describe(clip), describe(new)),
        "jump": np.log(max(junction / usual, 1)),
        "motion": abs(np.log((_mean(new_steps) + FLOOR) / (_mean(_steps(clip)) + FLOOR))),
    }
    return {name: float(value) / BOUNDS[name] for name, value in numbers.items()}


def colour_change(
    before: UInt8[np.ndarray, "height width 3"], after: UInt8[np.ndarray, "rows columns 3"]
) -> Float[np.ndarray, "3"]:
    """What an edit made of a frame's mean colour, in CIELAB; the two may differ in size."""
    return _mean_lab(after) - _mean_lab(before)


def segment_drift(changes: Float[np.ndarray, "segment 3"]) -> Float64[np.ndarray, " segment"]:
    """How far each segment's change of colours is from the median one, in CIELAB units: 0 is an edit alike everywhere.

    The largest is the drift of the edit.
    """
    return np.linalg.norm(changes - np.median(changes, axis=0), axis=1).astype(np.float64)


def cell_colours(
    before: UInt8[np.ndarray, "height width 3"], after: UInt8[np.ndarray, "height width 3"]
) -> CellColours:
    """Colours of 144 cells of a frame, and how an edit changed them."""
    source, edit = (_cell_lab(frame) for frame in (before, after))
    return np.concatenate([source, edit - source], axis=1)


def segment_colours(
    samples: Sequence[CellColours], dependences: Sequence[Dependence]
) -> Float64[np.ndarray, "segment 3"]:
    """What the edit made of the colours of each segment, in CIELAB, apart from what follows from its content.

    Contrast, for one, lightens what is light: an edit that adds some changes a bright segment and a dark one
    differently, and yet is the same edit. So how the change depends on the colour is fitted within segments
    (`colour_dependence`), the median of all is taken out, and of what is left the median over cells: things that were
    repainted do not count while they cover less than half of the picture.
    """
    dependence = np.median(np.stack(dependences), axis=0)
    return np.stack([np.median(sample[:, 3:] - sample[:, :3] @ dependence, axis=0) for sample in samples])


def colour_dependence(sample: CellColours) -> Dependence:
    """By how much the change of colours grows with colour, of the 70 % of cells that agree best on it."""
    colours, changes = np.split(sample.astype(np.float64), 2, axis=1)
    kept, centre = np.arange(len(sample)), np.median(changes, axis=0)
    slope = np.zeros((3, 3))
    for _ in range(TRIMS):
        middle = colours[kept].mean(axis=0)
        slope = _regress(colours[kept] - middle, changes[kept] - centre)
        error = np.linalg.norm(changes - centre - (colours - middle) @ slope, axis=1)
        kept = np.argsort(error, kind="stable")[: max(round(KEPT * len(sample)), 1)]
        centre = changes[kept].mean(axis=0)
    return slope


def _regress(colours: Float64[np.ndarray, "cell 3"], changes: Float64[np.ndarray, "cell 3"]) -> np.ndarray:
    """Least squares that lean to no dependence at all."""
    return np.linalg.solve(colours.T @ colours + STIFFNESS * len(colours) * np.eye(3), colours.T @ changes)


def _cell_lab(frame: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "cell 3"]:
    cells = cv2.resize(frame, CELLS, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(cells.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)


def _mean_lab(frame: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "3"]:
    return cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).mean(axis=(0, 1))


def _colour(frames: Frames) -> Float[np.ndarray, "6"]:
    """Mean and spread of each CIELAB channel."""
    lab = np.stack([cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for frame in frames])
    return np.concatenate([lab.mean(axis=(0, 1, 2)), lab.std(axis=(0, 1, 2))])


def _sharpness(frames: Frames) -> float:
    """Variance of the Laplacian, the mean over frames."""
    grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)
    return float(np.mean([cv2.Laplacian(frame, cv2.CV_32F).var() for frame in grey]))


def _steps(frames: Frames) -> Float[np.ndarray, " step"]:
    """Mean absolute change from each frame to the next, in levels."""
    return np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))


def _mean(steps: np.ndarray) -> float:
    return float(steps.mean()) if len(steps) else 0.0


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths > 0 else 1.0
