"""Putting pictures and sound together: encoded frames get the source's time stamps, its sound is copied untouched.

The encoder numbers its frames evenly; here each packet gets the time stamps of the source frames with its numbers.
"""

import heapq
from collections.abc import Iterator
from fractions import Fraction
from math import lcm
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from model.errors import RequestError, RunError
from storage.colour_tags import MATRICES, PRIMARIES, RANGES, TRANSFERS, Colour
from storage.probe import AudioInfo, VideoInfo
from storage.source_file import open_container, refuse

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
VIDEO_SUFFIXES = {
    "h264": (".mp4", ".mov", ".mkv"),
    "prores": (".mov", ".mkv"),
    "dnxhr": (".mov",),
    "ffv1": (".mkv",),
}
AUDIO_SUFFIXES = {
    **dict.fromkeys(("aac", "ac3", "eac3", "mp3", "alac"), (".mp4", ".mov", ".mkv")),
    **dict.fromkeys(("opus", "flac"), (".mp4", ".mkv")),
    "mp2": (".mov", ".mkv"),
    **dict.fromkeys(("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le"), (".mov", ".mkv")),
    **dict.fromkeys(("pcm_s8", "pcm_f32be", "pcm_f64be", "pcm_mulaw", "pcm_alaw", "adpcm_ima_qt"), (".mov",)),
    **dict.fromkeys(("amr_nb", "amr_wb"), (".mov",)),
    **dict.fromkeys(("dts", "vorbis", "truehd", "mlp", "mp1", "tta", "wavpack"), (".mkv",)),
    **dict.fromkeys(("pcm_u8", "pcm_s32be", "pcm_f64le"), (".mkv",)),
    **dict.fromkeys(("atrac3", "cook", "qdm2", "qdmc", "ra_144", "ra_288", "sipr"), (".mkv",)),
}
LEAST_MP3_RATE = 16000  # samples a second below which MP4 has no MP3
MAX_TIMESCALE = 2**31 - 1


def choose_suffix(like: VideoInfo, codec: str, wanted: str) -> str:
    """A container that holds both the codec and the source's sound; the wanted one where it does.

    Matroska rounds time stamps to milliseconds, so it comes last.

    Raises:
        RequestError: there is none.
    """
    able = set(FORMATS).intersection(*map(containers_of, like.audio))
    fitting = [suffix for suffix in VIDEO_SUFFIXES[codec] if suffix in able]
    if not fitting:
        tracks = [audio for audio in like.audio if not containers_of(audio)] or like.audio
        kinds = ", ".join(map(_told, tracks))
        others = [other for other, suffixes in VIDEO_SUFFIXES.items() if able.intersection(suffixes)]
        convert = "convert it first, such as with ffmpeg -i IN -map 0 -c copy -c:a flac OUT.mkv"
        raise RequestError(
            f"{like.path}: no container holds {codec} together with its sound ({kinds}); "
            + (f"choose {' or '.join(others)}" if others else convert)
        )
    return wanted if wanted in fitting else fitting[0]


def containers_of(audio: AudioInfo) -> tuple[str, ...]:
    """Suffixes of the containers that hold a sound track as it is, the best one first."""
    suffixes = AUDIO_SUFFIXES.get(audio.codec, ()) if audio.ascends else ()
    slow = audio.codec == "mp3" and audio.sample_rate < LEAST_MP3_RATE
    return tuple(suffix for suffix in suffixes if not (slow and suffix == ".mp4"))


def _told(audio: AudioInfo) -> str:
    return f"track {audio.index}: {audio.codec}" + ("" if audio.ascends else ", whose time stamps go back")


def mux(encoded: Path, like: VideoInfo, colour: Colour, path: Path) -> None:
    """Write the encoded pictures with these colour tags and the time stamps, timecode and sound of `like`.

    `encoded` holds `like.frames` frames, number i at i / `like.rate`.

    Raises:
        RunError: a file could not be written.
        VideoError: the source's sound could not be read.
    """
    with open_container(like.path) as source, av.open(str(encoded)) as pictures:
        options = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}
        if path.suffix != ".mkv":
            options["movie_timescale"] = _timescale(like)
        try:
            with av.open(f"file:{path}", "w", format=FORMATS[path.suffix], container_options=options) as out:
                _copy(pictures, source, like, colour, out)
        except (FFmpegError, OSError) as error:
            raise RunError(f"{path}: could not be written ({error.strerror})") from error
        except ValueError as error:  # how PyAV puts it that a container has no such codec
            raise RunError(f"{path}: could not be written ({error})") from error


def _timescale(like: VideoInfo) -> str:
    """Ticks a second that tell the start of every track without rounding."""
    scale = lcm(like.time_base.denominator, *(audio.sample_rate for audio in like.audio))
    return str(scale if scale <= MAX_TIMESCALE else like.time_base.denominator)


def _copy(
    pictures: InputContainer, source: InputContainer, like: VideoInfo, colour: Colour, out: OutputContainer
) -> None:
    video = _add_video(out, pictures.streams.video[0], like)
    _tag(video, colour)
    sound = {audio.index: _add_audio(out, source.streams[audio.index]) for audio in like.audio}
    if like.timecode:
        out.metadata["timecode"] = like.timecode
    packets = heapq.merge(
        _video_packets(pictures, like, video), _audio_packets(source, like, sound), key=_decoding_time
    )
    for packet in packets:
        out.mux_one(packet)


def _add_video(out: OutputContainer, template: VideoStream, like: VideoInfo) -> VideoStream:
    stream = out.add_stream_from_template(template, opaque=True)
    stream.time_base = like.time_base
    stream.codec_context.framerate = like.rate
    return stream


def _tag(stream: VideoStream, colour: Colour) -> None:
    """Tell the colours in the container too: some codecs cannot."""
    context = stream.codec_context
    context.color_primaries = _number(PRIMARIES, colour.primaries)
    context.color_trc = _number(TRANSFERS, colour.transfer)
    context.colorspace = _number(MATRICES, colour.matrix)
    context.color_range = _number(RANGES, colour.range, untold=0)


def _number(names: dict[int, str], name: str | None, untold: int = 2) -> int:
    return next((number for number, known in names.items() if known == name), untold)


def _add_audio(out: OutputContainer, template: Stream) -> Stream:
    stream = out.add_stream_from_template(template)
    stream.disposition = template.disposition
    if template.language:
        stream.metadata["language"] = template.language
    return stream


def _video_packets(pictures: InputContainer, like: VideoInfo, stream: VideoStream) -> Iterator[Packet]:
    """Packets in decoding order, their frame numbers replaced by time stamps."""
    ends = (*like.pts[1:], like.pts[-1] + like.last_duration)
    for packet in pictures.demux(video=0):
        if packet.pts is None or packet.dts is None:  # the demuxer's closing mark
            continue
        shown, decoded = (round(stamp * packet.time_base * like.rate) for stamp in (packet.pts, packet.dts))
        packet.stream, packet.time_base = stream, like.time_base
        packet.pts, packet.dts = like.pts[shown], _stamp(like, decoded)
        packet.duration = ends[shown] - like.pts[shown]
        yield packet


def _stamp(like: VideoInfo, number: int) -> int:
    """Time stamp of a frame; decoding runs ahead of the first one where frames are reordered."""
    return like.pts[number] if number >= 0 else like.pts[0] + number * (like.pts[1] - like.pts[0])


def _audio_packets(source: InputContainer, like: VideoInfo, streams: dict[int, Stream]) -> Iterator[Packet]:
    if not streams:
        return
    try:
        for packet in source.demux(*(source.streams[index] for index in streams)):
            if packet.size == 0 and packet.dts is None:  # the demuxer's closing mark
                continue
            packet.stream = streams[packet.stream_index]
            yield packet
    except FFmpegError as error:
        raise refuse(like.path, f"its sound is damaged ({error.strerror})") from error


def _decoding_time(packet: Packet) -> Fraction:
    stamp = packet.dts if packet.dts is not None else packet.pts
    return (stamp or 0) * packet.time_base
