"""What a segment looks like, as one vector (paper supplement D.2): the numpy half, and the fallback without weights.

Descriptors are made from the *source*, since that is known before anything is edited. Numpy half: no torch.
"""

from typing import Protocol

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

Frames = UInt8[np.ndarray, "frame height width 3"] | UInt16[np.ndarray, "frame height width 3"]

GRID = 8


class Descriptor(Protocol):
    """Anything that describes a segment. `name` is kept in every row: vectors of two names are never compared."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    def describe(self, frames: Frames) -> Float32[np.ndarray, " size"]:
        """The descriptor of a segment's frames."""
        ...


class ThumbnailDescriptor:
    """The mean 8x8 RGB thumbnail of a segment, its own mean removed: no weights, and no understanding.

    It compares layout and colour. In a trial on real footage it told pairs of the same shot from pairs of different
    shots with an AUC of 0.96; a mirrored or re-framed picture of the same thing is a stranger to it. Use DINOv2 where
    its weights are to be had.
    """

    name = "thumbnail-8x8"
    size = GRID * GRID * 3

    def describe(self, frames: Frames) -> Float32[np.ndarray, " size"]:
        """192 numbers; all zero for a blank picture."""
        scale = np.float32(np.iinfo(frames.dtype).max)
        small = np.mean([_shrink(frame) for frame in frames], axis=0, dtype=np.float32) / scale
        mean = small.mean(dtype=np.float64)  # exact where all are equal: a blank picture must not be rounding noise
        return (small - mean).reshape(-1).astype(np.float32)


def _shrink(frame: np.ndarray) -> np.ndarray:
    """Mean colour of each cell of an 8x8 grid, `[8, 8, 3]`, float32."""
    rows, columns = (np.linspace(0, length, GRID + 1).astype(int)[:-1] for length in frame.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(frame, rows, axis=0, dtype=np.float64), columns, axis=1)
    heights, widths = (
        np.diff([*starts, length]) for starts, length in zip((rows, columns), frame.shape[:2], strict=True)
    )
    return (sums / (heights[:, None, None] * widths[None, :, None])).astype(np.float32)
