"""ReCamMaster's camera files: axes, units, round trip, damage."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from model.camera.multicam import opencv_to_unreal, read_cameras, unreal_to_opencv, write_cameras
from model.camera.presets import PRESETS, preset
from model.camera.trajectory import Trajectory, rotations
from model.errors import RequestError

STANDING = "[1 0 0 0] [0 1 0 0] [0 0 1 0] [3390 1380 240 1] "


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_every_preset_survives_the_file(tmp_path: Path) -> None:
    cameras = {f"cam{index:02}": preset(name, 9) for index, name in enumerate(PRESETS, start=1)}
    write_cameras(tmp_path / "cameras.json", cameras)
    back = read_cameras(tmp_path / "cameras.json")
    assert list(back) == list(cameras)
    for name, trajectory in cameras.items():
        assert_allclose(back[name].poses, trajectory.poses, atol=1e-9)


def test_forward_right_and_up_in_centimetres(tmp_path: Path) -> None:
    moved = "[1 0 0 0] [0 1 0 0] [0 0 1 0] [3590 1480 290 1] "
    path = write(tmp_path / "c.json", {"frame0": {"cam01": STANDING}, "frame1": {"cam01": moved}})
    relative = read_cameras(path)["cam01"].from_first().poses
    assert_allclose(relative[1], [[1, 0, 0, 1], [0, 1, 0, -0.5], [0, 0, 1, 2], [0, 0, 0, 1]], atol=1e-12)


def test_a_turn_to_the_right_stays_one(tmp_path: Path) -> None:
    turned = "[0.940432 0.339982 0 0] [-0.339982 0.940432 0 0] [0 0 1 0] [3390 1380 240 1] "
    path = write(tmp_path / "c.json", {"frame0": {"cam01": STANDING}, "frame1": {"cam01": turned}})
    looks = read_cameras(path)["cam01"].from_first().poses[1, :3, 2]
    assert_allclose(looks, [0.339982, 0, 0.940432], atol=1e-6)


@given(st.integers(0, 10_000))
def test_relative_poses_are_recammasters_own(seed: int) -> None:
    """ReCamMaster reorders the columns of the matrix, negates the second and divides the position."""
    rng = np.random.default_rng(seed)
    unreal = np.tile(np.eye(4), (3, 1, 1))
    unreal[:, :3, :3], unreal[:, :3, 3] = rotations(rng.normal(size=(3, 4))), 100 * rng.normal(size=(3, 3))
    theirs = unreal[:, :, [1, 2, 0, 3]] * (1, -1, 1, 1)
    theirs[:, :3, 3] /= 100
    ours = Trajectory(unreal_to_opencv(unreal)).from_first().poses
    assert_allclose(ours, np.linalg.inv(theirs[0]) @ theirs, atol=1e-9)
    assert_allclose(opencv_to_unreal(unreal_to_opencv(unreal)), unreal, atol=1e-9)


def test_the_constant_column_may_be_missing(tmp_path: Path) -> None:
    short = write(tmp_path / "c.json", {"frame0": {"cam01": "[1 0 0] [0 1 0] [0 0 1] [100 0 0]"}})
    assert_allclose(read_cameras(short)["cam01"].poses[0, :3, 3], [0, 0, 1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read cameras"),
        ("[" * 100_000, "cannot read cameras"),
        ([], "holds no object"),
        ({"frame1": {}}, "no frame0"),
        ({"frame0": {"cam01": "[1 2 3 4]"}}, "four brackets of four numbers"),
        ({"frame0": {"cam01": 7}}, "four brackets of four numbers"),
        ({"frame0": {"cam01": "[a b c d]"}}, "not made of numbers"),
        ({"frame0": {"cam01": STANDING.replace("240", "nan")}}, "^cam01 in .*json: the pose of frame 0 is no rigid"),
        ({"frame0": {"cam01": STANDING}, "frame2": {"cam01": STANDING}}, "no cam01 in frame1"),
        ({"frame0": {"cam01": STANDING}, "frame1": {}}, "no cam01 in frame1"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_cameras(write(tmp_path / "c.json", content))


def test_missing_and_huge_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot read cameras"):
        read_cameras(tmp_path / "none.json")
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(RequestError, match="larger than 64 MiB"):
        read_cameras(tmp_path / "huge.json")


def test_cameras_of_one_file_have_one_length(tmp_path: Path) -> None:
    cameras = {"cam01": Trajectory.still(2), "cam02": Trajectory.still(3)}
    with pytest.raises(RequestError, match=r"not \[2, 3\]"):
        write_cameras(tmp_path / "c.json", cameras)
