"""The lines of a text file, one at a time, that somebody else wrote (`storage/foreign_text.py` opens it)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from storage.foreign_text import MARK

MAX_LINE = 2**20  # bytes


@dataclass(frozen=True)
class Line:
    """One line of a file; `fault` says why there is no text."""

    number: int
    text: str
    fault: str | None = None


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
