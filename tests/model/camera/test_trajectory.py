"""Rigid poses, changes of reference, interpolation, and what the model is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from model.camera.presets import preset
from model.camera.trajectory import Trajectory, interpolate_rotations, pitch, quaternions, roll, rotations, yaw
from model.errors import RequestError


def random_motion(seed: int, frames: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, :3] = rotations(rng.normal(size=(frames, 4)))
    poses[:, :3, 3] = rng.normal(size=(frames, 3))
    return poses


def turned(degrees: float) -> np.ndarray:
    """Rotation about the y axis."""
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])


@given(st.integers(0, 10_000))
def test_quaternions_and_rotations_are_inverse(seed: int) -> None:
    rotation = random_motion(seed, 3)[:, :3, :3]
    assert_allclose(rotations(quaternions(rotation)), rotation, atol=1e-12)


@pytest.mark.parametrize("degrees", [0, 90, 179.9999, 180])
def test_quaternions_have_no_special_angles(degrees: float) -> None:
    assert_allclose(rotations(quaternions(turned(degrees)[None]))[0], turned(degrees), atol=1e-12)


@given(st.floats(0, 175), st.floats(0, 1))
def test_slerp_turns_at_constant_speed(degrees: float, share: float) -> None:
    middle = interpolate_rotations(turned(0)[None], turned(degrees)[None], np.array([share]))
    assert_allclose(middle[0], turned(degrees * share), atol=1e-7)


@given(st.integers(0, 10_000))
def test_the_first_camera_becomes_the_origin_whatever_the_world(seed: int) -> None:
    path = Trajectory(random_motion(seed, 4))
    assert_allclose(path.from_first().poses[0], np.eye(4), atol=1e-12)
    moved = path.moved(random_motion(seed + 1)[0])
    assert_allclose(moved.from_first().poses, path.from_first().poses, atol=1e-9)


@given(st.integers(0, 10_000))
def test_relative_poses_undo_their_reference(seed: int) -> None:
    path, reference = Trajectory(random_motion(seed, 4)), random_motion(seed + 1)[0]
    assert_allclose(path.relative_to(reference).moved(reference).poses, path.poses, atol=1e-9)


def test_resampling_to_the_same_length_changes_nothing() -> None:
    path = Trajectory(random_motion(3, 6))
    assert_allclose(path.resampled(6).poses, path.poses, atol=1e-12)


def test_resampling_keeps_both_ends_and_a_steady_move_steady() -> None:
    long = preset("arc-left", 81)
    assert_allclose(long.resampled(21).poses, long.poses[::4], atol=1e-12)
    assert_allclose(long.resampled(200).poses[[0, -1]], long.poses[[0, -1]], atol=1e-12)
    assert_allclose(preset("zoom-in", 2).resampled(9).poses, preset("zoom-in", 9).poses, atol=1e-12)


def test_a_single_pose_is_held() -> None:
    assert_allclose(Trajectory.still(1).resampled(5).poses, Trajectory.still(5).poses)
    assert_allclose(preset("pan-left", 5).resampled(1).poses[0], np.eye(4))


def test_the_model_gets_every_fourth_pose_row_by_row() -> None:
    path = Trajectory(random_motion(5, 81))
    rows = path.latent_rows()
    assert rows.shape == (21, 12)
    assert_allclose(rows[2].reshape(3, 4), path.poses[8, :3], atol=1e-6)
    assert len(path) == 81


def test_rows_alone_are_enough() -> None:
    path = Trajectory(random_motion(7, 3))
    assert_allclose(Trajectory.from_rows(path.poses[:, :3]).poses, path.poses)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pose: pose * 2,
        lambda pose: pose @ np.diag([1, -1, 1, 1]),
        lambda pose: pose + np.nan,
        lambda pose: pose.T + np.diag([0, 0, 0, 1.0]),
    ],
    ids=["scaled", "mirrored", "not finite", "last row"],
)
def test_what_is_no_camera_is_refused_by_frame(spoil) -> None:
    poses = random_motion(11, 3)
    poses[1] = spoil(poses[1])
    with pytest.raises(RequestError, match="frame 1 is no rigid motion"):
        Trajectory(poses)


def test_empty_trajectories_are_refused() -> None:
    with pytest.raises(RequestError, match="no frames"):
        Trajectory(np.zeros((0, 4, 4)))
    with pytest.raises(RequestError, match="0 frames"):
        Trajectory.still(3).resampled(0)


@pytest.mark.parametrize(
    ("name", "metres", "degrees"), [("pan-right", 0, 20), ("zoom-out", 2, 0), ("arc-left", 4 * np.pi / 6, 30)]
)
def test_how_far_a_path_goes_and_turns(name: str, metres: float, degrees: float) -> None:
    path = preset(name, 81)
    assert_allclose(path.metres, metres, atol=1e-3)
    assert_allclose(path.degrees, degrees, atol=1e-6)


def test_there_and_back_counts_twice() -> None:
    out = preset("arc-left", 9)
    both = Trajectory(np.concatenate([out.poses, out.poses[::-1]]))
    assert_allclose([both.metres, both.degrees], [2 * out.metres, 2 * out.degrees])


@given(st.integers(0, 10_000))
def test_an_angle_is_that_of_the_quaternion(seed: int) -> None:
    pair = random_motion(seed, 2)
    between = pair[0, :3, :3].T @ pair[1, :3, :3]
    assert_allclose(Trajectory(pair).degrees, np.degrees(2 * np.arccos(np.abs(quaternions(between[None])[0, 3]))))


def test_turns_go_right_up_and_clockwise() -> None:
    angle = np.radians([30.0])
    half, rest = 0.5, 0.75**0.5
    assert_allclose(yaw(angle)[0, :, 2], [half, 0, rest])
    assert_allclose(pitch(angle)[0, :, 2], [0, -half, rest])
    assert_allclose(roll(angle)[0, :, 0], [rest, half, 0])
