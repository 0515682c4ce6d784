"""Small silent copies of videos that any browser plays (H.264 in MP4), for the review page; same frames, same times."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from model.types import Span
from storage.geometry import Box, Fit, whole
from storage.probe import VideoInfo, probe
from storage.video import read_frames, read_spans, write_video

PROXY_HEIGHT = 360


def write_proxy(info: VideoInfo, path: Path, *, tone_map: bool = False) -> VideoInfo:
    """Write a copy of at most 360 lines with square pixels, eight bits deep and without sound; returns what it is.

    Raises:
        VideoError: a frame of the source does not decode.
        RunError: the encoder or the disk failed.
    """
    width, height = _proxy_size(info)
    small = Fit((info.width, info.height), Box(width, height, 0, 0), (width, height))
    frames = read_frames(info, Span(0, info.frames), small, tone_map=tone_map)
    like = replace(
        info, width=width, height=height, sample_aspect=Fraction(1), rotation=0, bit_depth=8, audio=(), timecode=None
    )
    return probe(write_video(_eight_bits(frames), like, whole(like), path))


def plays_in_browsers(info: VideoInfo) -> bool:
    """Whether every common browser shows this file as it is: H.264, eight bits, even sides, square pixels, in MP4."""
    plain = info.codec == "h264" and info.bit_depth == 8 and info.path.suffix == ".mp4"
    return plain and info.width % 2 == info.height % 2 == 0 and info.sample_aspect == 1


def read_stills(info: VideoInfo, frames: list[int]) -> Iterator[np.ndarray]:
    """Single frames [H, W, 3], uint8, by their ascending numbers, from one pass over a proxy or a result."""
    spans = [Span(frame, frame + 1) for frame in frames]
    for still in read_spans(info, spans, whole(info)):
        yield still[0]


def _proxy_size(info: VideoInfo) -> tuple[int, int]:
    height = min(PROXY_HEIGHT, info.height)
    width = height * info.width * info.sample_aspect / info.height
    return max(2, 2 * round(width / 2)), height // 2 * 2


def _eight_bits(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    for frame in frames:
        yield frame if frame.dtype == np.uint8 else (frame >> 8).astype(np.uint8)
