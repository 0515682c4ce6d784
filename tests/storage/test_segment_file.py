"""Segments come back to the bit, or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from model.errors import RunError
from storage import segment_file
from storage.segment_file import first_frame, read_segment, write_segment
from tests.clips import X264, chart, run_ffmpeg, tone, write_ffconcat


def noise(dtype: type[np.unsignedinteger], frames: int = 5, height: int = 34, width: int = 50) -> np.ndarray:
    chance = np.random.default_rng(7)
    return chance.integers(0, np.iinfo(dtype).max, (frames, height, width, 3), dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(34, 50), (33, 51), (480, 832)])
def test_the_round_trip_is_exact(dtype: type[np.unsignedinteger], size: tuple[int, int], tmp_path: Path) -> None:
    frames = noise(dtype, 3, *size)
    path = tmp_path / "segment.mkv"
    write_segment(frames, path)
    read = np.stack(list(read_segment(path)))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, frames)
    assert [p.name for p in tmp_path.iterdir()] == ["segment.mkv"]


def test_equal_frames_make_equal_files(tmp_path: Path) -> None:
    write_segment(noise(np.uint8), tmp_path / "a.mkv")
    write_segment(iter(noise(np.uint8)), tmp_path / "b.mkv")
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield from noise(np.uint8, frames=2)
        raise ArithmeticError("the model failed")

    with pytest.raises(ArithmeticError):
        write_segment(failing(), tmp_path / "a.mkv")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="could not be written"):
        write_segment(noise(np.uint8), tmp_path / "gone" / "a.mkv")


@pytest.mark.parametrize("fault", ["missing", "empty", "flipped", "short"])
def test_damage_is_noticed(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "segment.mkv"
    write_segment(noise(np.uint8, frames=9), path)
    content = bytearray(path.read_bytes())
    if fault == "missing":
        path.unlink()
    elif fault == "flipped":
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) * 2 // 3 if fault == "short" else 0])
    with pytest.raises(RunError, match=r"segment\.mkv: .*edit the segment again"):
        list(read_segment(path))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_first_frame_needs_no_more_of_the_file(dtype: type[np.unsignedinteger], tmp_path: Path) -> None:
    path, frames = tmp_path / "segment.mkv", noise(dtype, frames=9)
    write_segment(frames, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    np.testing.assert_array_equal(first_frame(path), frames[0])
    with pytest.raises(RunError):
        next(read_segment(path))
    path.write_bytes(content[:200])
    with pytest.raises(RunError, match=r"segment\.mkv: .*edit the segment again"):
        first_frame(path)


def forge(path: Path, *arguments: str) -> Path:
    """A foreign file that tells a true checksum, as an archive may bring one."""
    run_ffmpeg(*arguments, "-fflags", "+bitexact", path)
    with av.open(str(path)) as container:
        told = segment_file._told(packet for packet in container.demux() if packet.size)
    run_ffmpeg("-i", path, "-map", "0", "-c", "copy", "-metadata", f"CRC32={told}", path.with_name("forged.mkv"))
    return path.with_name("forged.mkv")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*chart("64x64", frames=3), "-c:v", "magicyuv"), "it holds magicyuv, expected ffv1 alone"),
        ((*chart("64x64", frames=3), *X264), "it holds h264, expected ffv1 alone"),
        ((*chart("64x64", frames=3), *tone(0.1), "-c:v", "ffv1", "-c:a", "flac"), "it holds ffv1, flac"),
        ((*chart("64x64", frames=3), "-c:v", "ffv1", "-pix_fmt", "yuv420p"), "pixels are yuv420p"),
        ((*chart("8192x4336", frames=1), "-c:v", "ffv1", "-pix_fmt", "bgr0"), "is damaged"),
    ],
)
def test_files_that_we_do_not_write_are_not_decoded(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=rf"forged\.mkv: .*{told}.*edit the segment again"):
        list(read_segment(forge(tmp_path / "foreign.mkv", *arguments)))
    with pytest.raises(RunError, match=rf"forged\.mkv: .*{told}.*edit the segment again"):
        first_frame(tmp_path / "forged.mkv")


def test_a_foreign_segment_of_our_kind_is_read(tmp_path: Path) -> None:
    """The control: it is its kind that is refused, not its maker."""
    path = forge(tmp_path / "foreign.mkv", *chart("64x64", frames=3), "-c:v", "ffv1", "-pix_fmt", "bgr0")
    assert len(list(read_segment(path))) == 3


def test_playlists_and_pipes_are_no_segments(tmp_path: Path) -> None:
    write_ffconcat(tmp_path / "list.mkv", tmp_path / "other.mkv")
    os.mkfifo(tmp_path / "pipe.mkv")
    for name, told in (("list.mkv", "not a video"), ("pipe.mkv", "is no regular file")):
        with pytest.raises(RunError, match=told):
            list(read_segment(tmp_path / name))
