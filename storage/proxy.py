"""Small copies of videos that any player shows (H.264 in MP4): some for the review page, and some with timecode and
sound to be handed over. Same frames, and the same times between them.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from model.types import Span
from storage.colour import declared_colour
from storage.geometry import scaled, whole
from storage.mux import containers_of
from storage.probe import AudioInfo, VideoInfo, probe
from storage.video import eight_bits, read_frames, read_spans, write_video

PROXY_HEIGHT = 360
HANDED_HEIGHT = 720


def write_proxy(info: VideoInfo, path: Path, *, tone_map: bool = False, sound: bool = False) -> VideoInfo:
    """Write a copy of at most 360 lines with square pixels and eight bits; returns what it is.

    It begins at zero, whenever the video does: browsers differ in how they count from elsewhere. With `sound` it has
    what MP4 holds of it, of a video that begins at zero itself.

    Raises:
        VideoError: a frame of the source does not decode.
        RunError: the encoder or the disk failed.
    """
    width, height = _proxy_size(info)
    small = scaled(info, width, height)
    kept = _sound_in(info, path) if sound and info.pts[0] == 0 else ()
    like = replace(
        info, width=width, height=height, sample_aspect=Fraction(1), rotation=0, bit_depth=8, audio=kept, timecode=None
    )
    like = replace(like, pts=tuple(stamp - info.pts[0] for stamp in info.pts))
    with closing(read_frames(info, Span(0, info.frames), small, tone_map=tone_map)) as frames:
        return probe(write_video(map(eight_bits, frames), like, whole(like), path))


def write_handed_proxy(info: VideoInfo, path: Path, report: Callable[[int, int], None]) -> VideoInfo:
    """Write a copy of at most 720 lines to be handed over, eight bits deep; returns what it is.

    Timecode and pixel aspect are those of the video, and so is the sound that MP4 holds. All colour tags are told.
    `report` is told frames done and frames in all.

    Raises:
        VideoError: a frame of the video does not decode.
        RunError: the encoder or the disk failed.
    """
    height = max(2, min(HANDED_HEIGHT, info.height) // 2 * 2)
    width = max(2, 2 * round(Fraction(height * info.width, 2 * info.height)))
    small = scaled(info, width, height)
    sound, colour = _sound_in(info, path), declared_colour(info)
    like = replace(info, width=width, height=height, rotation=0, bit_depth=8, audio=sound, colour=colour)
    with closing(read_frames(info, Span(0, info.frames), small)) as frames:
        counted = _counted(map(eight_bits, frames), info.frames, report)
        return probe(write_video(counted, like, whole(like), path))


def plays_in_browsers(info: VideoInfo) -> bool:
    """Whether every common browser shows this file as it is, frame by frame.

    That is H.264 in MP4, eight bits, even sides, square pixels, and a first frame at zero.
    """
    plain = info.codec == "h264" and info.bit_depth == 8 and info.path.suffix == ".mp4" and info.pts[0] == 0
    return plain and info.width % 2 == info.height % 2 == 0 and info.sample_aspect == 1


def read_stills(info: VideoInfo, frames: list[int]) -> Iterator[np.ndarray]:
    """Single frames [H, W, 3], uint8, by their ascending numbers, from one pass over a proxy or a result."""
    spans = [Span(frame, frame + 1) for frame in frames]
    for still in read_spans(info, spans, whole(info)):
        yield still[0]


def _sound_in(info: VideoInfo, path: Path) -> tuple[AudioInfo, ...]:
    """The tracks that a file of this kind holds."""
    return tuple(track for track in info.audio if path.suffix in containers_of(track))


def _proxy_size(info: VideoInfo) -> tuple[int, int]:
    height = min(PROXY_HEIGHT, info.height)
    width = height * info.width * info.sample_aspect / info.height
    return max(2, 2 * round(width / 2)), height // 2 * 2


def _counted(frames: Iterator[np.ndarray], total: int, report: Callable[[int, int], None]) -> Iterator[np.ndarray]:
    for done, frame in enumerate(frames, start=1):
        yield frame
        report(done, total)
