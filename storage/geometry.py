"""How a source of any size meets a model of one size: fit and pad on the way in, crop and scale on the way out.

Pure arithmetic; knows nothing of files or pixels.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels; `x` and `y` are its left and upper edge."""

    width: int
    height: int
    x: int
    y: int


@dataclass(frozen=True)
class Fit:
    """Where the picture lies on the model's canvas; sizes are (width, height), and all of the inner box is even.

    `source` is upright, in stored pixels; the inner box has square ones.
    """

    source: tuple[int, int]
    inner: Box
    model: tuple[int, int]


@runtime_checkable
class Picture(Protocol):
    """What `fit` must know of a video."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def sample_aspect(self) -> Fraction: ...


def fit(info: Picture, height: int, width: int) -> Fit:
    """The largest picture of the source's aspect on a `height` x `width` canvas, centred.

    Portrait sources swap height and width, so that they are worked at upright. Both must be even.
    """
    assert height % 2 == width % 2 == 0, f"model size {width}x{height} must be even"
    aspect = info.width * info.sample_aspect / info.height
    if (aspect < 1) != (width < height) and aspect != 1:
        height, width = width, height
    inner_width = min(width, _even(height * aspect))
    inner_height = min(height, _even(width / aspect))
    inner = Box(inner_width, inner_height, _floor_even(width - inner_width), _floor_even(height - inner_height))
    return Fit((info.width, info.height), inner, (width, height))


def whole(info: Picture) -> Fit:
    """The picture as it is stored, neither scaled nor padded."""
    return scaled(info, info.width, info.height)


def scaled(info: Picture, width: int, height: int) -> Fit:
    """The whole picture at another size, unpadded; its aspect may change."""
    return Fit((info.width, info.height), Box(width, height, 0, 0), (width, height))


def _even(length: Fraction) -> int:
    return max(2, 2 * round(length / 2))


def _floor_even(margin: int) -> int:
    return margin // 4 * 2
