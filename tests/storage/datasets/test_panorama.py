"""The panorama: what two cameras see of the same directions is the same, and all of it follows from a seed."""

import cv2
import numpy as np
import pytest

from model.camera.trajectory import Trajectory
from model.config import WorldConfig
from storage.datasets.panorama import (
    imagine_panorama,
    look_directions,
    panorama_clip,
    render_panorama,
    turned,
    view_lens,
)

SIZE, LENGTH = 64, 5
LENS = view_lens(SIZE)
WORLD = WorldConfig(size=SIZE, segments=6, segment_frames=LENGTH)


def still(yaw: float, pitch: float = 0.0, frames: int = 1) -> Trajectory:
    return turned(np.full(frames, yaw), np.full(frames, pitch))


def seen_from(other: np.ndarray, trajectory: Trajectory, camera: Trajectory) -> np.ndarray:
    """A picture of `camera` drawn as the first camera of `trajectory` would see it; NaN where it saw nothing."""
    looks = look_directions(trajectory, LENS)[0] @ camera.poses[0, :3, :3].astype(np.float32)
    x, y = (looks[..., axis] / looks[..., 2] * LENS.fx + SIZE / 2 - 0.5 for axis in (0, 1))
    picture = other.astype(np.float32) / 255
    border = (np.nan, np.nan, np.nan)
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border)


@pytest.mark.parametrize(("yaw", "pitch"), [(20.0, 0.0), (-30.0, 8.0), (0.0, -15.0)])
def test_two_cameras_see_the_same_world(yaw: float, pitch: float) -> None:
    world = imagine_panorama(3)
    here, there = still(0.0), still(yaw, pitch)
    picture, other = (render_panorama(world, camera, LENS)[0] for camera in (here, there))
    warped = seen_from(other, here, there)
    both = np.isfinite(warped).all(axis=-1)
    assert 0.2 < both.mean() < 0.95
    assert np.abs(warped - picture / 255)[both].mean() < 0.01
    assert np.abs(other.astype(np.float32) / 255 - picture / 255)[both].mean() > 0.05


def test_a_camera_that_only_moves_sees_the_same() -> None:
    world, poses = imagine_panorama(1), still(10.0).poses.copy()
    poses[:, :3, 3] = (3.0, -1.0, 2.0)
    assert np.array_equal(render_panorama(world, Trajectory(poses), LENS), render_panorama(world, still(10.0), LENS))


def test_right_is_right_and_up_is_up() -> None:
    ahead, right, up = (
        look_directions(still(*way), LENS)[0, SIZE // 2, SIZE // 2] for way in ((0.0, 0.0), (30.0, 0.0), (0.0, 15.0))
    )
    assert ahead[2] > 0.99
    assert right[0] > 0.45
    assert up[1] < -0.2


def test_one_disc_moves_and_the_rest_stands_still() -> None:
    world = imagine_panorama(5)
    assert [disc.speed != 0 for disc in world.discs] == [False] * (len(world.discs) - 1) + [True]
    yaw = world.discs[-1].yaw
    first, later = (render_panorama(world, still(yaw, frames=2), LENS, at)[1] for at in (0, 8))
    moved = np.abs(first.astype(int) - later).max(axis=-1) > 20
    assert 0.005 < moved.mean() < 0.3


def test_a_clip_is_turns_over_one_video() -> None:
    clip = panorama_clip(WORLD, 7)
    frames = WORLD.segments * LENGTH
    assert clip.source.shape == clip.versions[0].shape == (frames, SIZE, SIZE, 3)
    assert clip.cameras is not None
    assert clip.cameras.shape == (WORLD.segments, (LENGTH - 1) // 4 + 1, 12)
    here, compared = still(0.0), 0
    for segment, poses in enumerate(clip.cameras.reshape(WORLD.segments, -1, 3, 4)):
        there = Trajectory.from_rows(poses[:1].astype(np.float64))
        first = segment * LENGTH
        warped = seen_from(clip.versions[0][first], here, there)
        both = np.isfinite(warped).all(axis=-1)
        if both.mean() > 0.2:
            compared += 1
            assert np.abs(warped - clip.source[first] / 255)[both].mean() < 0.01, "the same moment of the same world"
    assert compared >= 2


def test_everything_follows_from_the_seed() -> None:
    one, same, other = (panorama_clip(WORLD, seed) for seed in (2, 2, 3))
    assert np.array_equal(one.versions[0], same.versions[0])
    assert not np.array_equal(one.source, other.source)
    assert not np.array_equal(one.source, panorama_clip(WORLD, 2, "held-out").source)
