"""The pinhole camera and its inverse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from model.camera.presets import preset
from model.camera.projection import Intrinsics, project, rays, to_camera, to_world, unproject
from model.camera.trajectory import rotations
from model.errors import RequestError

LENS = Intrinsics(fx=500, fy=510, cx=310, cy=250, width=640, height=480)


@given(st.integers(0, 10_000))
def test_unproject_undoes_project(seed: int) -> None:
    points = np.random.default_rng(seed).normal((0, 0, 10), 1, size=(4, 5, 3))
    pixels, depth = project(points, LENS)
    assert_allclose(unproject(pixels, depth, LENS), points, atol=1e-9)
    assert_allclose(pixels * depth[..., None], (points @ LENS.matrix.T)[..., :2], atol=1e-9)


@given(st.integers(0, 10_000))
def test_to_world_undoes_to_camera(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotations(rng.normal(size=(1, 4)))[0], rng.normal(size=3)
    points = rng.normal(size=(6, 3))
    assert_allclose(to_world(to_camera(points, pose), pose), points, atol=1e-12)
    assert_allclose(to_camera(points, pose), (np.linalg.inv(pose)[:3, :3] @ points.T).T + np.linalg.inv(pose)[:3, 3])


def test_right_and_down_grow_with_the_pixel_coordinates() -> None:
    pixels, depth = project(np.array([[0, 0, 2.0], [1, 0, 2], [0, 1, 2], [0, 0, -1], [1, 1, 0]]), LENS)
    assert_allclose(pixels[0], (310, 250))
    assert pixels[1, 0] > 310
    assert pixels[2, 1] > 250
    assert depth[3] < 0
    assert np.isfinite(pixels).all()


def test_a_camera_turned_right_sees_what_lies_right() -> None:
    seen = to_camera(np.array([[np.sin(np.radians(20)), 0, np.cos(np.radians(20))]]), preset("pan-right", 2).poses[-1])
    assert_allclose(seen, [[0, 0, 1]], atol=1e-12)


def test_rays_pass_through_pixel_centres() -> None:
    lens = Intrinsics.from_angle(60, 8, 6)
    directions = rays(lens)
    assert directions.shape == (6, 8, 3)
    pixels, _ = project(directions, lens)
    assert_allclose(pixels[0, 0], (0.5, 0.5), atol=1e-9)
    assert_allclose(pixels[-1, -1], (7.5, 5.5), atol=1e-9)
    assert_allclose(directions.mean(axis=(0, 1))[:2], 0, atol=1e-12)


def test_lens_angle_and_matrix_agree() -> None:
    lens = Intrinsics.from_lens(832, 480, focal=24, sensor=23.76)
    angle = np.degrees(2 * np.arctan(23.76 / 2 / 24))
    assert_allclose(Intrinsics.from_angle(angle, 832, 480).matrix, lens.matrix)
    assert Intrinsics.from_matrix(lens.matrix, 832, 480) == lens


def test_impossible_lenses_are_refused() -> None:
    with pytest.raises(RequestError, match="180 degrees"):
        Intrinsics.from_angle(180, 8, 6)
    with pytest.raises(RequestError, match="must be positive"):
        Intrinsics(0, 1, 1, 1, 2, 2)
    with pytest.raises(RequestError, match="skew"):
        Intrinsics.from_matrix(np.array([[5, 1, 4], [0, 5, 3], [0, 0, 1.0]]), 8, 6)


def test_angles_of_view() -> None:
    assert_allclose(Intrinsics.from_angle(60, 640, 480).angles[0], 60)
    aside = Intrinsics(100, 100, 0, 100, 100, 200)
    assert_allclose(aside.angles, (45, 90))


def test_corners_are_seen_in_the_corners() -> None:
    assert_allclose(np.linalg.norm(LENS.corners, axis=1), 1)
    pixels, depth = project(LENS.corners, LENS)
    assert (depth > 0).all()
    assert_allclose(pixels, [[0, 0], [640, 0], [640, 480], [0, 480]], atol=1e-9)
