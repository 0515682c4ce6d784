"""Frames as a source's own planes of luma and chroma, in and out: what nobody touches keeps its code values.

RGB would not do: a picture that went through it comes back with other values, edited or not. Knows nothing of edits.
"""

import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped

from model.types import Span
from storage.colour import from_planes, matrix_of, to_planes, written_colour
from storage.decoding import decode_raw
from storage.encoding import Codec, Raw, codec_options, encode_raw, encoded_colour
from storage.probe import VideoInfo

Plane = Shaped[np.ndarray, "_ _"]
Planes = tuple[Plane, ...]
"""Three: luma and two chromas, uint8 or uint16."""
CHROMA = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}  # rows and columns of luma to a sample of chroma
DEPTHS = (8, 10, 12, 16)
LUMA = {  # parts of red and blue in it
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "fcc": (0.3, 0.11),
    "smpte240m": (0.212, 0.087),
}


@dataclass(frozen=True)
class Layout:
    """The planes of a video's frames: upright, progressive, in the colours of the result.

    `chroma` is how it is sampled: `420`, `422` or `444`. `limited` if black is not 0.
    """

    width: int
    height: int
    chroma: str
    bits: int
    matrix: str
    limited: bool

    @property
    def pixels(self) -> str:
        """FFmpeg's name of it."""
        return f"yuv{self.chroma}p" + ("" if self.bits == 8 else f"{self.bits}le")

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8 if self.bits == 8 else "<u2")

    @property
    def peak(self) -> int:
        """The greatest code value."""
        return 2**self.bits - 1

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each plane."""
        rows, columns = CHROMA[self.chroma]
        chroma = (-(-self.height // rows), -(-self.width // columns))
        return (self.height, self.width), chroma, chroma

    @property
    def levels(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The least and the greatest value of luma, and of chroma, in parts of the peak."""
        if not self.limited:
            return (0.0, 1.0), (0.0, 1.0)
        unit = 2 ** (self.bits - 8) / self.peak
        return (16 * unit, 235 * unit), (16 * unit, 240 * unit)

    def from_rgb(self, rgb: Shaped[np.ndarray, "row column 3"]) -> Float32[np.ndarray, "row column 3"]:
        """Luma and chroma, in parts of the peak, of integers in RGB that use their full range."""
        red, blue = LUMA[self.matrix]
        luma = np.array([red, 1 - red - blue, blue])
        chroma = [(np.eye(3)[channel] - luma) / (2 - 2 * part) for channel, part in ((2, blue), (0, red))]
        (black, white), (low, high) = self.levels
        matrix = np.stack([luma * (white - black), *(each * (high - low) for each in chroma)])
        grey = 2 ** (self.bits - 1) / self.peak
        offset = np.array([black, grey, grey], np.float32)
        return rgb.astype(np.float32) @ (matrix.T / np.iinfo(rgb.dtype).max).astype(np.float32) + offset


def layout_of(info: VideoInfo) -> Layout:
    """The layout that keeps all of a video's code values, or where there is none the next better one.

    None is needed for RGB, HDR that is tone-mapped, depths and samplings that few have.
    """
    tags = written_colour(info)
    stored = re.match(r"yuvj?(420|422|444)p", info.pixels)
    chroma = stored[1] if stored and not info.hdr else "444"
    if chroma == "422" and info.rotation % 180:
        chroma = "444"
    bits = 10 if info.hdr else next(bits for bits in DEPTHS if bits >= info.bit_depth)
    return Layout(info.width, info.height, chroma, bits, matrix_of(info, tags), (tags.range or "tv") == "tv")


def read_planes(info: VideoInfo, span: Span, layout: Layout, *, tone_map: bool) -> Generator[Planes, None, None]:
    """The frames of a span; closing the iterator ends the decoder.

    Raises:
        VideoError: a frame does not decode.
    """
    sizes = [height * width for height, width in layout.shapes]
    filters = to_planes(info, layout.pixels, tone_map=tone_map)
    with closing(decode_raw(info, span, filters, layout.pixels, sum(sizes) * layout.dtype.itemsize)) as frames:
        for frame in frames:
            parts = np.split(frame.view(layout.dtype), np.cumsum(sizes)[:-1])
            yield tuple(part.reshape(shape) for part, shape in zip(parts, layout.shapes, strict=True))


def encode_planes(frames: Iterable[Planes], like: VideoInfo, layout: Layout, path: Path, codec: Codec) -> int:
    """Encode frames at the source's mean rate; returns how many there were. FFV1 keeps them as they are.

    Raises:
        RunError: the encoder or the disk failed.
    """
    tags, options = encoded_colour(like, codec), codec_options(codec, like)
    if codec == "ffv1":
        options |= {"pix_fmt": layout.pixels}
    given = Raw(layout.pixels, layout.width, layout.height)
    return encode_raw(_joined(frames), given, like, from_planes(like, tags, options["pix_fmt"]), options, path)


def _joined(frames: Iterable[Planes]) -> Iterator[np.ndarray]:
    for planes in frames:
        yield np.concatenate([plane.reshape(-1) for plane in planes])
