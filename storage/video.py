"""Frames of a video file in, frames of an edited video out: exact to the frame, one ffmpeg at a time, constant memory.

Frames are RGB, uint8 for sources of eight bits and uint16 (full range) for deeper ones, upright, on the model's canvas:
the picture fitted in, its edges repeated over the padding. Knows nothing of segments' meaning or of models.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from model.errors import RunError
from model.types import Span
from storage.colour import to_rgb
from storage.decoding import decode
from storage.durable import publish
from storage.encoding import Codec, encode, encoded_colour
from storage.ffmpeg import has_filter
from storage.geometry import Fit
from storage.mux import choose_suffix, mux
from storage.planes import Layout, Planes, encode_planes
from storage.probe import VideoInfo
from storage.source_file import refuse

LONGEST_SKIP = 300  # frames; behind a longer gap between spans, decoding starts anew
TONE_MAP_FILTERS = ("zscale", "tonemap")


def require_displayable(info: VideoInfo, *, tone_map: bool) -> None:
    """Refuse what would silently be clipped.

    Raises:
        VideoError: the video is HDR or wide gamut and shall not be tone-mapped, or the ffmpeg at hand cannot do it.
    """
    if not info.hdr:
        return
    if not tone_map:
        kind = (info.colour.is_brighter and info.colour.transfer) or "bt2020"
        raise refuse(info.path, f"is HDR or wide gamut ({kind}); ask for tone mapping, or convert it to BT.709 first")
    missing = [name for name in TONE_MAP_FILTERS if not has_filter(name)]
    if missing:
        raise refuse(info.path, f"is HDR, and this ffmpeg lacks {', '.join(missing)}; set MEMORY_V2V_FFMPEG to another")


def read_frames(info: VideoInfo, span: Span, fit: Fit, *, tone_map: bool = False) -> Generator[np.ndarray, None, None]:
    """The frames [H, W, 3] of a span, in order, on the model's canvas; closing the iterator ends the decoder.

    Raises:
        VideoError: the video is HDR and not to be tone-mapped (at once), or a frame does not decode (on the way).
    """
    assert span.stop <= info.frames, f"{span} reaches beyond the {info.frames} frames of {info.path}"
    require_displayable(info, tone_map=tone_map)
    filters = to_rgb(info, fit.inner.width, fit.inner.height, tone_map=tone_map)
    return _on_canvas(decode(info, span, filters, fit.inner.height, fit.inner.width, info.bit_depth), fit)


def read_spans(info: VideoInfo, spans: Sequence[Span], fit: Fit, *, tone_map: bool = False) -> Iterator[np.ndarray]:
    """The frames [n, H, W, 3] of each span, from one pass over the video.

    Spans ascend and may overlap; only the frames of the current one are held. Short gaps are decoded over, long ones
    skipped.
    """
    for run in _runs(spans, LONGEST_SKIP if info.keyframes else info.frames):
        with closing(read_frames(info, Span(run[0].start, run[-1].stop), fit, tone_map=tone_map)) as frames:
            yield from _gather(frames, run)


def read_thumbnails(info: VideoInfo, height: int = 36, width: int = 64) -> Iterator[np.ndarray]:
    """Every frame of the video as uint8 [height, width, 3], stretched; proof that the whole video decodes.

    Raises:
        VideoError: a frame does not decode, or there are more or fewer than the index names.
    """
    filters = [f"scale={width}:{height}:flags=area"]
    return decode(info, Span(0, info.frames), filters, height, width, 8)


def eight_bits(frame: np.ndarray) -> np.ndarray:
    """A frame of 16 bits as uint8; one of eight as it is."""
    return frame if frame.dtype == np.uint8 else (frame >> 8).astype(np.uint8)


def write_video(frames: Iterable[np.ndarray], like: VideoInfo, fit: Fit, path: Path, codec: Codec = "h264") -> Path:
    """Write edited frames [H, W, 3] as a video that differs from `like` only in its pictures and its codec.

    Size, sample aspect, time stamps, colour tags and timecode are those of the source (upright and progressive, and
    BT.709 where it was HDR); its sound is copied packet for packet. The file appears whole or not at all.

    Returns:
        the path written; its suffix changes where codec or sound cannot live in the one asked for.

    Raises:
        RunError: another number of frames than the source has, or the encoder or the disk failed.
    """
    return _write(lambda encoded: encode(frames, like, fit, encoded, codec), like, path, codec)


def write_planes(frames: Iterable[Planes], like: VideoInfo, layout: Layout, path: Path, codec: Codec = "h264") -> Path:
    """The same of frames at the source's full size, in its own planes (`storage/planes.py`).

    Raises:
        RunError: as `write_video`.
    """
    return _write(lambda encoded: encode_planes(frames, like, layout, encoded, codec), like, path, codec)


def _write(encode_to: Callable[[Path], int], like: VideoInfo, path: Path, codec: Codec) -> Path:
    target = path.absolute().with_suffix(choose_suffix(like, codec, path.suffix))
    encoded = target.with_name(f".{target.stem}.encoding.mov")
    muxed = target.with_name(f".{target.stem}.muxing{target.suffix}")
    try:
        count = encode_to(encoded)
        if count != like.frames:
            raise RunError(f"{target}: {count} frames were given, but {like.path} has {like.frames}")
        mux(encoded, like, encoded_colour(like, codec), muxed)
        publish(muxed, target)
    finally:
        encoded.unlink(missing_ok=True)
        muxed.unlink(missing_ok=True)
    return target


def _on_canvas(frames: Generator[np.ndarray, None, None], fit: Fit) -> Generator[np.ndarray, None, None]:
    """Repeat the picture's edges over the padding; where there is none, frames are handed on as they are."""
    width, height = fit.model
    if (width, height) == (fit.inner.width, fit.inner.height):
        yield from frames
        return
    left, top = fit.inner.x, fit.inner.y
    right, bottom = width - left - fit.inner.width, height - top - fit.inner.height
    with closing(frames):
        for frame in frames:
            yield np.pad(frame, ((top, bottom), (left, right), (0, 0)), mode="edge")


def _runs(spans: Sequence[Span], longest_skip: int) -> Iterator[list[Span]]:
    """Spans that are read in one go: those with no long gap between them."""
    run: list[Span] = []
    for span in spans:
        if run:
            assert span.start >= run[-1].start, "spans must ascend"
            assert span.stop >= run[-1].stop, "spans must ascend"
            if span.start - run[-1].stop > longest_skip:
                yield run
                run = []
        run.append(span)
    if run:
        yield run


def _gather(frames: Iterator[np.ndarray], spans: Sequence[Span]) -> Iterator[np.ndarray]:
    held: dict[int, np.ndarray] = {}
    numbered = enumerate(frames, spans[0].start)
    for span in spans:
        held = {number: frame for number, frame in held.items() if number >= span.start}
        while span.stop - 1 not in held:
            number, frame = next(numbered)
            if number >= span.start:
                held[number] = frame
        yield np.stack([held[number] for number in range(span.start, span.stop)])
