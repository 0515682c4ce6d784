"""Where a Matroska or WebM file says that it ends: EBML elements, each an id, a size, and so many bytes (RFC 8794)."""

from pathlib import Path
from typing import BinaryIO

EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")


def declared_end(path: Path) -> int | None:
    """The byte after the last one of the file's first segment; None where it does not tell, or is something else."""
    with path.open("rb") as file:
        if file.read(len(EBML)) != EBML or (header := _read_size(file)) is None:
            return None
        file.seek(header, 1)
        if file.read(len(SEGMENT)) != SEGMENT or (size := _read_size(file)) is None:
            return None
        return file.tell() + size


def _read_size(file: BinaryIO) -> int | None:
    """A number of variable length: its leading zeros tell how many bytes follow. All ones are an unknown size."""
    first = file.read(1)
    length = 9 - first[0].bit_length() if first and first[0] else 0
    rest = file.read(length - 1) if length else b""
    if not length or len(rest) != length - 1:
        return None
    number = int.from_bytes(first + rest) - (1 << 7 * length)
    return None if number == (1 << 7 * length) - 1 else number
