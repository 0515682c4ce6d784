"""Reading other people's text files: regular files only, within a size, a line at a time."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from model.errors import RequestError

MAX_LINE = 2**20  # bytes
MARK = b"\xef\xbb\xbf"  # that some editors put before UTF-8


@dataclass(frozen=True)
class Line:
    """One line of a file; `fault` says why there is no text."""

    number: int
    text: str
    fault: str | None = None


@contextmanager
def open_text(path: Path) -> Iterator[BinaryIO]:
    """A file of somebody else, open for reading.

    Raises:
        RequestError: it is missing, no regular file, or may not be read.
    """
    with os.fdopen(_open(path), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise RequestError(f"{path}: is no regular file")
        yield file


def _open(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # non-blocking: a FIFO must not hang
    except FileNotFoundError:
        raise RequestError(f"{path}: no such file") from None
    except (OSError, ValueError) as fault:
        raise RequestError(f"{path}: cannot be read ({fault})") from None
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):  # of which Python makes no file object
        os.close(descriptor)
        raise RequestError(f"{path}: is a folder, not a file")
    return descriptor


def read_small(path: Path, most: int) -> str:
    """The text of a file of at most `most` bytes.

    Raises:
        RequestError: it cannot be read, is larger, or is not UTF-8.
    """
    with open_text(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise RequestError(f"{path}: is larger than {most:,} bytes")
    try:
        return content.removeprefix(MARK).decode()
    except UnicodeDecodeError:
        raise RequestError(f"{path}: is not UTF-8") from None


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines of a file, none longer than `MAX_LINE` in memory, each with its end as it stands."""
    number = 0
    while content := file.readline(MAX_LINE + 1):
        number += 1
        if len(content) > MAX_LINE and not content.endswith(b"\n"):
            _skip_line(file)
            yield Line(number, "", f"is longer than {MAX_LINE:,} bytes")
            continue
        try:
            yield Line(number, (content.removeprefix(MARK) if number == 1 else content).decode())
        except UnicodeDecodeError as fault:
            yield Line(number, "", f"is not UTF-8 (byte {fault.start + 1})")


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
        pass
