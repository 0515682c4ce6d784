"""Opening somebody else's video with PyAV: regular files only, white lists, no nested opens, one clear error.

Knows nothing of what the streams mean; `storage/probe.py` does.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from model.errors import VideoError
from storage.ffmpeg import MAX_PIXELS, MAX_STREAMS, SOURCE_OPTIONS

OPEN_TIMEOUT = (10.0, 60.0)  # seconds to open, seconds for one read
READ_BUFFER = 2**20


def refuse(path: Path, fault: str) -> VideoError:
    """The one line a user gets to see: the file, then the fault. Control characters in names are shown escaped."""
    name = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(path))
    return VideoError(f"{name}: {fault}")


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """The streams of a video file.

    Raises:
        VideoError: it is no regular, readable, non-empty file, or none of an accepted kind; also for every failure of
            the FFmpeg libraries inside the block.
    """
    with open_regular(path) as file:
        try:
            with _open_streams(path, file) as container:
                yield container
        except (FFmpegError, OSError) as error:
            raise refuse(path, f"is damaged ({error.strerror})") from error


def _open_streams(path: Path, file: BinaryIO) -> InputContainer:
    options = {name: str(value) for name, value in SOURCE_OPTIONS.items()} | {"max_streams": str(MAX_STREAMS + 1)}
    try:
        container = av.open(
            file,
            "r",
            options=options,
            metadata_errors="replace",
            timeout=OPEN_TIMEOUT,
            io_open=_deny,
            buffer_size=READ_BUFFER,
        )
    except (FFmpegError, OSError) as error:
        fault = "not a video of an accepted kind (mov, mp4, mkv, webm, avi, ts, mpg, mxf), or its index is lost"
        raise refuse(path, fault) from error
    if len(container.streams) > MAX_STREAMS:
        container.close()
        raise refuse(path, f"has more than {MAX_STREAMS} streams")
    return container


def demux(path: Path, container: InputContainer, *streams: Stream) -> Iterator[Packet]:
    """The packets of some streams, in the order of the file."""
    try:
        yield from container.demux(*streams)
    except IndexError as error:  # how PyAV puts it
        raise refuse(path, "is damaged, or a stream begins in the middle of it; rewrap it with ffmpeg") from error


def limit_pixels(stream: VideoStream) -> None:
    """Make the decoder refuse absurd pictures before it allocates them; call this before decoding."""
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}


def _deny(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    """Refuse every file that a file asks for."""
    raise PermissionError(f"nested open of {url!r} refused")


def open_regular(path: Path) -> BinaryIO:
    """A file for reading, and no pipe or device under its name.

    Raises:
        VideoError: it is no regular, readable, non-empty file.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:  # no flow run can be called so
        raise refuse(path, "has a name that is not UTF-8; rename it") from None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # non-blocking: a FIFO must not hang
    except FileNotFoundError:
        raise refuse(path, "does not exist") from None
    except PermissionError:
        raise refuse(path, "may not be read; check its permissions") from None
    except (OSError, ValueError) as error:
        raise refuse(path, f"cannot be opened ({error})") from None
    try:
        _require_regular(path, os.fstat(descriptor))
    except VideoError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _require_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise refuse(path, "is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise refuse(path, "is no regular file")
    if status.st_size == 0:
        raise refuse(path, "is empty (zero bytes)")
