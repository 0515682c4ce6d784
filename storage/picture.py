"""A single picture that somebody else made: a few plain formats, by what the file holds and not by its name.

Knows nothing of what the picture is for.
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from storage.ffmpeg import MAX_PIXELS
from storage.source_file import open_regular, refuse

BOUND = f"at most {MAX_PIXELS:,} pixels are accepted, make it smaller"
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
DEEP = ("I;16", "I;16B", "I;16L", "I;16N")  # sixteen bits of grey, which Pillow would clip

SIGNATURES = (rb"\x89PNG", rb"\xff\xd8\xff", rb"BM", rb"RIFF....WEBP")


def is_picture(path: Path) -> bool:
    """Whether a file begins as one of these formats does.

    Raises:
        VideoError: it is no regular, readable, non-empty file.
    """
    with open_regular(path) as file:
        begin = file.read(12)
    return any(re.match(signature, begin, re.DOTALL) for signature in SIGNATURES)


def read_picture(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in RGB, eight bits deep and upright; what is transparent loses its transparency.

    Raises:
        VideoError: it is no regular file, none of an accepted format, too large, or damaged.
    """
    with open_regular(path) as file:
        try:
            with Image.open(file, formats=FORMATS) as picture:  # reads the header alone
                if picture.width * picture.height > MAX_PIXELS:
                    raise refuse(path, f"a picture of {picture.width}x{picture.height}; {BOUND}")
                return _to_rgb(ImageOps.exif_transpose(picture))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise refuse(path, f"a huge picture; {BOUND}") from None
        except UnidentifiedImageError:
            raise refuse(path, f"is no picture that can be read; expected {', '.join(FORMATS)}") from None
        except (OSError, ValueError, SyntaxError) as fault:  # SyntaxError is how Pillow puts a broken PNG
            raise refuse(path, f"is a damaged picture ({' '.join(str(fault).split())[:100]})") from None


def _to_rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode in DEEP:
        return np.repeat((np.asarray(picture) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.asarray(picture.convert("RGB"))
