"""Segments come back to the bit, or not at all."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.errors import RunError
from storage.segment_file import read_segment, write_segment


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
