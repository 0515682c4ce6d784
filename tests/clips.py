"""Builders of small clips: one of every oddity that cameras, phones and studios deliver, and of every bad input.

`make_clip(kind, folder)` for kind in `ODD_CLIPS`; `make_bad_input(kind, folder)` for kind in `BAD_INPUTS`.
Pictures are ffmpeg's moving test chart, so that no two frames are alike.
"""

import hashlib
import os
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av

from storage.ffmpeg import find_ffmpeg

FRAMES = 60
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p")
SHORT_GOPS = (*X264, "-g", "12", "-bf", "3")
AAC = ("-c:a", "aac", "-b:a", "64k")
TAGS = "setparams=color_primaries={0}:color_trc={0}:colorspace={0}:range={1}"
BT709 = ("-vf", f"scale=out_color_matrix=bt709:out_range=tv,{TAGS.format('bt709', 'tv')}")
FULL_RANGE = ("-vf", f"scale=out_color_matrix=bt709:out_range=pc,{TAGS.format('bt709', 'pc')}")
BT601 = ("-vf", f"scale=out_color_matrix=smpte170m:out_range=tv,{TAGS.format('smpte170m', 'tv')}")
HDR10 = (
    "zscale=tin=bt709:min=bt709:pin=bt709:rin=tv:t=smpte2084:m=bt2020nc:p=bt2020:r=tv,format=yuv420p10le",
    "hdr-opt=1:repeat-headers=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=error:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400",
)


def run_ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg and fail loudly."""
    command = [str(find_ffmpeg()), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def chart(size: str = "320x180", rate: str = "25", frames: int = FRAMES) -> tuple[str, ...]:
    """Input options of a moving test chart."""
    return ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate},trim=end_frame={frames}")


def tone(seconds: float = FRAMES / 25, pitch: int = 440, channels: str = "stereo") -> tuple[str, ...]:
    """Input options of a sine tone."""
    return ("-f", "lavfi", "-i", f"sine=frequency={pitch}:sample_rate=48000:duration={seconds},aformat=cl={channels}")


@dataclass(frozen=True)
class OddClip:
    """A recipe: file name suffix, and arguments between `ffmpeg` and the output (or a builder of its own)."""

    suffix: str
    arguments: tuple[str, ...] = ()
    build: Callable[[Path, Path], object] | None = None


def _rotated(degrees: int) -> Callable[[Path, Path], object]:
    def build(folder: Path, path: Path) -> None:
        run_ffmpeg("-display_rotation", str(degrees), "-i", make_clip("plain", folder), "-c", "copy", path)

    return build


def _edit_list(folder: Path, path: Path) -> None:
    run_ffmpeg("-ss", "0.7", "-i", make_clip("plain", folder), "-c", "copy", path)


def _cover_art(folder: Path, path: Path) -> None:
    cover = folder / "cover.png"
    run_ffmpeg(*chart("64x64", frames=1), "-update", "1", cover)
    maps = ("-map", "1:v", "-map", "0:v", "-map", "0:a", "-c:v:1", "copy", "-c:a", "copy", "-c:v:0", "png")
    run_ffmpeg("-i", make_clip("plain", folder), "-i", cover, *maps, "-disposition:v:0", "attached_pic", path)


def _subtitled(seconds: str) -> Callable[[Path, Path], None]:
    """With a title that stays for so long."""

    def build(folder: Path, path: Path) -> None:
        titles = folder / f"{path.stem}.srt"
        titles.write_text(f"1\n00:00:00,000 --> 00:00:{seconds}\nla la\n")
        run_ffmpeg("-i", make_clip("plain", folder), "-i", titles, "-c", "copy", path)

    return build


VFR = "select='if(lt(t,1),1,not(mod(n,3)))'"
ODD_CLIPS: dict[str, OddClip] = {
    "plain": OddClip(".mp4", (*chart(), *tone(), *SHORT_GOPS, *AAC, *BT709)),
    "silent": OddClip(".mp4", (*chart(), *SHORT_GOPS)),
    "open_gop": OddClip(".mp4", (*chart(), *SHORT_GOPS, "-x264-params", "open-gop=1:b-pyramid=normal")),
    "intra_refresh": OddClip(".mp4", (*chart(), *X264, "-g", "12", "-x264-params", "intra-refresh=1")),
    "slow": OddClip(".mp4", (*chart(rate="5"), *tone(12), *SHORT_GOPS, *AAC)),
    "vfr": OddClip(".mp4", (*chart(frames=90), *tone(3.6), "-vf", VFR, "-fps_mode", "vfr", *SHORT_GOPS, *AAC)),
    "vfr_mkv": OddClip(".mkv", (*chart(frames=90), *tone(3.6), "-vf", VFR, "-fps_mode", "vfr", *SHORT_GOPS, *AAC)),
    "ntsc": OddClip(".mov", (*chart(rate="30000/1001"), *tone(2), *SHORT_GOPS, *AAC)),
    "ntsc_mkv": OddClip(".mkv", (*chart(rate="24000/1001"), *tone(2.5), *SHORT_GOPS, *AAC)),
    "rotated_90": OddClip(".mp4", build=_rotated(90)),
    "rotated_180": OddClip(".mp4", build=_rotated(180)),
    "odd_size": OddClip(".mp4", (*chart(), "-vf", "scale=427:239,setsar=1", *X264[:-1], "yuv444p", "-g", "12")),
    "portrait": OddClip(".mp4", (*chart("180x320"), *tone(), *SHORT_GOPS, *AAC)),
    "anamorphic": OddClip(".mp4", (*chart("360x288"), "-vf", "setsar=64/45", *SHORT_GOPS)),
    "interlaced": OddClip(
        ".mp4",
        (
            *chart("320x240", "50", 2 * FRAMES),
            *("-vf", "tinterlace=interleave_top,fieldorder=tff", "-r", "25"),
            *(*SHORT_GOPS, "-flags", "+ilme+ildct", "-x264opts", "tff=1"),
        ),
    ),
    "long_subtitles": OddClip(".mkv", build=_subtitled("09,000")),
    "film_long_title": OddClip(".mkv", build=_subtitled("02,000")),
    "drop_frame": OddClip(
        ".mov",
        (
            *chart(rate="30000/1001", frames=30),
            *(*tone(1), "-c:v", "prores_ks", "-pix_fmt", "yuv422p10le", "-c:a", "pcm_s16le"),
            *("-timecode", "01:00:00;00", *BT709),
        ),
    ),
    "start_offset": OddClip(".mkv", (*chart(), *tone(), *SHORT_GOPS, *AAC, "-output_ts_offset", "5")),
    "start_offset_mp4": OddClip(".mp4", (*chart(), *tone(), *SHORT_GOPS, *AAC, "-output_ts_offset", "5.012")),
    "late_sound": OddClip(".mp4", (*chart(), "-itsoffset", "0.313", *tone(1.5), *SHORT_GOPS, *AAC)),
    "two_tracks": OddClip(
        ".mp4",
        (
            *(*chart(), *tone(), *tone(3, 660, "5.1"), "-map", "0", "-map", "1", "-map", "2", *SHORT_GOPS),
            *("-c:a:0", "aac", "-c:a:1", "ac3", "-metadata:s:a:1", "language=fra"),
        ),
    ),
    "transport_stream": OddClip(".ts", (*chart(), *tone(), *SHORT_GOPS, *AAC)),
    "program_stream": OddClip(".mpg", (*chart(), *tone(), "-c:v", "mpeg2video", "-bf", "2", "-g", "12", "-c:a", "mp2")),
    "avi": OddClip(".avi", (*chart(), *tone(), "-c:v", "mpeg4", "-bf", "2", "-g", "12", "-c:a", "libmp3lame")),
    "fragmented": OddClip(".mp4", (*chart(), *tone(), *SHORT_GOPS, *AAC, "-movflags", "+frag_keyframe+empty_moov")),
    "edit_list": OddClip(".mp4", build=_edit_list),
    "cover_art": OddClip(".mp4", build=_cover_art),
    "ten_bit": OddClip(".mp4", (*chart(), *X264[:-1], "yuv420p10le", "-g", "12", *BT709)),
    "hevc": OddClip(
        ".mp4",
        (
            *chart(),
            "-vf",
            "setsar=sar=3824/3843:max=9999",
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-x265-params",
            "keyint=12:log-level=error",
        ),
    ),
    "full_range": OddClip(".mp4", (*chart(), *SHORT_GOPS, *FULL_RANGE)),
    "bt601": OddClip(".mp4", (*chart(), *SHORT_GOPS, *BT601)),
    "vp8_vorbis": OddClip(".webm", (*chart(), *tone(), "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis")),
    "vp9_opus": OddClip(
        ".webm",
        (*chart(), *tone(), *("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")),
    ),
    "av1": OddClip(
        ".mp4", (*chart(), "-c:v", "libsvtav1", "-preset", "12", "-g", "12", "-svtav1-params", "pred-struct=1")
    ),
    "hdr": OddClip(
        ".mp4",
        (
            *(*chart(frames=12), "-vf", HDR10[0], "-c:v", "libx265", "-preset", "ultrafast"),
            *("-x265-params", HDR10[1], "-tag:v", "hvc1"),
        ),
    ),
}
"""Every clip but `hdr` reads and writes as it is; `hdr` needs tone mapping."""


def make_clip(kind: str, folder: Path) -> Path:
    """Build an odd clip once; returns its path in `folder`."""
    recipe = ODD_CLIPS[kind]
    path = folder / f"{kind}{recipe.suffix}"
    if path.exists():
        return path
    if recipe.build:
        recipe.build(folder, path)
    else:
        run_ffmpeg(*recipe.arguments, path)
    return path


def sound_packets(path: Path) -> list[list[str]]:
    """MD5 of every packet of every sound track: equal where sound was copied untouched."""
    with av.open(str(path)) as container:
        tracks: dict[int, list[str]] = {stream.index: [] for stream in container.streams.audio}
        for packet in container.demux(*container.streams.audio) if tracks else ():
            if packet.size:
                tracks[packet.stream_index].append(hashlib.md5(bytes(packet)).hexdigest())
    return list(tracks.values())


def _write(content: bytes) -> Callable[[Path, Path], object]:
    return lambda folder, path: path.write_bytes(content)


def _front_moov(folder: Path, path: Path) -> None:
    whole = folder / "whole_front.mp4"
    run_ffmpeg("-i", make_clip("plain", folder), "-c", "copy", "-movflags", "+faststart", whole)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])


def _cut(kind: str) -> Callable[[Path, Path], object]:
    def build(folder: Path, path: Path) -> None:
        whole = make_clip(kind, folder).read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])

    return build


def _scrambled(folder: Path, path: Path) -> None:
    """A good index over pictures overwritten with noise from the middle on."""
    content = bytearray(make_clip("plain", folder).read_bytes())
    start = content.index(b"mdat") + 4
    middle = start + (content.index(b"moov") - start) // 2
    content[middle : middle + 4000] = bytes((7 * index) % 251 for index in range(4000))
    path.write_bytes(content)


def _encoded(*arguments: str) -> Callable[[Path, Path], object]:
    return lambda folder, path: run_ffmpeg(*arguments, path)


def _unreadable(folder: Path, path: Path) -> None:
    path.write_bytes(make_clip("plain", folder).read_bytes())
    path.chmod(0)


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{target}\n#EXT-X-ENDLIST\n"


def _huge(folder: Path, path: Path) -> None:
    """A picture of a few more pixels than are accepted, all alike: a small file."""
    run_ffmpeg("-f", "lavfi", "-i", "color=size=8192x4336:rate=25,trim=end_frame=2", "-c:v", "mjpeg", path)


def write_growing(folder: Path, path: Path) -> Path:
    """Twelve small pictures, then two huge ones, in one stream that begins harmlessly."""
    small, huge, script = (folder / name for name in ("first.mkv", "then.mkv", "both.txt"))
    run_ffmpeg(*chart("320x180", frames=12), "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", small)
    _huge(folder, huge)
    script.write_text(f"ffconcat version 1.0\nfile '{small}'\nfile '{huge}'\n")
    run_ffmpeg("-safe", "0", "-f", "concat", "-i", script, "-c", "copy", path)
    return path


SOUND_PACKETS = 257  # the number by which ffmpeg's transport streams know those of the first sound track


def write_without_sound(folder: Path, path: Path) -> Path:
    """A transport stream that declares a sound track, of which nothing is there."""
    path.write_bytes(b"".join(packet for packet in _transported(folder) if not _is_sound(packet)))
    return path


def write_sound_twice(folder: Path, path: Path) -> Path:
    """A transport stream whose sound comes once more behind its end, with the same time stamps."""
    packets = _transported(folder)
    sound = [packet for packet in packets if _is_sound(packet)]
    following = enumerate(sound, sound[-1][3] + 1)  # their numbers, modulo sixteen, go on
    again = [packet[:3] + bytes([packet[3] & 0xF0 | number % 16]) + packet[4:] for number, packet in following]
    path.write_bytes(b"".join([*packets, *again]))
    return path


def _transported(folder: Path) -> list[bytes]:
    content = make_clip("transport_stream", folder).read_bytes()
    return [content[start : start + 188] for start in range(0, len(content), 188)]


def _is_sound(packet: bytes) -> bool:
    return int.from_bytes(packet[1:3]) & 0x1FFF == SOUND_PACKETS


CROPPED = (288, 160)


def write_cropped(whole: Path, path: Path) -> Path:
    """A copy of an MP4 whose container asks for the `CROPPED` middle of the picture (`clap`)."""
    content = bytearray(whole.read_bytes())
    crop = struct.pack(">I4s8I", 40, b"clap", CROPPED[0], 1, CROPPED[1], 1, 0, 1, 0, 1)
    start, end = 0, 0
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        start = content.index(box, start)
        size = int.from_bytes(content[start - 4 : start])
        content[start - 4 : start] = (size + len(crop)).to_bytes(4)
        end = start - 4 + size
    content[end:end] = crop
    path.write_bytes(content)
    return path


def write_playlist(path: Path, target: Path) -> None:
    """An HLS playlist that names another file."""
    path.write_text(PLAYLIST.format(target=target))


def write_ffconcat(path: Path, target: Path) -> None:
    """An ffconcat script that names another file."""
    path.write_text(f"ffconcat version 1.0\nfile '{target}'\n")


@dataclass(frozen=True)
class BadInput:
    """A file that must be refused: its name, a builder, and words that the one line of refusal must hold."""

    name: str
    build: Callable[[Path, Path], object]
    fault: str


BAD_INPUTS: dict[str, BadInput] = {
    "missing": BadInput("missing.mp4", lambda folder, path: None, "does not exist"),
    "folder": BadInput("folder.mp4", lambda folder, path: path.mkdir(), "is a folder"),
    "unreadable": BadInput("unreadable.mp4", _unreadable, "may not be read"),
    "empty": BadInput("empty.mp4", _write(b""), "is empty"),
    "text": BadInput("text.mp4", _write(b"Dear diary, today I renamed a file.\n" * 200), "not a video"),
    "hls": BadInput("hls.mp4", lambda f, path: write_playlist(path, make_clip("plain", f)), "not a video"),
    "m3u8": BadInput("list.m3u8", lambda f, path: write_playlist(path, make_clip("plain", f)), "not a video"),
    "ffconcat": BadInput("concat.mp4", lambda f, path: write_ffconcat(path, make_clip("plain", f)), "not a video"),
    "image": BadInput("image.png", _encoded(*chart(frames=1)), "not a video"),
    "audio_only": BadInput("audio.mp4", _encoded(*tone(), *AAC), "no video"),
    "truncated": BadInput("truncated.mp4", _front_moov, "cut short"),
    "truncated_no_moov": BadInput("no_moov.mp4", _cut("plain"), "not a video"),
    "truncated_mkv": BadInput("truncated.mkv", _cut("ntsc_mkv"), "cut short"),
    "truncated_subtitled": BadInput("subtitled.mkv", _cut("film_long_title"), "cut short"),
    "truncated_avi": BadInput("truncated.avi", _cut("avi"), "cut short"),
    "truncated_fragments": BadInput("fragments.mp4", _cut("fragmented"), "damaged"),
    "scrambled": BadInput("scrambled.mp4", _scrambled, "damaged"),
    "one_frame": BadInput("one_frame.mp4", _encoded(*chart(frames=1), *X264), "1 frame"),
    "sliver": BadInput("sliver.mkv", _encoded(*chart("7680x2", frames=3), "-c:v", "ffv1"), "7680x2"),
    "tiny": BadInput("tiny.mkv", _encoded(*chart("8x8", frames=3), "-c:v", "ffv1"), "8x8"),
    "huge": BadInput("huge.mkv", _huge, "out of bounds (sides of 16 to 8192"),
    "magicyuv": BadInput("magic.avi", _encoded(*chart(frames=3), "-c:v", "magicyuv"), "magicyuv"),
    "skewed": BadInput("skewed.mp4", lambda f, path: _rotated(30)(f, path), "only quarter turns"),
    "fifo": BadInput("fifo.mp4", lambda folder, path: os.mkfifo(path), "no regular file"),
}
"""`scrambled` is refused when its frames are read, all others when probed."""


def make_bad_input(kind: str, folder: Path) -> Path:
    """Build a bad input once; returns its path in `folder`."""
    recipe = BAD_INPUTS[kind]
    path = folder / recipe.name
    if not path.exists():
        recipe.build(folder, path)
    return path
