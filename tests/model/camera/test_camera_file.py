"""Careful reading of files that other people wrote."""

import os
from pathlib import Path

import pytest

from model.camera.camera_file import by_number, image_size, number, open_text, read_json
from model.errors import RequestError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting"),
        ("[]", "holds no object"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ('{"a": 1, "a": 2}', "a key occurs twice"),
        ('{"a":' * 100_000, "recursion"),
        ("\ud800".encode("utf-8", "surrogatepass"), "utf-8"),
    ],
)
def test_json_is_strict(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RequestError, match=message) as caught:
        read_json(path)
    assert "c.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_number_is_a_float(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"a": 1, "b": ' + "9" * 5000 + "}")
    content = read_json(tmp_path / "c.json")
    assert content == {"a": 1.0, "b": float("inf")}
    assert type(content["a"]) is float


def test_only_regular_files_within_bounds_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "long.txt").write_text("12345")
    assert open_text(tmp_path / "long.txt", largest=5).read() == "12345"
    for path, message in (
        (tmp_path / "none", "No such file"),
        (tmp_path / "fifo", "no regular file"),
        (tmp_path, "no regular file"),
        (Path("/dev/null"), "no regular file"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "long.txt", "larger than 0 MiB"),
    ):
        with pytest.raises(RequestError, match=message):
            open_text(path, largest=4)


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1e999", "1,5"])
def test_numbers_are_finite(text: str) -> None:
    assert number("-1.5e3", "x") == -1500.0
    with pytest.raises(RequestError, match=r"qw of a is .*; expected a finite number"):
        number(text, "qw of a")


@pytest.mark.parametrize(("width", "height"), [(0.0, 5.0), (5.0, -1.0), (5.5, 5.0)])
def test_image_sizes_are_whole_pixels(width: float, height: float) -> None:
    assert image_size(640.0, 400.0, "a") == (640, 400)
    with pytest.raises(RequestError, match=r"image size of a is .*; expected whole pixels"):
        image_size(width, height, "a")


def test_names_are_sorted_as_people_count() -> None:
    assert sorted(["f10", "f9", "f010b", "e100"], key=by_number) == ["e100", "f9", "f10", "f010b"]
