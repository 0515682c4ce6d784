"""`memory-v2v camera`: what is printed, drawn and refused."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from flows.cameras import plot_cameras
from flows.cli import main
from model.camera.presets import PRESETS, preset
from model.camera.projection import Intrinsics
from tests.model.camera.files import LENS, write_colmap

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """The entry point in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["memory-v2v", "camera", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), *capsys.readouterr()

    return call


def test_the_list_names_every_preset(call: Call) -> None:
    code, out, _ = call("list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(PRESETS)
    presets = json.loads(call("list", "--json")[1])
    assert presets["pan-left"] == "turns 20 degrees to the left"


def test_a_plot_says_what_was_understood(call: Call, tmp_path: Path) -> None:
    code, out, errors = call("plot", "pan-right", "dolly in 50cm over 20 frames", "--frames", "41")
    assert (code, errors) == (0, "")
    assert out.splitlines() == [
        "pan-right",
        "  frames  41",
        "  path    0.00 m",
        "  turned  20.0 degrees",
        "  lens    52.7 x 31.9 degrees, assumed",
        "dolly in 50cm over 20 frames",
        "  frames  41",
        "  path    0.50 m",
        "  turned  0.0 degrees",
        "  lens    52.7 x 31.9 degrees, assumed",
        "  note    the camera stands still for the last 21 of 41 frames",
        "page cameras.html",
    ]
    assert (tmp_path / "cameras.html").read_text().count("data:image/svg+xml") == 3


def test_a_plot_as_json(call: Call, tmp_path: Path) -> None:
    write_colmap(tmp_path / "model", preset("zoom-in", 5))
    code, out, _ = call("plot", "model", "pan-left", "--fov", "90", "--scale", "0.5", "--save", "all.svg", "--json")
    report = json.loads(out.splitlines()[-1])
    assert code == 0
    assert (tmp_path / report["page"]).name == "all.svg"
    solved, moved = report["cameras"]
    assert (solved["name"], solved["frames"], solved["unit"], solved["own_lens"]) == ("model", 81, "m", True)
    assert_allclose(solved["length"], 1)
    assert Intrinsics(**solved["intrinsics"]) == LENS
    assert Intrinsics(**moved["intrinsics"]) == Intrinsics.from_angle(90, 832, 480)
    assert not moved["own_lens"]
    overlap = np.array(report["overlap"])
    assert_allclose(np.diag(overlap), 1)
    assert overlap[0, 1] > overlap[1, 0]


def test_a_file_without_a_unit_says_so(call: Call, tmp_path: Path) -> None:
    write_colmap(tmp_path / "model", preset("zoom-in", 81))
    out = call("plot", "model")[1]
    assert "path    2.00 units" in out
    assert "note    the file names no unit" in out
    assert "scale" in out


def test_turns_of_a_session_stand_beside_new_cameras(tmp_path: Path) -> None:
    turns = [("turn 1", preset("pan-left", 9)), ("turn 2", preset("pan-right", 9))]
    report = plot_cameras(["pan-right"], 9, None, None, tmp_path / "c.html", turns)
    assert [camera.name for camera in report.cameras] == ["turn 1", "turn 2", "pan-right"]
    assert report.overlap[2][1] == 1 > report.overlap[2][0]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["fly away"], "'fly' was not understood"),
        (["none.json"], "cannot read cameras from none.json"),
        (["pan-left", "--frames", "0"], "0 frames"),
        (["pan-left", "--fov", "180"], "180.0 degrees"),
        (["pan-left", "--fov", "nan"], "nan degrees"),
        (["pan-left", "--scale", "-1"], "-1.0 metres"),
        (["pan-left", "--save", "none/cameras.html"], "folder none does not exist"),
        (["pan-left", "--save", "cameras.png"], "cameras.png is neither a page nor a picture"),
    ],
)
def test_a_mistake_is_one_clear_line(words: list[str], named: str, call: Call, tmp_path: Path) -> None:
    code, out, errors = call("plot", *words, "--json")
    assert (code, out) == (2, "")
    assert named in errors
    assert len(errors.splitlines()) == 1
    assert not list(tmp_path.iterdir())
