"""Pictures are read whole, or refused before they cost anything."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from model.errors import VideoError
from storage.picture import FORMATS, read_picture


def pattern(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp"])
def test_pictures_come_back_as_they_were(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pattern()).save(path, lossless=True)
    np.testing.assert_array_equal(read_picture(path), pattern())


def test_deep_grey_upright_and_transparent_pictures_are_plain(tmp_path: Path) -> None:
    grey = pattern()[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "grey.png")[..., 1], pattern()[..., 0])
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pattern()).save(tmp_path / "turned.png", exif=turned)
    np.testing.assert_array_equal(read_picture(tmp_path / "turned.png"), np.rot90(pattern(), -1))
    Image.fromarray(pattern()).convert("RGBA").save(tmp_path / "clear.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "clear.png"), pattern())


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PPM", "EPS", "TGA", "PCX"])
def test_other_formats_are_refused_whatever_their_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pattern()).save(path, kind)
    with pytest.raises(VideoError, match=r"a\.png: is no picture that can be read; expected PNG, JPEG"):
        read_picture(path)
    with Image.open(path) as opened:  # the control: left to itself Pillow takes it
        assert opened.format == kind


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG of some kilobytes that stands for width x height pixels of black."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = zlib.compress(bytes(height * (1 + width)), 9)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize(("width", "height"), [(8192, 4336), (10_000, 9_000), (16_384, 16_384)])
def test_bombs_are_refused(width: int, height: int, tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.png", width, height)
    assert path.stat().st_size < 2**19
    with pytest.raises(VideoError, match=r"bomb\.png: a .*picture.*; at most 35,389,440 pixels"):
        read_picture(path)


def test_without_the_bound_the_bomb_would_go_off(tmp_path: Path) -> None:
    """The control: OpenCV, say, takes all of it."""
    picture = cv2.imread(str(bomb(tmp_path / "bomb.png", 8192, 4336)))
    assert picture is not None
    assert picture.shape == (4336, 8192, 3)


def test_what_is_no_picture_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, told in (("pipe.png", "no regular file"), ("text.png", "no picture"), ("gone.png", "does not exist")):
        with pytest.raises(VideoError, match=told):
            read_picture(tmp_path / name)


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_pictures_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pattern()).save(path, kind)
    good, chance = path.read_bytes(), np.random.default_rng(5)
    refused = 0
    for _ in range(60):
        content = bytearray(good)
        for place in chance.integers(0, min(len(content), 400), 3).tolist():
            content[place] = int(chance.integers(0, 256))
        path.write_bytes(content[: int(chance.integers(1, len(content)))] if chance.random() < 0.4 else content)
        try:
            assert read_picture(path).shape[2] == 3
        except VideoError:
            refused += 1
    assert refused > 5
    assert list(tmp_path.iterdir()) == [path]
