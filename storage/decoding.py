"""Decoding a span of frames with one ffmpeg, exact to the frame.

Where the container's index can be trusted, ffmpeg enters at a key frame well before the span and drops, by time stamp,
what comes before; elsewhere it decodes from the start and counts. Either way the frames are counted again.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from fractions import Fraction

import av
import ffmpeg
import numpy as np

from model.types import Span
from storage.colour import pixel_format
from storage.ffmpeg import FfmpegError, Pipe, compile_command, open_source
from storage.probe import VideoInfo
from storage.source_file import limit_pixels, open_container, refuse

TRIED_ENTRIES = 4  # key frames tried before the file is decoded from its start
SKIPPED_SECONDS = 0.2  # that a frame may take which is decoded on the way to a span, and not shown


def decode(
    info: VideoInfo, span: Span, filters: Sequence[str], height: int, width: int, bits: int
) -> Generator[np.ndarray, None, None]:
    """The frames [height, width, 3] of a span as the filters leave them, uint8 for 8 `bits` and uint16 above.

    Raises:
        VideoError: a frame does not decode; for the whole video, also when more do than it should have.
    """
    dtype = np.dtype(np.uint8 if bits <= 8 else np.uint16)
    with closing(decode_raw(info, span, filters, pixel_format(bits), height * width * 3 * dtype.itemsize)) as frames:
        for frame in frames:
            yield frame.view(dtype).reshape(height, width, 3)


def decode_raw(
    info: VideoInfo, span: Span, filters: Sequence[str], pixels: str, size: int
) -> Generator[np.ndarray, None, None]:
    """The frames of a span, as the filters leave them, in any of FFmpeg's pixel formats: `size` bytes each.

    Raises:
        VideoError: as `decode`.
    """
    entry = _entry(info, span.start)
    command, skipped = _command(info, span, filters, pixels, entry), span.start - (entry or 0)
    try:
        with Pipe(command, silent_seconds=skipped * SKIPPED_SECONDS) as pipe:
            for number in range(span.start, span.stop):
                frame = np.empty(size, np.uint8)
                if pipe.read_into(frame.data) < size:
                    pipe.finish()
                    raise refuse(info.path, f"is damaged: frame {number} of {info.frames} does not decode")
                yield frame
            if pipe.read_into(memoryview(bytearray(1))):
                raise refuse(info.path, f"is damaged: more frames decode than the {info.frames} of its index")
            pipe.finish()
    except FfmpegError as error:
        raise refuse(info.path, f"is damaged or cannot be decoded ({error})") from error


def _command(info: VideoInfo, span: Span, filters: Sequence[str], pixels: str, entry: int | None) -> list[str]:
    changing = _take_changes(info, filters)
    source = open_source(info.path, **_seek(info, entry), **changing)[str(info.stream)]
    graph = filters if len(span) == info.frames else _trim(info, span, filters, by_count=not info.keyframes)
    graph = ["scale=interl=-1", *graph] if changing and info.interlaced else graph
    output = ffmpeg.output(
        source, "pipe:1", format="rawvideo", pix_fmt=pixels, vf=",".join(graph), fps_mode="passthrough", an=None
    )
    return compile_command(output, "-copyts")


def _entry(info: VideoInfo, start: int) -> int | None:
    """The key frame at which decoding begins; None is the start of the file.

    The last key frame before the span is passed over, as pictures behind it may lean on what came before it. Streams
    that refresh gradually need still earlier ones: the decoder shows nothing until its picture is whole.
    """
    earlier = [key for key in info.keyframes if 0 < key <= start][:-1]
    return next((key for key in reversed(earlier[-TRIED_ENTRIES:]) if _shows_in_time(info, key, start)), None)


def _shows_in_time(info: VideoInfo, key: int, start: int) -> bool:
    """Whether decoding that begins at a key frame has begun to show pictures when the span begins."""
    with open_container(info.path) as container:
        stream = next(stream for stream in container.streams.video if stream.index == info.stream)
        limit_pixels(stream)
        container.seek(int(_entry_seconds(info, key) * av.time_base))
        first = next(container.decode(stream), None)
        return first is not None and first.pts is not None and first.pts <= info.pts[start]


def _entry_seconds(info: VideoInfo, key: int) -> Fraction:
    """A time half a frame behind a key frame, so that rounding cannot miss it."""
    return (info.pts[key] + info.pts[key + 1]) * info.time_base / 2


def _seek(info: VideoInfo, entry: int | None) -> dict[str, str | int | None]:
    if entry is None:
        return {}
    return {"ss": f"{float(_entry_seconds(info, entry)):.6f}", "seek_timestamp": 1, "noaccurate_seek": None}


def _take_changes(info: VideoInfo, filters: Sequence[str]) -> dict[str, int]:
    """Options by which frames that change their size or tags on the way go through one and the same graph.

    A graph that is built anew counts from zero again, and a deinterlacer loses a frame with it. But of all filters only
    the scaler takes such frames safely, so it stands first; where ffmpeg turns pictures ahead of it, graphs are built.
    """
    scaled_first = info.interlaced or filters[0].startswith("scale=")
    return {"reinit_filter": 0} if scaled_first and not info.rotation else {}


def _trim(info: VideoInfo, span: Span, filters: Sequence[str], *, by_count: bool) -> list[str]:
    """The filters, with all frames outside the span dropped as early as may be: a deinterlacer sees the neighbours."""
    first = 1 if info.interlaced else 0
    if by_count:
        trim = f"trim=start_frame={span.start}:end_frame={span.stop}"
    else:
        end = info.pts[span.stop] if span.stop < info.frames else info.pts[-1] + 1
        clock = f"settb={info.time_base.numerator}/{info.time_base.denominator}"
        trim = f"{clock},trim=start_pts={info.pts[span.start]}:end_pts={end}"
    return [*filters[:first], trim, *filters[first:]]
