"""Camera errors of a known size, against scipy's rotations."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from model.camera.trajectory import Trajectory
from model.errors import RequestError
from model.metrics.cameras import rotation_error, translation_error

FRAMES = 12
RNG = np.random.default_rng(5)


def path(turns: Rotation, places: np.ndarray) -> Trajectory:
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = turns.as_matrix(), places
    return Trajectory(poses)


TURNS = Rotation.from_rotvec(RNG.normal(0, 0.4, (FRAMES, 3)))
PLACES = RNG.normal(0, 2, (FRAMES, 3))
REFERENCE = path(TURNS, PLACES)


def test_rotation_error_is_the_mean_angle() -> None:
    off = Rotation.from_rotvec(RNG.normal(0, 0.3, (FRAMES, 3)))
    made = path(TURNS * off, PLACES)
    one, other = ((turns[0].inv() * turns) for turns in (TURNS * off, TURNS))
    expected = np.degrees((one * other.inv()).magnitude()).mean()
    assert rotation_error(made, REFERENCE).value == pytest.approx(expected)
    assert rotation_error(made, REFERENCE).cases == FRAMES


def test_where_the_world_lies_and_how_large_it_is_does_not_count() -> None:
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = Rotation.from_rotvec([0.3, -1, 0.2]).as_matrix(), (4, -1, 7)
    made = path(TURNS, 0.2 * PLACES).moved(world)
    assert rotation_error(made, REFERENCE).value == pytest.approx(0, abs=1e-5)
    assert translation_error(made, REFERENCE).value == pytest.approx(0, abs=1e-9)


def test_translation_error_is_the_mean_distance_after_the_best_scale() -> None:
    made = path(TURNS, PLACES + RNG.normal(0, 0.3, (FRAMES, 3)))
    ours, theirs = (each.from_first().poses[:, :3, 3] for each in (made, REFERENCE))
    scales = np.linspace(0.5, 1.5, 20001)
    best = scales[np.argmin([np.square(scale * ours - theirs).sum() for scale in scales])]
    expected = np.linalg.norm(best * ours - theirs, axis=1).mean()
    assert translation_error(made, REFERENCE).value == pytest.approx(expected, rel=1e-4)


def test_a_camera_that_stays_is_as_far_off_as_the_path_is_long() -> None:
    expected = np.linalg.norm(REFERENCE.from_first().poses[:, :3, 3], axis=1).mean()
    assert translation_error(Trajectory.still(FRAMES), REFERENCE).value == pytest.approx(expected)


def test_paths_of_two_lengths_are_refused() -> None:
    with pytest.raises(RequestError, match="has 5 cameras, its reference 12"):
        rotation_error(Trajectory.still(5), REFERENCE)
