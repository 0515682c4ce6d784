"""Encoding frames with ffmpeg: the codecs on offer, and one run of one. Pictures only; `storage/mux.py` adds sound."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal

import ffmpeg
import numpy as np

from model.errors import RequestError, RunError
from storage.colour import from_rgb, pixel_format, written_colour
from storage.colour_tags import Colour
from storage.ffmpeg import FfmpegError, Pipe, compile_command
from storage.geometry import Fit
from storage.probe import VideoInfo

Codec = Literal["h264", "prores", "dnxhr", "ffv1"]
TELLS_RANGE = ("h264",)  # the others are always read as limited range
TELLS_MATRIX = ("h264", "prores", "ffv1")  # the others are always read as BT.709
LEAST_SIZE: Mapping[str, tuple[int, int]] = {"dnxhr": (256, 120)}  # pixels, of codecs that take no smaller pictures


def encoded_colour(like: VideoInfo, codec: Codec) -> Colour:
    """The colour tags of an edit of `like`: its own, except for what the codec cannot tell."""
    colour = written_colour(like)
    if codec not in TELLS_MATRIX:
        colour = replace(colour, matrix="bt709")
    if codec not in TELLS_RANGE and colour.range:
        colour = replace(colour, range="tv")
    return colour


def encode(frames: Iterable[np.ndarray], like: VideoInfo, fit: Fit, path: Path, codec: Codec) -> int:
    """Encode frames [H, W, 3], uint8 or uint16, at the source's mean rate; returns how many there were.

    The padding is cropped away and the picture scaled back to the source's stored size.

    Raises:
        RunError: the encoder or the disk failed.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return 0
    options = codec_options(codec, like)
    filters = from_rgb(like, encoded_colour(like, codec), options["pix_fmt"])
    given = Raw(pixel_format(first.dtype.itemsize * 8), fit.inner.width, fit.inner.height)
    return encode_raw(_cropped(chain([first], frames), fit, first.dtype), given, like, filters, options, path)


@dataclass(frozen=True)
class Raw:
    """Uncompressed frames: FFmpeg's name of their pixel format, and their size."""

    pixels: str
    width: int
    height: int


def encode_raw(
    frames: Iterable[np.ndarray],
    given: Raw,
    like: VideoInfo,
    filters: Sequence[str],
    options: Mapping[str, str],
    path: Path,
) -> int:
    """Encode uncompressed frames, each one array of any shape, at the source's mean rate; returns how many there were.

    Raises:
        RunError: the encoder or the disk failed.
    """
    count = 0
    try:
        with Pipe(_command(given, like, filters, options, path), feeds=True) as pipe:
            for frame in frames:
                pipe.write(np.ascontiguousarray(frame).reshape(-1).view(np.uint8).data)
                count += 1
            pipe.finish()
    except FfmpegError as error:
        raise RunError(f"{path}: could not be encoded ({error})") from error
    return count


def crop(frame: np.ndarray, fit: Fit) -> np.ndarray:
    """The picture without the padding around it."""
    box = fit.inner
    return np.ascontiguousarray(frame[box.y : box.y + box.height, box.x : box.x + box.width])


def _cropped(frames: Iterable[np.ndarray], fit: Fit, dtype: np.dtype) -> Iterator[np.ndarray]:
    for frame in frames:
        assert frame.shape == (fit.model[1], fit.model[0], 3), f"{frame.shape} on a canvas of {fit.model}"
        assert frame.dtype == dtype, f"{frame.dtype} after {dtype}"
        yield crop(frame, fit)


def _command(given: Raw, like: VideoInfo, filters: Sequence[str], options: Mapping[str, str], path: Path) -> list[str]:
    rate = Fraction(like.rate)
    source = ffmpeg.input(
        "pipe:0",
        format="rawvideo",
        pix_fmt=given.pixels,
        s=f"{given.width}x{given.height}",
        framerate=f"{rate.numerator}/{rate.denominator}",
    )
    output = ffmpeg.output(
        source, f"file:{path}", format="mov", vf=",".join(filters), video_track_timescale=rate.numerator, **options
    )
    return compile_command(output)


def require_encodable(info: VideoInfo, codec: Codec) -> None:
    """Raises:
    RequestError: the codec has no pictures so small.
    """
    width, height = LEAST_SIZE.get(codec, (0, 0))
    if info.width < width or info.height < height:
        raise RequestError(
            f"{info.path}: {info.width}x{info.height}, and --codec {codec} needs at least {width}x{height}; "
            "choose prores or ffv1"
        )


def codec_options(codec: Codec, like: VideoInfo) -> dict[str, str]:
    """Encoder settings that keep the source's bit depth as far as the codec can."""
    deep = like.bit_depth > 8
    match codec:
        case "h264":
            chroma = (
                "yuv444p" if like.width % 2 or like.height % 2 else "yuv420p"
            )  # odd sides cannot halve their chroma
            depth = "10le" if deep else ""
            told = {"bsf:v": "h264_metadata=video_full_range_flag=0"} if like.colour.range == "tv" else {}
            return {"vcodec": "libx264", "preset": "fast", "crf": "16", "pix_fmt": chroma + depth, **told}
        case "prores":
            return {"vcodec": "prores_ks", "profile:v": "3", "vendor": "apl0", "pix_fmt": "yuv422p10le"}
        case "dnxhr":
            profile, pixels = ("dnxhr_hqx", "yuv422p10le") if deep else ("dnxhr_hq", "yuv422p")
            return {"vcodec": "dnxhd", "profile:v": profile, "pix_fmt": pixels}
        case "ffv1":
            depth = {8: "", 10: "10le", 12: "12le"}.get(like.bit_depth, "16le")
            return {"vcodec": "ffv1", "level": "3", "slicecrc": "1", "pix_fmt": f"yuv444p{depth}"}
