"""The page of cameras: whole, self-contained, escaped; and what is refused."""

import base64
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from model.camera.plot import draw_overlap, draw_trajectory
from model.camera.presets import preset
from model.errors import RequestError
from storage.camera_page import CameraEntry, write_cameras

HOSTILE = """<script>alert(1)</script>"'&{{ 7*7 }}"""
SVG = "{http://www.w3.org/2000/svg}"


def entry(title: str = "zoom-in") -> CameraEntry:
    return CameraEntry(draw_trajectory(preset("zoom-in", 5), title=title), {"frames": "5"}, ("a note", HOSTILE))


def pictures(page: str) -> list[ElementTree.Element]:
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', page)
    return [ElementTree.fromstring(base64.b64decode(one)) for one in found]


def test_a_page_needs_nothing_else_and_escapes_what_users_write(tmp_path: Path) -> None:
    matrix = draw_overlap([HOSTILE, "b"], np.eye(2))
    page = write_cameras(tmp_path / "cameras.html", [entry(HOSTILE), entry()], matrix).read_text()
    assert "<script" not in page
    assert "{{" in page
    assert "default-src 'none'" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert [picture.findtext(f"{SVG}title") for picture in pictures(page)] == [HOSTILE, "zoom-in", matrix.title]
    assert len(re.findall(r'alt="[^"]{20,}"', page)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["cameras.html"]


def test_a_picture_holds_all_drawings(tmp_path: Path) -> None:
    path = write_cameras(tmp_path / "cameras.SVG", [entry(HOSTILE)], None)
    (inner,) = ElementTree.parse(path).getroot().findall(f"{SVG}svg")
    assert inner.findtext(f"{SVG}title") == HOSTILE


def test_an_earlier_page_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "cameras.html"
    path.write_text("earlier")
    assert "earlier" not in write_cameras(path, [entry()], None).read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none/cameras.html", "folder .*none does not exist; make it"),
        ("cameras.pdf", r"neither a page nor a picture; give a name that ends in \.html or \.svg"),
        ("cameras", "neither a page nor a picture"),
        ("folder.html", "is a folder"),
        ("x" * 300 + ".html", "cannot write .*: File name too long"),
    ],
)
def test_a_place_that_cannot_be_is_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(RequestError, match=message):
        write_cameras(tmp_path / name, [entry()], None)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]
