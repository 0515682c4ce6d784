"""Cameras as people write them: which reader is meant, and what comes back."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from model.camera.multicam import write_cameras
from model.camera.presets import PRESETS, Moves, preset
from model.camera.trajectory import Trajectory
from model.camera.written import UNKNOWN_UNIT, read_camera
from model.errors import RequestError
from tests.model.camera.files import LENS, nerf_content, write_colmap, write_json

ELSEWHERE = np.array([[0, 0, 1.0, 3], [1, 0, 0, -2], [0, 1, 0, 5], [0, 0, 0, 1]])


@pytest.mark.parametrize("name", PRESETS)
def test_presets_by_their_names(name: str) -> None:
    camera = read_camera(name, 9, Moves(distance=3.0))
    assert_allclose(camera.trajectory.poses, preset(name, 9, Moves(distance=3.0)).poses)
    assert (camera.name, camera.intrinsics, camera.metric, camera.notes) == (name, None, True, ())


def test_an_orbit_is_an_arc() -> None:
    assert_allclose(read_camera("orbit-left", 9).trajectory.poses, preset("arc-left", 9).poses)


def test_sentences_and_how_far_away_their_subject_is() -> None:
    camera = read_camera("  orbit right 30deg \n over 5 frames", 9, Moves(distance=2.0))
    assert camera.name == "orbit right 30deg over 5 frames"
    assert_allclose(camera.trajectory.poses[:5], preset("arc-right", 5, Moves(distance=2.0)).poses, atol=1e-12)
    assert camera.notes == ("the camera stands still for the last 4 of 9 frames",)


@given(st.sampled_from(PRESETS), st.integers(1, 12))
def test_every_form_of_file_tells_the_same_path(
    tmp_path_factory: pytest.TempPathFactory, name: str, frames: int
) -> None:
    """Wherever the file's world has its origin, and whichever way up."""
    folder, path = tmp_path_factory.mktemp("cameras"), preset(name, frames)
    moved = path.moved(ELSEWHERE)
    write_cameras(folder / "one.json", {"cam01": moved})
    write_json(folder / "transforms.json", nerf_content(moved))
    write_colmap(folder / "model", moved)
    for text, metric, lens in (("one.json", True, None), ("transforms.json", False, LENS), ("model", False, LENS)):
        camera = read_camera(str(folder / text), frames)
        assert_allclose(camera.trajectory.poses, path.poses, atol=1e-7)
        assert (camera.metric, camera.intrinsics) == (metric, lens)
        assert camera.notes == (() if metric else (UNKNOWN_UNIT,))


def test_one_of_several_cameras_is_chosen_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "cameras.json"
    write_cameras(file, {"cam01": preset("pan-left", 5), "cam02": preset("zoom-in", 5)})
    assert_allclose(read_camera(f"{file}#cam02", 5).trajectory.poses, preset("zoom-in", 5).poses, atol=1e-9)
    for text, message in ((str(file), "has 2 cameras"), (f"{file}#cam03", "has no camera 'cam03'")):
        with pytest.raises(RequestError, match=f"{message}; choose one by .*cameras.json#NAME: cam01, cam02"):
            read_camera(text, 5)


def test_a_scale_makes_metres_of_units(tmp_path: Path) -> None:
    write_json(tmp_path / "transforms.json", nerf_content(preset("zoom-in", 5)))
    camera = read_camera(str(tmp_path / "transforms.json"), 5, scale=0.5)
    assert_allclose(camera.trajectory.poses[-1, :3, 3], [0, 0, 1])
    assert camera.metric
    assert camera.notes == ()


def test_a_scale_leaves_metres_and_centimetres_alone(tmp_path: Path) -> None:
    write_cameras(tmp_path / "c.json", {"cam01": preset("zoom-in", 5)})
    for text in (str(tmp_path / "c.json"), "zoom-in", "dolly in 2m"):
        assert_allclose(read_camera(text, 5, scale=7).trajectory.metres, 2)


def test_files_of_other_lengths_are_resampled_and_say_so(tmp_path: Path) -> None:
    write_colmap(tmp_path / "model", preset("arc-right", 41))
    camera = read_camera(str(tmp_path / "model"), 81, scale=1)
    assert_allclose(camera.trajectory.poses, preset("arc-right", 41).resampled(81).poses, atol=1e-9)
    assert camera.notes == ("resampled from 41 frames to 81",)


def test_a_folder_needs_no_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_colmap(Path("sparse"), Trajectory.still(3))
    assert read_camera("sparse", 3).trajectory.metres == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no camera ''; give pan-right"),
        ("pan-rigth", "there is no camera 'pan-rigth'; give pan-right"),
        ("x" * 3000, "there is no camera 'xxx"),
        ("/" + "x" * 3000, "File name too long"),
        ("pan", "expected left or right"),
        ("fly to the moon", "'fly' was not understood"),
        ("nowhere/cameras.json#cam01", "cannot read cameras from nowhere/cameras.json: No such file"),
        ("a\0b/c", "null byte"),
    ],
)
def test_what_is_no_camera_is_named(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        read_camera(text, 9)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "chosen", "message"),
    [
        ({"cameras": {}}, "", "expected frame0 or frames"),
        ({"frame0": {}}, "", "has 0 cameras; choose one by .*: there is none"),
        (nerf_content(Trajectory.still(2)), "#cam01", "only ReCamMaster's JSON has cameras to choose from"),
    ],
)
def test_files_of_no_known_form_are_named(tmp_path: Path, content: object, chosen: str, message: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(RequestError, match=message):
        read_camera(f"{tmp_path / 'c.json'}{chosen}", 9)


@pytest.mark.parametrize(
    ("frames", "scale", "message"),
    [
        (0, None, "0 frames"),
        (10**6, None, "1000000 frames"),
        (9, 0, "unit of 0 metres"),
        (9, float("nan"), "unit of nan metres"),
        (9, float("inf"), "unit of inf metres"),
    ],
)
def test_numbers_that_make_no_sense_are_named(frames: int, scale: float | None, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_camera("pan-left", frames, scale=scale)
