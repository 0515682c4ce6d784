"""Camera trajectories: one pose a frame (paper section 3.2, supplement E.1). Numpy half: no torch.

The convention, stated once for the whole package: poses are camera-to-world, axes are OpenCV's (x right, y down,
z forward), lengths are metres, pixel centres lie at +0.5. Does not know where a trajectory comes from (`written.py`)
nor what the camera sees (`fov.py`).

The trajectories of one session share a frame of reference: the first camera of the user's video. Presets start there.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64

from model.errors import RequestError

Pose = Float[np.ndarray, "4 4"]
Rotations = Float64[np.ndarray, "frames 3 3"]
Angles = Float64[np.ndarray, " frames"]
Quaternions = Float64[np.ndarray, "frames 4"]

LAST_ROW = (0.0, 0.0, 0.0, 1.0)
ROTATION_TOLERANCE = 1e-3  # what text files with six digits keep, and more
LATENT_STRIDE = 4  # video frames to a latent frame


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Camera-to-world pose of every frame of a video.

    Raises `RequestError` for poses that are no rigid motion: mirrored, scaled, sheared, or not finite.
    """

    poses: Float[np.ndarray, "frames 4 4"]

    def __post_init__(self) -> None:
        object.__setattr__(self, "poses", self.poses.astype(np.float64))
        _check_rigid(self.poses)

    def __len__(self) -> int:
        return len(self.poses)

    @classmethod
    def from_rows(cls, rows: Float[np.ndarray, "frames 3 4"]) -> "Trajectory":
        """From `[R|t]` alone, without the constant last row."""
        last = np.broadcast_to(LAST_ROW, (len(rows), 1, 4))
        return cls(np.concatenate([rows.astype(np.float64), last], axis=1))

    @classmethod
    def still(cls, frames: int) -> "Trajectory":
        """A camera that stays at the origin: what is assumed of a user's video whose cameras are unknown."""
        return cls(np.tile(np.eye(4), (frames, 1, 1)))

    def relative_to(self, reference: Pose) -> "Trajectory":
        """The same cameras as seen from the camera `reference`, a camera-to-world pose."""
        return Trajectory(np.linalg.inv(reference.astype(np.float64)) @ self.poses)

    def from_first(self) -> "Trajectory":
        """The same cameras as seen from the first of them, which becomes the origin."""
        return self.relative_to(self.poses[0])

    def moved(self, motion: Pose) -> "Trajectory":
        """The same cameras after the rigid `motion` of the world."""
        return Trajectory(motion.astype(np.float64) @ self.poses)

    def resampled(self, frames: int) -> "Trajectory":
        """The same path over `frames` frames, first and last kept: positions linear, rotations by slerp."""
        if frames < 1:
            raise RequestError(f"a trajectory cannot have {frames} frames; ask for at least 1")
        time = np.linspace(0, len(self) - 1, frames)
        before = np.minimum(time.astype(int), max(len(self) - 2, 0))
        after = np.minimum(before + 1, len(self) - 1)
        share = time - before
        poses = np.tile(np.eye(4), (frames, 1, 1))
        poses[:, :3, :3] = interpolate_rotations(self.poses[before, :3, :3], self.poses[after, :3, :3], share)
        start, stop = self.poses[before, :3, 3], self.poses[after, :3, 3]
        poses[:, :3, 3] = start + share[:, None] * (stop - start)
        return Trajectory(poses)

    @property
    def metres(self) -> float:
        """Length of the path from the first camera to the last."""
        return float(np.linalg.norm(np.diff(self.poses[:, :3, 3], axis=0), axis=1).sum())

    @property
    def degrees(self) -> float:
        """How far the camera turns in all, there and back counted twice, about whatever axis."""
        turns = self.poses[:-1, :3, :3].transpose(0, 2, 1) @ self.poses[1:, :3, :3]
        half_chord = np.linalg.norm(turns - np.eye(3), axis=(1, 2)) / 8**0.5
        return float(np.degrees(2 * np.arcsin(np.clip(half_chord, 0, 1))).sum())

    def part(self, start: int, stop: int, frames: int) -> "Trajectory":
        """Frames `start` to `stop` alone, the last pose repeated up to `frames`, as a short segment's picture is."""
        poses = self.poses[start:stop]
        return Trajectory(np.concatenate([poses, np.repeat(poses[-1:], frames - len(poses), axis=0)]))

    @property
    def rows(self) -> Float64[np.ndarray, "frames 3 4"]:
        """`[R|t]` of every frame, without the constant last row."""
        return self.poses[:, :3].copy()

    def latent_rows(self) -> Float32[np.ndarray, "latent 12"]:
        """What the model is told of the cameras (Eq. 16): `[R|t]`, row by row, of every fourth frame."""
        return self.poses[::LATENT_STRIDE, :3].reshape(-1, 12).astype(np.float32)


def yaw(angle: Angles) -> Float64[np.ndarray, "frames 3 3"]:
    """Turn to the right, in radians: about the y axis, which points down."""
    zero, one = 0 * angle, 0 * angle + 1
    rows = [[np.cos(angle), zero, np.sin(angle)], [zero, one, zero], [-np.sin(angle), zero, np.cos(angle)]]
    return np.array(rows).transpose(2, 0, 1)


def pitch(angle: Angles) -> Float64[np.ndarray, "frames 3 3"]:
    """Turn upwards, in radians: about the x axis, which points right."""
    zero, one = 0 * angle, 0 * angle + 1
    rows = [[one, zero, zero], [zero, np.cos(angle), -np.sin(angle)], [zero, np.sin(angle), np.cos(angle)]]
    return np.array(rows).transpose(2, 0, 1)


def roll(angle: Angles) -> Float64[np.ndarray, "frames 3 3"]:
    """Lean to the right, clockwise for who looks along, in radians: about the z axis, which points forward."""
    zero, one = 0 * angle, 0 * angle + 1
    rows = [[np.cos(angle), -np.sin(angle), zero], [np.sin(angle), np.cos(angle), zero], [zero, zero, one]]
    return np.array(rows).transpose(2, 0, 1)


def interpolate_rotations(
    start: Rotations, stop: Rotations, share: Float64[np.ndarray, " frames"]
) -> Float64[np.ndarray, "frames 3 3"]:
    """Spherical interpolation along the shorter arc: `start` at share 0, `stop` at share 1."""
    first, last = quaternions(start), quaternions(stop)
    cosine = (first * last).sum(axis=1)
    last = np.where(cosine[:, None] < 0, -last, last)
    angle = np.arccos(np.clip(np.abs(cosine), 0, 1))
    fraction = np.stack([1 - share, share])
    straight = angle < 1e-7
    weights = np.where(straight, fraction, np.sin(fraction * angle) / np.sin(np.where(straight, 1, angle)))
    return rotations(weights[0, :, None] * first + weights[1, :, None] * last)


def quaternions(rotation: Rotations) -> Float64[np.ndarray, "frames 4"]:
    """Unit quaternions `(x, y, z, w)`, sign free.

    The eigenvector of the largest eigenvalue of Bar-Itzhack's matrix (2000): no special cases, and the nearest
    rotation where the input is only nearly one.
    """
    r = rotation.transpose(1, 2, 0)
    rows = [
        [r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2], r[2, 1] - r[1, 2]],
        [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], r[2, 1] + r[1, 2], r[0, 2] - r[2, 0]],
        [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
        [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
    ]
    return np.linalg.eigh(np.array(rows).transpose(2, 0, 1)).eigenvectors[..., -1]


def rotations(quaternion: Quaternions) -> Float64[np.ndarray, "frames 3 3"]:
    """Rotation matrices of quaternions `(x, y, z, w)` of any length but zero."""
    x, y, z, w = (quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)


def _check_rigid(poses: Float64[np.ndarray, "frames 4 4"]) -> None:
    if len(poses) == 0:
        raise RequestError("the trajectory has no frames; give at least one pose")
    rotation = poses[:, :3, :3]
    finite = np.isfinite(poses).all(axis=(1, 2))
    upright = np.abs(poses[:, 3] - LAST_ROW).max(axis=1) < ROTATION_TOLERANCE
    unit = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2)) < ROTATION_TOLERANCE
    proper = (np.cross(rotation[:, 0], rotation[:, 1]) * rotation[:, 2]).sum(axis=1) > 0
    wrong = np.flatnonzero(~(finite & upright & unit & proper))
    if len(wrong):
        raise RequestError(
            f"the pose of frame {wrong[0]} is no rigid motion; give camera-to-world matrices, "
            "a proper rotation and a position in metres, with the last row 0 0 0 1"
        )
