"""Running ffmpeg: which binary, with which locks on, and how its pipes are read and written.

ffmpeg-python builds the command lines and nothing else; the processes are ours, because a pipe whose standard error
nobody reads fills up and hangs. Every source is opened behind white lists of protocols, containers and codecs: a text
file may be a playlist that names other files. Knows nothing of frames, colours or time stamps.
"""

import fcntl
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO

import ffmpeg
from ffmpeg.nodes import FilterableStream, OutputStream

from model.errors import RunError

CONTAINERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "mxf")
VIDEO_CODECS = ("h264", "hevc", "av1", "vp8", "vp9", "prores", "dnxhd", "ffv1", "mpeg2video", "mpeg4", "mjpeg")
DECODERS = (*VIDEO_CODECS, "libdav1d", "libvpx", "libvpx-vp9")
AUDIO_DECODERS = ("aac", "ac3", "eac3", "mp3", "mp3float", "opus", "vorbis", "flac", "alac", "pcm_s16le", "pcm_s24le")
MAX_PIXELS = 8192 * 4320
MAX_STREAMS = 32
MAX_ALLOCATION = 2**31  # bytes in one block
MAX_DECODER_BYTES = 16 * 2**30  # of address space: the largest pictures on sixteen threads take half of it
PIPE_BYTES = 2**20  # Linux gives 64 KiB, which a frame crosses in hundreds of turns, each a wait for Python's lock
STALL_SECONDS = 120.0
GRACE_SECONDS = 5.0

SOURCE_OPTIONS: dict[str, str | int] = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(CONTAINERS),
    "codec_whitelist": ",".join((*DECODERS, *AUDIO_DECODERS)),
    "max_pixels": MAX_PIXELS,
    "max_streams": MAX_STREAMS,
    "probesize": 20_000_000,
    "analyzeduration": 10_000_000,
}
"""Options in front of every source that somebody else made."""


class FfmpegError(RunError):
    """ffmpeg is missing, failed, or made no progress; the message is the first of ffmpeg's last lines, if any."""


def find_ffmpeg() -> Path:
    """The ffmpeg to use: `MEMORY_V2V_FFMPEG`, else the one on the path, else the one of imageio-ffmpeg.

    Raises:
        FfmpegError: there is none.
    """
    named = os.environ.get("MEMORY_V2V_FFMPEG")
    if named:
        found = shutil.which(named)
        if found is None:
            raise FfmpegError(f"MEMORY_V2V_FFMPEG names {named}, which is no program; set it to an ffmpeg or unset it")
        return Path(found).absolute()
    found = shutil.which("ffmpeg")
    return Path(found).absolute() if found else _bundled_ffmpeg()


def _bundled_ffmpeg() -> Path:
    import imageio_ffmpeg

    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise FfmpegError("no ffmpeg found; install ffmpeg, or set MEMORY_V2V_FFMPEG to one") from error


@cache
def _ask(binary: Path, *question: str) -> str:
    command = [str(binary), "-hide_banner", "-nostdin", *question]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=_environment(), check=True)
    except (OSError, subprocess.SubprocessError) as fault:
        raise FfmpegError(f"{binary} does not run ({fault}); set MEMORY_V2V_FFMPEG to another ffmpeg") from fault
    return done.stdout


def version() -> str:
    """Version of the ffmpeg that `find_ffmpeg` finds, such as `9.0.2`."""
    found = re.search(r"ffmpeg version n?(\S+)", _ask(find_ffmpeg(), "-version"))
    return found.group(1) if found else "unknown"


def has_filter(name: str) -> bool:
    """Whether the ffmpeg at hand was built with a filter."""
    return re.search(rf"^ \S+ +{re.escape(name)} ", _ask(find_ffmpeg(), "-filters"), re.MULTILINE) is not None


def open_source(path: Path, **options: str | int | None) -> FilterableStream:
    """A source for `compile_command`: absolute, so that no name is taken for an option, a protocol or a pattern.

    A crop that the container asks for is left out, as in the size that `probe` tells.
    """
    whole = {"apply_cropping": "codec"} if _crops_by_container() else {}
    return ffmpeg.input(f"file:{path.absolute()}", **SOURCE_OPTIONS, **whole, **options)


def _crops_by_container() -> bool:
    """Whether the ffmpeg at hand obeys a container's crop, which it does from 7.1 on."""
    return "\n-apply_cropping" in _ask(find_ffmpeg(), "-h", "long")


def compile_command(output: OutputStream, *switches: str) -> list[str]:
    """The command line that makes an output; the first error of any kind ends it."""
    locks = ("-hide_banner", "-loglevel", "error", "-nostdin", "-xerror", "-max_alloc", str(MAX_ALLOCATION))
    binary, *arguments = ffmpeg.compile(output, cmd=str(find_ffmpeg()), overwrite_output=True)
    return [str(word) for word in (binary, *locks, *switches, *arguments)]


class Pipe:
    """One running ffmpeg, its raw video going in or coming out through a pipe. Leaving the block ends it.

    It runs in a process group and with an environment of its own, without the caller's secrets. A read or a write that
    moves no byte for `stall_seconds` kills it; before the first byte it may have `silent_seconds` of work to do.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        feeds: bool = False,
        stall_seconds: float = STALL_SECONDS,
        silent_seconds: float = 0.0,
    ) -> None:
        self._stall_seconds, self._silent_seconds = stall_seconds, silent_seconds
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if feeds else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if feeds else subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env=_environment(),
        )
        _limit(self._process.pid, writes_files=feeds)
        self._frames = _widened(self._process.stdin if feeds else self._process.stdout)
        self._errors: deque[bytes] = deque(maxlen=20)
        self._drain = threading.Thread(target=self._drain_errors, daemon=True)
        self._drain.start()

    def __enter__(self) -> "Pipe":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def read_into(self, buffer: memoryview) -> int:
        """Fill `buffer`; returns the bytes read, fewer than asked for only at the end of the stream."""
        filled = 0
        while filled < len(buffer):
            try:
                count = os.readv(self._frames.fileno(), [buffer[filled:]])
            except BlockingIOError:
                self._wait_until_ready(select.POLLIN)
                continue
            if count == 0:
                break
            self._silent_seconds = 0.0
            filled += count
        return filled

    def write(self, data: memoryview) -> None:
        """Write all of `data`.

        Raises:
            FfmpegError: ffmpeg has ended, or takes nothing any more.
        """
        while data:
            try:
                data = data[os.write(self._frames.fileno(), data) :]
            except BlockingIOError:
                self._wait_until_ready(select.POLLOUT)
            except BrokenPipeError:
                self.finish()
                raise FfmpegError("ffmpeg closed its input before the end") from None

    def finish(self) -> None:
        """Wait for a proper end.

        Raises:
            FfmpegError: ffmpeg reports a failure, or does not end.
        """
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            code = self._process.wait(self._stall_seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise FfmpegError(f"ffmpeg did not end within {self._stall_seconds:.0f} s") from None
        self._drain.join(GRACE_SECONDS)
        if code != 0:
            raise FfmpegError(self._first_error() or f"ffmpeg ended with exit code {code}")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """End it at once, whatever it is doing; harmless when it has ended."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
        self._drain.join(GRACE_SECONDS)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _wait_until_ready(self, event: int) -> None:
        poll = select.poll()
        poll.register(self._frames, event)
        patience = self._stall_seconds + self._silent_seconds
        if not poll.poll(patience * 1000):
            self.stop()
            raise FfmpegError(f"ffmpeg made no progress for {patience:.0f} s and was stopped")

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:  # it ended in between
            return

    def _drain_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.append(line[:500])

    def _first_error(self) -> str:
        """The first of the last lines: those behind it tell what came of it."""
        lines = [line.decode(errors="replace").strip() for line in self._errors]
        told = [re.sub(r"^(\[[^]]*\] )+", "", line) for line in lines if line]
        return told[0] if told else ""


def _widened(pipe: IO[bytes] | None) -> IO[bytes]:
    """Our end of a pipe, which never blocks, and holds more where the system lets it."""
    assert pipe is not None
    os.set_blocking(pipe.fileno(), False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(PermissionError):  # a user has so much for all pipes together
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return pipe


def _environment() -> dict[str, str]:
    kept = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
    frugal = {"MALLOC_ARENA_MAX": "4"}  # else every thread claims address space that it never uses
    return {"LC_ALL": "C", **frugal, **{name: os.environ[name] for name in kept if name in os.environ}}


def _limit(pid: int, *, writes_files: bool) -> None:
    """No core dumps; a reader may not write a byte to any file, nor eat all memory. Linux only, elsewhere no locks.

    Processor time has no limit: an honest video may take hours, and one that makes no progress is stopped by the clock.
    """
    if not hasattr(resource, "prlimit"):
        return
    try:
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        if not writes_files:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))
            resource.prlimit(pid, resource.RLIMIT_AS, (MAX_DECODER_BYTES, MAX_DECODER_BYTES))
    except ProcessLookupError:  # it ended in between
        return
