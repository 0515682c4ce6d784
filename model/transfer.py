"""Carry an edit from the model's size to the source's: enlarge it, or repeat at full size what it did to the colours.

`fit_change` explains an edit by local affine changes of the source's colours, found at the model's size;
`ColourChange.apply` makes the same changes to the source at full size, so that a look comes out as sharp as the source.
After the fast guided filter (He & Sun 2015: coefficients at low resolution, guide at high) in its form for colour (He,
Sun & Tang 2013, section 3.5). Where a window is too flat to tell, the change of the whole picture is believed instead
of none. What no change of colours explains is new, and is enlarged instead.

Numpy half: no torch. Pictures have any three channels, in this project luma and two chromas: an affine change of one
kind is one of the other. Values are [0, 1]. Knows nothing of files, nor of what a channel means.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

Picture = Float32[np.ndarray, "row column 3"]
Plane = Float32[np.ndarray, "_ _"]
Planes = tuple[Plane, ...]  # three: luma first, then chroma in as many samples or fewer
Weights = Float32[np.ndarray, "row column 4"]

REACH = 3  # pixels to each side, at the model's size, that a change is fitted to
NOISE = 1e-3  # variance of colours below which the change of the whole picture is believed
SAMPLES = 20_000  # pixels that the change of the whole picture is fitted to
LOSS, NEW = 0.03, 0.08  # rms left unexplained: up to the first it is a codec's loss, from the second it is new
CENTRED, COSITED = 0.5, 0.25  # where across its cell a sample lies; chroma of half the columns lies on every second


@dataclass(frozen=True)
class ColourChange:
    """What an edit did to the colours, at the model's size.

    `weights` are, for each channel of the result, those of the source's three channels, and an offset. `unexplained`
    is 0 where they make the edit, up to a codec's losses, and 1 where the edit is something new.
    """

    weights: tuple[Weights, ...]
    unexplained: Float32[np.ndarray, "row column"]

    def apply(self, guide: Planes, edit: Picture) -> Planes:
        """The edit, as `fit_change` was given it, at the size of each plane of the source."""
        shapes = [plane.shape for plane in guide]
        luma, sites = guide[0], [_site(shape, shapes[0]) for shape in shapes]
        fine = (luma, *(resize(plane, luma.shape, sites[1], CENTRED) for plane in guide[1:]))
        coarse = (_at_chroma(luma, guide[1]), *guide[1:])
        plain = enlarge(edit, shapes)
        return tuple(self._channel(index, coarse if index else fine, plain[index], sites[index]) for index in range(3))

    def _channel(self, index: int, guide: tuple[Plane, ...], plain: Plane, site: float) -> Plane:
        changed = _weigh(resize(self.weights[index], plain.shape, CENTRED, site), guide)
        return changed + resize(self.unexplained, plain.shape, CENTRED, site) * (plain - changed)


def fit_change(source: Picture, edit: Picture) -> ColourChange:
    """The local changes of colour that make `edit` out of `source`, both as the model saw and made them."""
    whole = _change_of_all(source, edit)
    planes, rests = cv2.split(source), cv2.split(edit - source @ whole.T)
    means = [_average(plane) for plane in planes]
    inverse = _inverse_covariance(planes, means)
    weights = tuple(_weights(planes, means, inverse, rest, whole[row]) for row, rest in enumerate(rests))
    made = np.stack([_weigh(each, planes) for each in weights], axis=2)
    left = np.sqrt(_average(((edit - made) ** 2).mean(axis=2)))
    return ColourChange(weights, soft_step(left, LOSS, NEW))


def enlarge(edit: Picture, shapes: Sequence[tuple[int, int]]) -> Planes:
    """The channels of `edit`, each at the height and width of a plane of the source, luma first."""
    return tuple(
        resize(channel, shape, CENTRED, _site(shape, shapes[0]), cv2.INTER_CUBIC)
        for channel, shape in zip(cv2.split(edit), shapes, strict=True)
    )


def resize(
    picture: Float32[np.ndarray, "..."],
    shape: tuple[int, ...],
    site: float = CENTRED,
    wanted: float = CENTRED,
    interpolation: int = cv2.INTER_LINEAR,
) -> Float32[np.ndarray, "..."]:
    """A picture at another height and width, `site` and `wanted` being where the samples of each lie in their cells.

    What is made smaller is averaged.
    """
    (rows, columns), (height, width) = picture.shape[:2], shape[:2]
    if (rows, columns, site) == (height, width, wanted):
        return picture
    if site == wanted == CENTRED or width < columns or height < rows:
        smaller = width * height < rows * columns
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else interpolation)
    across, down = columns / width, rows / height
    where = np.array([[across, 0, wanted * across - site], [0, down, CENTRED * down - CENTRED]])
    flags = interpolation | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, where, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def soft_step(values: Plane, low: float, high: float) -> Plane:
    """0 up to `low`, 1 from `high`, and smooth between."""
    part = np.clip((values - low) / (high - low), 0, 1)
    return part * part * (3 - 2 * part)


def _change_of_all(source: Picture, edit: Picture) -> Float32[np.ndarray, "3 3"]:
    """The change that explains the whole picture best; its offset is left to the local ones."""
    step = 1 + source.shape[0] * source.shape[1] // SAMPLES
    before, after = source.reshape(-1, 3)[::step], edit.reshape(-1, 3)[::step]
    before, after = before - before.mean(axis=0), after - after.mean(axis=0)
    square = before.T @ before / len(before) + NOISE * 1e-2 * np.eye(3, dtype=np.float32)
    return np.linalg.solve(square, before.T @ after / len(before)).T.astype(np.float32)


def _inverse_covariance(planes: Sequence[Plane], means: Sequence[Plane]) -> list[list[Plane]]:
    """Of the source's colours around each pixel, by cofactors; `NOISE` keeps it from being singular."""
    a, b, c, d, e, f = (
        _average(planes[i] * planes[j]) - means[i] * means[j] + np.float32(NOISE * (i == j))
        for i in range(3)
        for j in range(i, 3)
    )
    a_, b_, c_ = d * f - e * e, c * e - b * f, b * e - c * d
    d_, e_, f_ = a * f - c * c, b * c - a * e, a * d - b * b
    scale = 1 / (a * a_ + b * b_ + c * c_)
    a_, b_, c_, d_, e_, f_ = (each * scale for each in (a_, b_, c_, d_, e_, f_))
    return [[a_, b_, c_], [b_, d_, e_], [c_, e_, f_]]


def _weights(
    planes: Sequence[Plane], means: Sequence[Plane], inverse: list[list[Plane]], rest: Plane, whole: np.ndarray
) -> Weights:
    """The change of one channel: that of the whole picture, and what explains the `rest` around each pixel."""
    rest_mean = _average(rest)
    together = [_average(plane * rest) - mean * rest_mean for plane, mean in zip(planes, means, strict=True)]
    local = [_dot(row, together) for row in inverse]
    offset = rest_mean - _dot(local, means)
    return cv2.merge([_average(each) for each in (*(local[i] + whole[i] for i in range(3)), offset)])


def _weigh(weights: Weights, planes: Sequence[Plane]) -> Plane:
    *factors, total = cv2.split(weights)
    for factor, plane in zip(factors, planes, strict=True):
        cv2.accumulateProduct(factor, plane, total)
    return total


def _dot(left: Sequence[Plane], right: Sequence[Plane]) -> Plane:
    return left[0] * right[0] + left[1] * right[1] + left[2] * right[2]


def _average(plane: Plane) -> Plane:
    return cv2.blur(plane, (2 * REACH + 1, 2 * REACH + 1), borderType=cv2.BORDER_REFLECT)


def _site(shape: tuple[int, ...], luma: tuple[int, ...]) -> float:
    """Where across its cell a sample of a plane lies, as MPEG-2 has it and nearly all video since."""
    return COSITED if shape[1] < luma[1] else CENTRED


def _at_chroma(luma: Plane, chroma: Plane) -> Plane:
    """Luma where the samples of chroma lie: averaged, with what is half a column to the right not in it."""
    if chroma.shape == luma.shape:
        return luma
    if chroma.shape[1] < luma.shape[1]:
        luma = cv2.sepFilter2D(luma, -1, np.array([0.25, 0.5, 0.25]), np.array([1.0]))[:, ::2]
    return cv2.resize(luma, chroma.shape[::-1], interpolation=cv2.INTER_AREA)
