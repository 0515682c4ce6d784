"""Colours and errors of parts of a picture: what the measures of agreement are made of. Numpy half: no torch.

Frames are RGB in [0, 1], and a mask says which pixels of every frame are meant. Knows no worlds and no models.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float

Frames = Float[np.ndarray, "frame height width 3"]
Mask = Bool[np.ndarray, "frame height width"]
Colour = tuple[float, float, float]

LEAST_INSIDE = 0.25  # share of a region that must be left without its rim, else the rim counts too
PATCH = 8  # pixels: a token of the target in rows and columns


def mean_colour(frames: Frames, mask: Mask) -> Colour:
    """Mean colour of the pixels of a mask, which must not be empty."""
    assert mask.any(), "an empty region has no colour"
    red, green, blue = (float(part) for part in frames[mask].mean(axis=0))
    return red, green, blue


def colour_distance(one: Colour, other: Colour) -> float:
    """Euclidean distance of two colours; from black to white it is the root of 3."""
    return float(np.linalg.norm(np.subtract(one, other)))


def saturation(colour: Colour) -> float:
    """How far from grey, in [0, 1]: the difference of the largest and the smallest channel, over the largest."""
    return (max(colour) - min(colour)) / max(max(colour), 1e-6)


def without_rim(mask: Mask) -> Mask:
    """The mask without its outermost pixels, whose colours are mixed; all of it where too little would be left."""
    inside = ~grown(~mask, 1)
    return inside if inside.sum() >= LEAST_INSIDE * mask.sum() else mask


def grown(mask: Mask, pixels: int) -> Mask:
    """The mask with all pixels that are at most so many rows and columns away from it."""
    box = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return np.stack([cv2.dilate(frame, box) for frame in mask.astype(np.uint8)]).astype(bool)


def squared_error(one: Frames, other: Frames, mask: Mask) -> float:
    """Mean squared difference of all channels within a mask."""
    assert mask.any(), "an empty region has no error"
    return float(np.square(one[mask] - other[mask]).mean())


def farthest_patch(one: Frames, other: Frames) -> float:
    """The largest colour distance of the mean colours of a patch of `PATCH` x `PATCH` pixels of any frame."""
    frames, height, width, _ = one.shape
    moved = (one - other)[:, : height - height % PATCH, : width - width % PATCH]
    patches = moved.reshape(frames, height // PATCH, PATCH, width // PATCH, PATCH, 3).mean(axis=(2, 4))
    return float(np.linalg.norm(patches, axis=-1).max())


def decibels(error: float) -> float:
    """Peak signal to noise of a mean squared error of pictures in [0, 1]."""
    return float(-10 * np.log10(max(error, 1e-10)))
