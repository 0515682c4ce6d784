"""How a mask is written: `X,Y,W,H`, in pixels or percent of the upright picture, or the path of a file.

Pure text; looks at no file.
"""

import re
from pathlib import Path

from model.errors import RequestError

_NUMBER = r"\s*(\d{1,5}(?:\.\d{1,6})?)\s*(%?)\s*"
_RECTANGLE = re.compile(",".join(4 * [_NUMBER]), re.ASCII)


def mask_file(text: str, folder: Path) -> Path | None:
    """The file that a mask is, its path relative to `folder`; None for a rectangle."""
    return None if _RECTANGLE.fullmatch(text) else folder.absolute() / text


def read_rectangle(text: str, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom, half-open, in a picture of a size; None where the text is no rectangle.

    Raises:
        RequestError: it is empty, or leaves the picture.
    """
    found = _RECTANGLE.fullmatch(text)
    if found is None:
        return None
    numbers, units = found.groups()[::2], found.groups()[1::2]
    x, y, across, down = (
        float(number) * side / 100 if unit else float(number)
        for number, unit, side in zip(numbers, units, 2 * (width, height), strict=True)
    )
    left, top, right, bottom = round(x), round(y), round(x + across), round(y + down)
    if right > width or bottom > height:
        raise RequestError(f"--mask {text}: the rectangle leaves the picture of {width}x{height} pixels")
    if left == right or top == bottom:
        raise RequestError(f"--mask {text}: marks nothing; expected X,Y,W,H with a width and a height")
    return left, top, right, bottom
