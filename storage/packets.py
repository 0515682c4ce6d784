"""One pass over the packets of a video file: which frames are shown, and when, and where each of its tracks ends."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from storage.source_file import demux, limit_pixels, open_container
from storage.time_stamps import mend, usual_step

MAX_FRAMES = 1_000_000
LOOKED_AT_FRAMES = 5


class Timing(NamedTuple):
    """When frames are shown, as in `VideoInfo`."""

    pts: tuple[int, ...]
    keyframes: tuple[int, ...]
    last_duration: int


class Shown(NamedTuple):
    """A packet whose frame is shown."""

    pts: int | None
    duration: int
    is_keyframe: bool


@dataclass
class Walk:
    """What one pass over the packets finds; `shown` is in decoding order, `end` and `picture_end` (of the video alone)
    in seconds.

    `latest` is the last time stamp of each other track; some are `going_back`.
    """

    first: list[VideoFrame] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    starts_on_keyframe: bool | None = None
    has_corrupt: bool = False
    end: Fraction = Fraction(0)
    picture_end: Fraction = Fraction(0)
    latest: dict[int, int] = field(default_factory=dict)
    going_back: set[int] = field(default_factory=set)

    @property
    def tells_all_times(self) -> bool:
        """Whether the packets alone tell which frames are shown, and when.

        They do not where some come before the key frame that the file begins with: those lean on what is not there.
        """
        stamps = [packet.pts for packet in self.shown if packet.pts is not None]
        told = len(set(stamps)) == len(self.shown) > 0
        return bool(self.starts_on_keyframe) and told and (not self.shown[0].is_keyframe or stamps[0] == min(stamps))


def walk_packets(path: Path, container: InputContainer, stream: VideoStream) -> Walk:
    """Read all packets of a file, and decode the first frames of its video; ends early where there are too many."""
    walk, tracks = Walk(), container.streams
    looked_at = {stream.index, *(sound.index for sound in tracks.audio)}
    for packet in demux(path, container, *tracks.video, *tracks.audio, *tracks.subtitles):
        if packet.stream_index == stream.index and len(walk.first) < LOOKED_AT_FRAMES:
            walk.first += [frame for frame in packet.decode() if isinstance(frame, VideoFrame)]
        if packet.size == 0:  # the demuxer's closing mark, or a frame that was dropped as it was taken
            continue
        walk.has_corrupt |= packet.is_corrupt and packet.stream_index in looked_at
        walk.end = max(walk.end, _end(packet))
        if packet.stream_index == stream.index:
            _note_picture(walk, packet)
        elif packet.dts is not None:
            _note_sound(walk, packet.stream_index, packet.dts)
        if len(walk.shown) > MAX_FRAMES:
            break
    return walk


def _note_picture(walk: Walk, packet: Packet) -> None:
    if walk.starts_on_keyframe is None:
        walk.starts_on_keyframe = packet.is_keyframe
    walk.picture_end = max(walk.picture_end, _end(packet))
    if not packet.is_discard:  # cut away by an edit list
        walk.shown.append(Shown(packet.pts, packet.duration or 0, packet.is_keyframe))


def _note_sound(walk: Walk, track: int, stamp: int) -> None:
    if stamp < walk.latest.get(track, stamp):
        walk.going_back.add(track)
    walk.latest[track] = stamp


def _end(packet: Packet) -> Fraction:
    start = packet.pts if packet.pts is not None else packet.dts or 0
    return (start + (packet.duration or 0)) * packet.time_base


def timing_of(shown: Sequence[Shown]) -> Timing:
    """Time stamps as packets tell them, all of them."""
    ordered = sorted((packet.pts, packet.is_keyframe, packet.duration) for packet in shown if packet.pts is not None)
    pts = tuple(stamp for stamp, _, _ in ordered)
    keyframes = tuple(index for index, (_, is_keyframe, _) in enumerate(ordered) if is_keyframe)
    return Timing(pts, keyframes, ordered[-1][2] or usual_step(pts))


def timing_by_decoding(path: Path, index: int) -> Timing:
    """Time stamps of the decoded frames, for containers whose packets lack some, or tell one twice."""
    with open_container(path) as container:
        stream = next(stream for stream in container.streams.video if stream.index == index)
        limit_pixels(stream)
        stamps = [frame.pts for frame in islice(container.decode(stream), MAX_FRAMES + 1)]
        step = 1 / (Fraction(stream.average_rate or 25) * (stream.time_base or 1))
    if "avi" in container.format.name and None in stamps:  # it counts, and what is told of some is when they decode
        stamps = [None] * len(stamps)
    pts = mend(stamps, max(step, Fraction(1)))
    return Timing(pts, (), usual_step(pts))
