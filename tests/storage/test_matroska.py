"""The end that a Matroska file declares."""

from pathlib import Path

import pytest

from storage.matroska import EBML, SEGMENT, declared_end
from tests.clips import make_clip

HEADER = EBML + b"\x83abc"


def test_a_whole_file_ends_where_it_says(clips: Path) -> None:
    path = make_clip("long_subtitles", clips)
    assert declared_end(path) == path.stat().st_size


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (HEADER + SEGMENT + b"\x85", 8 + 5 + 5),
        (HEADER + SEGMENT + b"\x40\x85", 8 + 6 + 0x85),
        (HEADER + SEGMENT + b"\x01" + (2**40).to_bytes(7), 8 + 12 + 2**40),
        (HEADER + SEGMENT + b"\xff", None),
        (HEADER + SEGMENT + b"\x01" + b"\xff" * 7, None),
        (HEADER + SEGMENT + b"\x01\x00", None),
        (HEADER + SEGMENT + b"\x00", None),
        (HEADER + b"\xec\x80\x00\x00\x80", None),
        (HEADER[:5], None),
        (EBML, None),
        (b"", None),
        (b"RIFF", None),
    ],
)
def test_sizes_are_read_as_they_are_written(content: bytes, end: int | None, tmp_path: Path) -> None:
    (tmp_path / "file.mkv").write_bytes(content)
    assert declared_end(tmp_path / "file.mkv") == end
