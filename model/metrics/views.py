"""Whether the turns of a session agree about what the user's video does not show. Numpy half: no torch.

For cameras that only turn, what two of them see in the same frame is the same picture, seen through a known rotation:
so one turn can be laid over another exactly, pixel by pixel (the paper's Table 2, where the truth is not known, has
MEt3R instead). Only directions beside the user's view count: those within it every turn can copy. Agreement alone
proves nothing, for grey agrees with grey; so `detail` says how much there is to agree about, and `error_to` how true a
view is where the user's video shows what is right.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from model.camera.projection import Intrinsics, project, rays
from model.camera.trajectory import Pose, Trajectory
from model.metrics.agreement import Tally

Frames = Float32[np.ndarray, "frame height width 3"]
Masks = Bool[np.ndarray, "frame height width"]


@dataclass(frozen=True)
class Turn:
    """What one turn made: its frames in [0, 1], and the camera of each, all turns relative to the same first camera."""

    frames: Frames
    trajectory: Trajectory


def warp_error(one: Turn, other: Turn, lens: Intrinsics, user: Pose) -> Tally:
    """Absolute difference in [0, 1] of what two turns show of the same directions in the same frames; lower is better.

    Summed over all pixels of `other` that look where `one` looks too, and where the camera at `user` does not; a mean
    over their channels each. Only for cameras that stand where that camera stands.
    """
    warped, shared = warp(one, other.trajectory, lens)
    counted = shared & ~seen_by(user, other.trajectory, lens)
    return _mean_error(warped, other.frames, counted)


def error_to(truth: Frames, made: Turn, lens: Intrinsics, user: Pose) -> Tally:
    """Absolute difference in [0, 1] from the truth, where the camera at `user` sees it."""
    return _mean_error(truth, made.frames, seen_by(user, made.trajectory, lens))


def detail(truth: Frames, made: Turn, lens: Intrinsics, user: Pose) -> Tally:
    """How much a turn's picture varies beside the user's view, in parts of how much the truth does: 0 is plain."""
    beside = ~seen_by(user, made.trajectory, lens)
    if not beside.any():
        return Tally(0.0, 0)
    spread, true = (float(frames[beside].std(axis=0).mean()) for frames in (made.frames, truth))
    return Tally(spread / max(true, 1e-6), 1)


def warp(turn: Turn, trajectory: Trajectory, lens: Intrinsics) -> tuple[Frames, Masks]:
    """The pictures of a turn as cameras on `trajectory` would have seen them, and where they did."""
    frames, masks = [], []
    for picture, pose, wanted in zip(turn.frames, turn.trajectory.poses, trajectory.poses, strict=True):
        pixels, inside = _places(lens, wanted, pose)
        maps = (pixels - 0.5).astype(np.float32)  # OpenCV counts from the middles of pixels
        moved = cv2.remap(picture, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        frames.append(moved)
        masks.append(inside)
    return np.stack(frames), np.stack(masks)


def seen_by(pose: Pose, trajectory: Trajectory, lens: Intrinsics) -> Masks:
    """Which pixels of the cameras on `trajectory` look where the camera at `pose` looks."""
    return np.stack([_places(lens, camera, pose)[1] for camera in trajectory.poses])


def _places(
    lens: Intrinsics, camera: Pose, other: Pose
) -> tuple[Float[np.ndarray, "height width 2"], Bool[np.ndarray, "height width"]]:
    """Where the pixels of one camera lie in the picture of another one, and whether they are inside it."""
    turned = rays(lens) @ (other[:3, :3].T @ camera[:3, :3]).T
    pixels, depth = project(turned, lens)
    inside = (pixels >= 0) & (pixels <= (lens.width, lens.height))
    return pixels, inside.all(axis=-1) & (depth > 0)


def _mean_error(one: Frames, other: Frames, counted: Masks) -> Tally:
    difference = np.abs(one - other).mean(axis=-1)
    return Tally(float(difference[counted].sum()), int(counted.sum()))
