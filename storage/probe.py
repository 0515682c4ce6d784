"""What a video file holds: its geometry, the time stamp of every frame, colour, sound, timecode.

One pass over the packets gives the table of presentation time stamps, from which everything frame-exact follows; the
first frames are decoded, because headers lie. That every frame decodes is proven elsewhere (`read_thumbnails`).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from storage.colour_tags import MATRICES, UNTAGGED_MATRICES, Colour, read_colour
from storage.ffmpeg import MAX_PIXELS, VIDEO_CODECS
from storage.matroska import declared_end
from storage.packets import MAX_FRAMES, Timing, Walk, timing_by_decoding, timing_of, walk_packets
from storage.source_file import limit_pixels, open_container, refuse

MIN_SIDE, MAX_SIDE, MAX_ASPECT = 16, 8192, 8
MIN_FRAMES = 2
SIZES = f"sides of {MIN_SIDE} to {MAX_SIDE} pixels, at most {MAX_ASPECT}:1 and {MAX_PIXELS:,} pixels"
MAX_SECONDS = 7 * 24 * 3600
LOOKED_AT_PLACES, FRAMES_AT_A_PLACE = 3, 2  # behind the first frames, for fields
WITHOUT_FIELDS = ("av1", "vp8", "vp9")
SLACK = 0.5  # seconds by which a file may end before it says so
CLOSE = 10**7  # parts of a rate by one of which it may be off
TIMECODE = r"\d\d:\d\d:\d\d[:;.]\d\d"
EXACT_SEEK = ("mov", "matroska")  # containers whose index leads to a key frame without guessing


@dataclass(frozen=True)
class AudioInfo:
    """One sound track; `index` is its number in the file, and `ascends` is whether its packets are in order of time."""

    index: int
    codec: str
    channels: int
    sample_rate: int
    ascends: bool = True


@dataclass(frozen=True)
class VideoInfo:
    """A video as everything else sees it: upright, in stored pixels (the sample aspect is not applied).

    `pts` are the presentation time stamps in display order, in units of `time_base`, start offset kept;
    `last_duration` is how long the last frame stays. `rate` is the mean rate where `variable_rate`. `keyframes` are the
    display indices of frames at which decoding can begin; empty where the file must be decoded from the start.
    `pixels` is FFmpeg's name of the format in which frames are stored.
    `unknown_audio` counts the sound tracks that nobody can copy: FFmpeg does not know them, or nothing is in them.
    """

    path: Path
    container: str
    stream: int
    codec: str
    frames: int
    width: int
    height: int
    rate: Fraction
    variable_rate: bool
    time_base: Fraction
    pts: tuple[int, ...] = field(repr=False)
    last_duration: int
    keyframes: tuple[int, ...] = field(repr=False)
    rotation: int
    sample_aspect: Fraction
    pixels: str
    bit_depth: int
    interlaced: str | None
    colour: Colour
    timecode: str | None
    audio: tuple[AudioInfo, ...]
    unknown_audio: int

    @property
    def hdr(self) -> bool:
        """PQ, HLG or wide gamut: not for an eight-bit BT.709 model without tone mapping."""
        return self.colour.is_hdr

    @property
    def seconds(self) -> Fraction:
        """From the first frame's beginning to the last one's end."""
        return (self.pts[-1] + self.last_duration - self.pts[0]) * self.time_base


def probe(path: Path) -> VideoInfo:
    """Describe a video file.

    Raises:
        VideoError: it is missing, unreadable, damaged, cut short, or of a kind that is refused: one line that names the
            file and the fault.
    """
    path = path.absolute()
    with open_container(path) as container:
        stream = _choose_stream(path, container)
        walk = walk_packets(path, container, stream)
        if not walk.first:
            raise refuse(path, "no frame of it can be decoded")
        _require_sane_picture(path, walk.first[0], _sample_aspect(stream))
        _require_few_frames(path, len(walk.shown))
        _require_whole(path, container, stream, walk)
        timing = timing_of(walk.shown) if walk.tells_all_times else timing_by_decoding(path, stream.index)
        _require_sane_length(path, timing, stream.time_base or Fraction(1, 1000))
        return _describe(path, container, stream, walk, timing)


def _choose_stream(path: Path, container: InputContainer) -> VideoStream:
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        others = sorted({stream.type for stream in container.streams})
        raise refuse(path, f"has no video (only {', '.join(others) or 'nothing'})")
    name = _codec_name(streams[0])
    if name not in VIDEO_CODECS:
        raise refuse(path, f"codec {name} is not accepted; convert it to one of {', '.join(VIDEO_CODECS)}")
    if not (streams[0].width and streams[0].height):  # what the libraries leave of a size that they refuse
        raise refuse(path, f"has no picture size, or one that is out of bounds ({SIZES})")
    limit_pixels(streams[0])
    return streams[0]


def _codec_name(stream: VideoStream | AudioStream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"


def _sample_aspect(stream: VideoStream) -> Fraction:
    return Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)


def _require_sane_picture(path: Path, frame: VideoFrame, sample_aspect: Fraction) -> None:
    width, height = frame.width, frame.height
    small, large = sorted((width, height))
    if small < MIN_SIDE or large > MAX_SIDE or width * height > MAX_PIXELS or large > MAX_ASPECT * small:
        raise refuse(path, f"a picture of {width}x{height} is out of bounds ({SIZES})")
    if not 1 <= MAX_ASPECT * sample_aspect * width / height <= MAX_ASPECT**2:
        told = f"a picture of {width}x{height} with pixels of {sample_aspect.numerator}:{sample_aspect.denominator}"
        raise refuse(path, f"{told} is out of bounds (at most {MAX_ASPECT}:1 as it is shown)")
    if frame.rotation % 90 != 0:
        raise refuse(path, f"rotated by {frame.rotation} degrees; only quarter turns are accepted")
    if frame.colorspace not in MATRICES and frame.colorspace not in UNTAGGED_MATRICES:
        raise refuse(path, f"colour matrix number {int(frame.colorspace)} is not accepted; convert it to BT.709")


def _require_few_frames(path: Path, frames: int) -> None:
    if frames > MAX_FRAMES:
        raise refuse(path, f"has more than {MAX_FRAMES:,} frames; cut it into parts")


def _require_sane_length(path: Path, timing: Timing, time_base: Fraction) -> None:
    frames = len(timing.pts)
    _require_few_frames(path, frames)
    if frames < MIN_FRAMES:
        raise refuse(path, f"has {frames} frame; a video needs at least {MIN_FRAMES}")
    seconds = (timing.pts[-1] + timing.last_duration - timing.pts[0]) * time_base
    if seconds > MAX_SECONDS:
        hours = MAX_SECONDS // 3600
        raise refuse(path, f"lasts {float(seconds) / 3600:,.0f} hours; at most {hours} are accepted, cut it into parts")


def _require_whole(path: Path, container: InputContainer, stream: VideoStream, walk: Walk) -> None:
    """Refuse files that were cut short: each container says in its own way how long it should be."""
    if walk.has_corrupt:
        raise refuse(
            path, "holds damaged packets: it was cut short, or files were joined byte by byte (ffmpeg can join)"
        )
    names, short = container.format.name.split(","), False
    if "mov" in names and len(stream.index_entries):
        last = stream.index_entries[-1]
        short |= last.pos + last.size > path.stat().st_size
    elif "matroska" in names:
        short |= (declared_end(path) or 0) > path.stat().st_size
        short |= (container.duration or 0) / av.time_base - walk.end > SLACK
    elif "avi" in names:
        short |= stream.frames * (stream.time_base or 0) - walk.picture_end > SLACK
    if short:
        raise refuse(path, "is cut short or damaged: its index names more than it holds")


def _describe(path: Path, container: InputContainer, stream: VideoStream, walk: Walk, timing: Timing) -> VideoInfo:
    frame, rotation = walk.first[0], walk.first[0].rotation % 360
    aspect = _sample_aspect(stream)
    width, height = frame.width, frame.height
    if rotation % 180 == 90:
        width, height, aspect = height, width, 1 / aspect
    time_base = stream.time_base or Fraction(1, 1000)
    rate, variable_rate = _rate(stream, timing.pts, time_base)
    seekable = set(container.format.name.split(",")) & set(EXACT_SEEK)
    sounds = [sound for sound in container.streams.audio if sound.codec_context and sound.codec_context.sample_rate]
    return VideoInfo(
        path=path,
        container=container.format.name,
        stream=stream.index,
        codec=_codec_name(stream),
        frames=len(timing.pts),
        width=width,
        height=height,
        rate=rate,
        variable_rate=variable_rate,
        time_base=time_base,
        pts=timing.pts,
        last_duration=timing.last_duration,
        keyframes=timing.keyframes if seekable else (),
        rotation=rotation,
        sample_aspect=aspect,
        pixels=frame.format.name,
        bit_depth=max(component.bits for component in frame.format.components),
        interlaced=_field_order(stream, chain(walk.first, _later_frames(container, stream, timing.pts))),
        colour=read_colour(frame),
        timecode=_timecode(container, rate),
        audio=tuple(
            AudioInfo(
                index=sound.index,
                codec=_codec_name(sound),
                channels=sound.codec_context.channels,
                sample_rate=sound.codec_context.sample_rate,
                ascends=sound.index not in walk.going_back,
            )
            for sound in sounds
        ),
        unknown_audio=len(container.streams.audio) - len(sounds),
    )


def _rate(stream: VideoStream, pts: Sequence[int], time_base: Fraction) -> tuple[Fraction, bool]:
    """The frame rate, and whether frames stray from it: to the tick for the index's rates, then to the millisecond."""
    mean = (len(pts) - 1) / ((pts[-1] - pts[0]) * time_base)
    usual = [rate for rate in (Fraction(round(mean)), Fraction(round(mean * 1001 / 1000) * 1000, 1001)) if rate]
    told = [_named(rate, usual) for rate in (stream.average_rate, stream.base_rate) if rate]
    for rates, slack in ((told, time_base), (usual + told, max(Fraction(1, 1000), time_base))):
        for rate in rates:
            if all(abs((stamp - pts[0]) * time_base - index / rate) <= slack for index, stamp in enumerate(pts)):
                return rate, False
    return mean.limit_denominator(1001) or Fraction(1, 1001), True


def _named(rate: Fraction, usual: Sequence[Fraction]) -> Fraction:
    """The usual rate that is meant: Matroska's 19001/317 is 60000/1001."""
    return next((one for one in usual if abs(one - rate) * CLOSE <= one), rate)


def _later_frames(container: InputContainer, stream: VideoStream, pts: Sequence[int]) -> Iterator[VideoFrame]:
    """Some frames from all over a video that may have fields: a progressive title may lead an interlaced film."""
    if _codec_name(stream) in WITHOUT_FIELDS:
        return
    for place in range(1, LOOKED_AT_PLACES + 1):
        with suppress(FFmpegError, IndexError):  # damage there is told when every frame is read
            container.seek(pts[len(pts) * place // (LOOKED_AT_PLACES + 1)], stream=stream)
            yield from islice(container.decode(stream), FRAMES_AT_A_PLACE)


def _field_order(stream: VideoStream, frames: Iterable[VideoFrame]) -> str | None:
    if not any(frame.interlaced_frame for frame in frames):
        return None
    return "bottom first" if stream.codec_context.field_order in (3, 5) else "top first"


def _timecode(container: InputContainer, rate: Fraction) -> str | None:
    """Of the first frame, with `;` where numbers are dropped; one that cannot count such frames is none."""
    tagged = [stream.metadata for stream in container.streams] + [container.metadata]
    found = [value for tags in tagged for name, value in tags.items() if name.lower() == "timecode"]
    return next((value.replace(".", ";") for value in found if _counts(value, round(rate))), None)


def _counts(timecode: str, rate: int) -> bool:
    if re.fullmatch(TIMECODE, timecode, re.ASCII) is None or int(timecode[-2:]) >= rate:
        return False
    return timecode[-3] == ":" or rate % 30 == 0
