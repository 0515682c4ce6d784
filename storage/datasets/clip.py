"""What every source of training and evaluation clips yields."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

Frames = UInt8[np.ndarray, "frame height width 3"]
Mask = Bool[np.ndarray, "frame height width"]


@dataclass(frozen=True)
class EditedClip:
    """A clip before and after an edit, in whole segments.

    `versions` are results of the same edit: where the text leaves it open, each is as right as the others; where it is
    `fixed` only the first is right, and the others are what a memory that disagrees would hold. `regions` marks pixels
    that weigh more in training, such as the things of a rendered world; nothing in real footage.

    A clip of novel views has `cameras`: a segment is then what another camera sees while the source goes on as it is,
    and these are its poses, `[R|t]` by latent frame, relative to the source's first camera.
    """

    id: str
    instruction: str
    fixed: bool
    source: Frames
    versions: tuple[Frames, ...]
    regions: Mask
    cameras: Float32[np.ndarray, "segment latent 12"] | None = None
