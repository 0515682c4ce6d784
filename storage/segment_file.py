"""Edited segments on disk: FFV1, lossless to the bit, in Matroska, with a checksum over everything encoded.

Written and read in-process with PyAV. A segment may have come with a foreign archive, and its checksum with it: it is
opened behind the same locks as any video, and decoded only if it is what we write. Knows nothing of sources.
"""

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from model.errors import RunError, VideoError
from storage.durable import whole_file
from storage.source_file import limit_pixels, open_container

CODEC = "ffv1"
RATE = 25  # nominal; a segment file has frames, no times
PIXELS = {"uint8": ("rgb24", "bgr0"), "uint16": ("rgb48le", "gbrp16le")}  # in memory, in the file
IN_MEMORY = {stored: memory for memory, stored in PIXELS.values()}
REPRODUCIBLE = {"fflags": "+bitexact"}  # no random ids, no version


def write_segment(frames: Iterable[np.ndarray], path: Path) -> None:
    """Write frames [H, W, 3], uint8 or uint16, so that `read_segment` returns the same bits. Whole or not at all.

    Raises:
        RunError: the file could not be written.
    """
    try:
        with whole_file(path) as unfinished:
            _write(frames, unfinished)
    except OSError as error:
        raise RunError(f"{path}: could not be written ({error.strerror})") from error


def _write(frames: Iterable[np.ndarray], path: Path) -> None:
    frames = iter(frames)
    first = next(frames, None)
    assert first is not None, "a segment has frames"
    memory, stored = PIXELS[first.dtype.name]
    with av.open(f"file:{path}", "w", format="matroska", container_options=REPRODUCIBLE) as container:
        stream = container.add_stream(CODEC, rate=RATE, options={"level": "3", "slices": "4", "g": "1"})
        stream.height, stream.width, stream.pix_fmt = *first.shape[:2], stored
        packets = []
        for array in chain([first], frames):
            assert (array.dtype, array.shape) == (first.dtype, first.shape), f"{array.dtype} {array.shape}"
            packets += stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(array), memory))
        packets += stream.encode()
        container.metadata["CRC32"] = _told(packets)  # the header comes first, so the packets wait for it
        container.mux(packets)


def _told(packets: Iterable[av.Packet]) -> str:
    """How many packets there are, and their joint checksum."""
    count = checksum = 0
    for packet in packets:
        count, checksum = count + 1, zlib.crc32(packet, checksum)
    return f"{count} {checksum:08x}"


def read_segment(path: Path) -> Iterator[np.ndarray]:
    """The frames [H, W, 3] of a segment file.

    Raises:
        RunError: it is missing, damaged, or cut short: before the first frame, as the file is checked first.
    """
    try:
        with open_container(path) as container:
            is_whole = container.metadata.get("CRC32") == _told(packet for packet in container.demux() if packet.size)
        if not is_whole:
            raise RunError(f"{path}: is damaged or cut short; edit the segment again")
        with open_container(path) as container:
            for frame in container.decode(_pictures(path, container)):
                yield _to_array(path, frame)
    except VideoError as fault:
        raise RunError(f"{fault}; edit the segment again") from fault


def first_frame(path: Path) -> np.ndarray:
    """The first frame [H, W, 3] of a segment file, for a small picture of it: the rest is neither read nor checked.

    Raises:
        RunError: it is missing, or damaged before its first frame ends.
    """
    try:
        with open_container(path) as container:
            for frame in container.decode(_pictures(path, container)):
                return _to_array(path, frame)
    except VideoError as fault:
        raise RunError(f"{fault}; edit the segment again") from fault
    raise RunError(f"{path}: has no frame; edit the segment again")


def _pictures(path: Path, container: InputContainer) -> VideoStream:
    """The one stream of a segment, which the codec we use has written."""
    kinds = [stream.codec_context.name if stream.codec_context else "unknown" for stream in container.streams]
    if kinds != [CODEC]:
        found = ", ".join(kinds) or "nothing"
        raise RunError(f"{path}: is no segment: it holds {found}, expected {CODEC} alone; edit the segment again")
    limit_pixels(container.streams.video[0])
    return container.streams.video[0]


def _to_array(path: Path, frame: av.VideoFrame) -> np.ndarray:
    if frame.format.name not in IN_MEMORY:
        wanted = " or ".join(IN_MEMORY)
        raise RunError(f"{path}: is no segment: pixels are {frame.format.name}, not {wanted}; edit the segment again")
    return frame.to_ndarray(format=IN_MEMORY[frame.format.name])
