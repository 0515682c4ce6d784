"""Cameras as they are typed: presets, and files with one path or several."""

from pathlib import Path

import numpy as np
import pytest

from model.camera.multicam import write_cameras
from model.camera.presets import PRESETS, preset
from model.errors import RequestError
from tasks.cameras import read_camera


@pytest.mark.parametrize("name", PRESETS)
def test_presets_go_by_their_name(name: str) -> None:
    camera = read_camera(name, 17)
    assert camera.name == name
    np.testing.assert_array_equal(camera.trajectory.poses, preset(name, 17).poses)


def test_a_file_is_stretched_to_the_video_and_starts_at_its_first_camera(tmp_path: Path) -> None:
    path = tmp_path / "moves.json"
    write_cameras(path, {"cam01": preset("pan-left", 9).moved(preset("arc-right", 9).poses[-1])})
    camera = read_camera(str(path), 17)
    assert camera.name == "moves"
    np.testing.assert_allclose(camera.trajectory.poses, preset("pan-left", 17).poses, atol=1e-9)


def test_one_of_several_cameras_is_chosen_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "moves.json"
    write_cameras(path, {"cam01": preset("pan-left", 9), "cam02": preset("tilt-up", 9)})
    camera = read_camera(f"{path}:cam02", 9)
    assert camera.name == "moves-cam02"
    np.testing.assert_allclose(camera.trajectory.poses, preset("tilt-up", 9).poses, atol=1e-9)
    for text in (str(path), f"{path}:cam03"):
        with pytest.raises(RequestError, match=r"moves\.json:cam01"):
            read_camera(text, 9)


@pytest.mark.parametrize("text", ["", "pan", "pan-sideways", "film.mp4", "absent.json", ".json:cam01"])
def test_what_is_no_camera_is_one_line(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_camera(text, 9)
    assert "\n" not in str(caught.value)
