"""A NeRF's transforms.json: axes, lenses, order, damage."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from model.camera.nerf import opengl_to_opencv, parse_transforms
from model.camera.presets import preset
from model.camera.projection import Intrinsics, project, to_camera
from model.camera.trajectory import Trajectory
from model.errors import RequestError
from tests.model.camera.files import LENS, nerf_content

FILE = Path("transforms.json")
STANDING = np.eye(4)
POINT = np.array([1.0, 2.0, -10.0])


def content(**changes: object) -> dict:
    return {**nerf_content(preset("arc-right", 3)), **changes}


def test_a_point_falls_on_the_pixel_that_opengl_gives() -> None:
    """By OpenGL's convention a camera at the origin looks along -z with y up: +x lies right, +y above the middle."""
    frames = [{"file_path": "a", "transform_matrix": STANDING.tolist()}]
    camera = parse_transforms(content(frames=frames), FILE)
    assert camera.intrinsics == LENS
    pixel, depth = project(to_camera(POINT, camera.trajectory.poses[0]), LENS)
    right, above = POINT[0] / -POINT[2], POINT[1] / -POINT[2]
    assert_allclose(pixel, [320 + 500 * right, 200 - 510 * above])
    assert depth == 10


@given(st.sampled_from(["pan-left", "tilt-up", "translate-down", "arc-left"]), st.integers(1, 20))
def test_a_path_survives_the_file(name: str, frames: int) -> None:
    path = preset(name, frames)
    assert_allclose(parse_transforms(nerf_content(path), FILE).trajectory.poses, path.poses, atol=1e-12)


def test_axes_are_swapped_twice_to_the_same() -> None:
    poses = preset("arc-left", 5).poses
    assert_allclose(opengl_to_opencv(opengl_to_opencv(poses)), poses)


def test_frames_are_sorted_as_people_count() -> None:
    path = preset("zoom-in", 12)
    disordered = content(frames=nerf_content(path)["frames"][::-1])
    assert_allclose(parse_transforms(disordered, FILE).trajectory.poses, path.poses)


def test_an_angle_will_do_for_a_lens() -> None:
    given = {key: value for key, value in content(camera_angle_x=np.pi / 2).items() if key not in ("fl_x", "fl_y")}
    lens = parse_transforms(given, FILE).intrinsics
    assert lens == Intrinsics.from_angle(90.0, 640, 400)


def test_without_the_size_of_its_pictures_a_file_has_no_lens() -> None:
    camera = parse_transforms({"camera_angle_x": 0.69, "frames": content()["frames"]}, FILE)
    assert camera.intrinsics is None
    assert "no intrinsics" in camera.notes[0]


def test_what_is_left_out_is_said() -> None:
    given = content(k1=0.1)
    given["frames"][1]["fl_x"] = 400.0
    camera = parse_transforms(given, FILE)
    assert camera.intrinsics == LENS
    assert [note.split(":")[0] for note in camera.notes] == [
        "the lens changes from frame to frame",
        "lens distortion is ignored",
    ]
    assert parse_transforms(content(k1=0.0), FILE).notes == ()


def matrix(**changes: object) -> dict:
    """A file whose frame has another matrix: one number changed, or all of it."""
    damaged = deepcopy(content()["frames"])
    damaged[0] |= changes
    return content(frames=damaged)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "has no frames"),
        (content(frames=[]), "has no frames"),
        (content(frames=[3.0]), "has no frames"),
        (matrix(file_path=None), "frame 0 in transforms.json has no file_path"),
        (matrix(transform_matrix=None), "transform_matrix of images/frame0.png in transforms.json is missing"),
        (matrix(transform_matrix=[[1.0, 0.0, 0.0]] * 4), "four rows of four numbers"),
        (matrix(transform_matrix=[["x", 0.0, 0.0, 0.0]] * 4), "is 'x'; expected a finite number"),
        (matrix(transform_matrix=[[True, 0.0, 0.0, 0.0]] * 4), "is 'True'; expected a finite number"),
        (matrix(transform_matrix=[[float("inf"), 0.0, 0.0, 0.0]] * 4), "is 'inf'; expected a finite number"),
        (matrix(transform_matrix=np.diag([2.0, 2, 2, 1]).tolist()), "transforms.json: the pose of frame 0 is no rigid"),
        (matrix(transform_matrix=np.diag([-1.0, 1, 1, 1]).tolist()), "no rigid motion"),
        (content(camera_model="OPENCV_FISHEYE"), "'OPENCV_FISHEYE'; expected one of PINHOLE"),
        (content(w=640.5), "640.5x400; expected whole pixels"),
        (content(fl_x=-3.0), "focal lengths and image size must be positive"),
        (content(cx="wide"), "cx of images/frame0.png in transforms.json is 'wide'"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(given: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_transforms(given, FILE)


def test_moving_the_world_changes_nothing_told_from_the_first() -> None:
    path = preset("arc-left", 4)
    turned = Trajectory(np.array([[0, 0, 1.0, 3], [1, 0, 0, -2], [0, 1, 0, 5], [0, 0, 0, 1]]) @ path.poses)
    back = parse_transforms(nerf_content(turned), FILE).trajectory
    assert_allclose(back.from_first().poses, path.poses, atol=1e-12)
