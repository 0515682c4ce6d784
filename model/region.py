"""Where an edit may change a picture: masks with soft edges, masks made of the edit itself, and putting both together.

Numpy half: no torch. A region is [0, 1] at each pixel: 0 keeps the source to the bit, 1 is the edit. Knows nothing of
files, nor of how a picture is encoded.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from model.transfer import soft_step

Region = Float32[np.ndarray, "row column"]
Picture = Float32[np.ndarray, "row column 3"]

BLACK, WHITE = 16, 239  # of a mask's 255: a lossy codec leaves neither pure
FEATHER_SHARE = 0.01  # of the height, the default width of soft edges
FAINT = 0.4  # of the threshold: a difference that counts beside one above it
SPECK = 1e-4  # of the picture: a changed spot that is smaller is a codec's loss
BLUR = 0.006  # of the height: differences finer than that are a codec's, too
GROWTH = 0.015  # of the height, by which a changed spot is grown, so that its own edge lies inside
STEADY = 2  # frames


def feather(mask: UInt8[np.ndarray, "row column"], pixels: float | int) -> Region:
    """The region of a mask, white being what may change: it rises inwards from the edge, over so many pixels.

    What is black in the mask stays 0. Grey is taken as it is where it is lower than that rise.
    """
    drawn = np.clip((mask.astype(np.float32) - BLACK) / (WHITE - BLACK), 0, 1)
    if pixels <= 0:
        return drawn
    depth = cv2.distanceTransform((drawn > 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.minimum(drawn, soft_step(depth - 0.5, 0.0, float(pixels)))


def marks_anything(mask: UInt8[np.ndarray, "row column"]) -> bool:
    """Whether any pixel of a mask may change."""
    return bool(mask.max() > BLACK)


@dataclass(frozen=True)
class Change:
    """Finds where an edit changes a picture, at the model's size and in [0, 1].

    A codec changes every pixel a little. So pictures are compared without their finest detail, and a spot counts where
    some of it differs by more than `threshold`, up to where it no longer differs by `FAINT` of that.
    """

    threshold: float

    def regions(self, pairs: Iterable[tuple[Picture, Picture]], starts: Collection[int]) -> Iterator[Region]:
        """The region of each pair of source and edit, in order; `starts` are the first frames of shots.

        So that it does not flicker, a spot lasts from `STEADY` frames before the first that has it to as many after the
        last, inside its shot, and comes and goes smoothly around that. Pairs are read `2 * STEADY` ahead.
        """
        spots = (self._spots(source, edit) for source, edit in pairs)
        return _around(_around(spots, starts, _greatest), starts, _mean)

    def _spots(self, source: Picture, edit: Picture) -> Region:
        """Hysteresis, then growth, then soft edges."""
        difference = np.abs(cv2.GaussianBlur(edit - source, (0, 0), _part(source, BLUR))).max(axis=2)
        faint = (difference > FAINT * self.threshold).astype(np.uint8)
        count, labels = cv2.connectedComponents(faint)
        strong = np.bincount(labels[difference > self.threshold], minlength=count)
        strong[0] = 0
        kept = (strong >= max(1, SPECK * difference.size))[labels].astype(np.uint8)
        reach = 2 * round(_part(difference, GROWTH)) + 1
        shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        closed = cv2.morphologyEx(kept, cv2.MORPH_CLOSE, shape)
        return cv2.blur(cv2.dilate(closed, shape).astype(np.float32), (reach, reach))


def at_chroma(region: Region, shape: tuple[int, ...]) -> Float32[np.ndarray, "_ _"]:
    """The region for a plane of fewer samples: 0 wherever a pixel that is kept would take colour from the sample."""
    if region.shape == shape:
        return region
    steps = [-(-whole // part) for whole, part in zip(region.shape, shape, strict=True)]
    kept = cv2.erode(region, np.ones([2 * step + 1 if step > 1 else 1 for step in steps], np.uint8))
    return np.ascontiguousarray(kept[:: steps[0], :: steps[1]])


def _part(picture: np.ndarray, share: float) -> float:
    return max(0.8, share * picture.shape[0])


def _around(
    regions: Iterable[Region], starts: Collection[int], combine: Callable[[Sequence[Region]], Region]
) -> Iterator[Region]:
    """Each region combined with those of up to `STEADY` frames before and after it in its shot."""
    shot: list[Region] = []
    told = 0  # of those in `shot`
    for number, region in enumerate(regions):
        if number in starts:
            yield from (combine(shot[max(0, at - STEADY) :]) for at in range(told, len(shot)))
            shot, told = [], 0
        shot.append(region)
        if len(shot) > told + STEADY:
            yield combine(shot)
            told += 1
        if told > STEADY:
            shot.pop(0)
            told -= 1
    yield from (combine(shot[max(0, at - STEADY) :]) for at in range(told, len(shot)))


def _greatest(regions: Sequence[Region]) -> Region:
    return np.maximum.reduce(regions)


def _mean(regions: Sequence[Region]) -> Region:
    return np.add.reduce(regions) / np.float32(len(regions))
