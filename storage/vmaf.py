"""VMAF of two video files, by ffmpeg's libvmaf. Frames are paired by number, whatever their time stamps.

libvmaf writes its log, one line a frame, when it has seen the last one: until then ffmpeg is silent. Its motion
features look at the frame before, over cuts too: that is the standard, and left as it is.
"""

from collections.abc import Iterator

import ffmpeg
import numpy as np

from model.errors import RunError
from model.metrics.score import Measurement, NotMeasured, mean_score
from storage.ffmpeg import FfmpegError, Pipe, compile_command, has_filter, open_source
from storage.probe import VideoInfo

MODEL = "version=vmaf_v0.6.1"
COLUMN = "vmaf"
BLOCK = 1 << 16  # bytes
FRAME_SECONDS = 1.0  # that the comparison of a frame may take


def vmaf(source: VideoInfo, edit: VideoInfo) -> Measurement:
    """VMAF (Netflix, model vmaf_v0.6.1) of an edit against its source: 0 to 100, higher is nearer; a mean over frames.

    For a change that viewers should not see, such as a codec's: an edit is meant to be seen. As 8-bit 4:2:0.

    Raises:
        RunError: a file does not decode, or the two differ in size or length.
    """
    if not has_filter("libvmaf"):
        return NotMeasured("needs an ffmpeg with libvmaf, such as that of imageio-ffmpeg; set MEMORY_V2V_FFMPEG to one")
    if (source.width, source.height, source.frames) != (edit.width, edit.height, edit.frames):
        raise RunError(f"{edit.path}: {_shape(edit)}, but {source.path} has {_shape(source)}; VMAF compares equals")
    try:
        return mean_score(np.array(list(_values(source, edit))), "frames")
    except FfmpegError as error:
        raise RunError(f"{edit.path}: cannot be compared with {source.path} ({error})") from error


def _shape(info: VideoInfo) -> str:
    return f"{info.frames} frames of {info.width}x{info.height}"


def _values(source: VideoInfo, edit: VideoInfo) -> Iterator[float]:
    """VMAF of every frame."""
    column: int | None = None
    with Pipe(_command(source, edit), silent_seconds=source.frames * FRAME_SECONDS) as pipe:
        for line in _lines(pipe):
            fields = line.split(",")
            if column is None:
                column = fields.index(COLUMN)
            elif len(fields) > column:
                yield float(fields[column])
        pipe.finish()


def _command(source: VideoInfo, edit: VideoInfo) -> list[str]:
    same = ("N/(25*TB)", "N/25/TB")  # two ways to say so: ffmpeg-python takes equal filters of one file for one
    distorted, reference = (
        open_source(info.path)[str(info.stream)].filter("setpts", stamps).filter("format", "yuv420p")
        for info, stamps in zip((edit, source), same, strict=True)
    )
    compared = ffmpeg.filter(
        [distorted, reference], "libvmaf", model=MODEL, log_fmt="csv", log_path="/dev/stdout", shortest=1
    )
    return compile_command(ffmpeg.output(compared, "-", format="null", fps_mode="passthrough"))


def _lines(pipe: Pipe) -> Iterator[str]:
    """Whole lines of what ffmpeg writes."""
    rest, buffer = b"", bytearray(BLOCK)
    while count := pipe.read_into(memoryview(buffer)):
        *whole, rest = (rest + buffer[:count]).split(b"\n")
        yield from (line.decode("ascii", "replace") for line in whole)
