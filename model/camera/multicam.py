"""Trajectories in the JSON of ReCamMaster and its MultiCamVideo dataset, read and written. Numpy half: no torch.

`{"frame0": {"cam01": "[a b c d] [...] [...] [x y z 1] ", ...}, ...}`: camera-to-world matrices, transposed, so that
the position is the last bracket; in the axes and units of Unreal Engine (x forward, y right, z up; centimetres), which
are left-handed. Both the world's and the camera's axes are swapped here, so that every pose is a proper rotation;
poses relative to another camera come out as ReCamMaster's own, which swaps the camera's axes alone.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from model.camera.camera_file import read_json, trajectory_of
from model.camera.trajectory import Trajectory
from model.errors import RequestError

Poses = Float64[np.ndarray, "frames 4 4"]

UNREAL_TO_OPENCV = np.array([[0, 1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)
"""Takes the coordinates (forward, right, up) to (right, down, forward)."""
CENTIMETRES = 100.0
BRACKET = re.compile(r"\[([^\[\]]*)\]")


def unreal_to_opencv(poses: Poses) -> Float64[np.ndarray, "frames 4 4"]:
    """Camera-to-world poses in Unreal's axes and centimetres, in ours."""
    swapped = UNREAL_TO_OPENCV @ poses @ UNREAL_TO_OPENCV.T
    swapped[:, :3, 3] /= CENTIMETRES
    return swapped


def opencv_to_unreal(poses: Poses) -> Float64[np.ndarray, "frames 4 4"]:
    """The inverse of `unreal_to_opencv`."""
    swapped = UNREAL_TO_OPENCV.T @ poses @ UNREAL_TO_OPENCV
    swapped[:, :3, 3] *= CENTIMETRES
    return swapped


def read_cameras(path: Path) -> dict[str, Trajectory]:
    """Every camera of the file, by its name. Raises `RequestError` for a file of another form."""
    return parse_cameras(read_json(path), path)


def parse_cameras(frames: Mapping[str, Any], path: Path) -> dict[str, Trajectory]:
    """Every camera of what was read from `path`, by its name."""
    if not isinstance(frames.get("frame0"), dict):
        raise RequestError(f"{path.name} has no frame0; give the JSON of ReCamMaster: frame0 -> cam01 -> matrix")
    return {camera: _trajectory(frames, camera, path.name) for camera in sorted(frames["frame0"])}


def write_cameras(path: Path, cameras: Mapping[str, Trajectory]) -> None:
    """Write `cameras`, all of the same length, by their names."""
    lengths = {len(trajectory) for trajectory in cameras.values()}
    if len(lengths) != 1:
        raise RequestError(f"cameras of one file need the same number of frames, not {sorted(lengths)}")
    poses = {name: opencv_to_unreal(trajectory.poses) for name, trajectory in cameras.items()}
    frames = {
        f"frame{index}": {name: _format(rows[index]) for name, rows in poses.items()} for index in range(lengths.pop())
    }
    path.write_text(json.dumps(frames, indent=1), encoding="utf-8")


def _trajectory(frames: Mapping[str, Any], camera: str, file: str) -> Trajectory:
    matrices = []
    for index in range(len(frames)):
        cameras = frames.get(f"frame{index}")
        if not isinstance(cameras, dict) or camera not in cameras:
            raise RequestError(f"{file} has no {camera} in frame{index}; give every camera in every frame")
        matrices.append(_parse(cameras[camera], f"{camera} of frame{index} in {file}"))
    return trajectory_of(unreal_to_opencv(np.stack(matrices)), f"{camera} in {file}")


def _parse(text: object, where: str) -> Float64[np.ndarray, "4 4"]:
    """One matrix. Some files leave the constant fourth numbers out."""
    try:
        rows = [[float(number) for number in row.split()] for row in BRACKET.findall(str(text))]
    except ValueError as error:
        raise RequestError(f"{where} is not made of numbers: {error}") from error
    if len(rows) == 4 and all(len(row) == 3 for row in rows):
        rows = [[*row, float(index == 3)] for index, row in enumerate(rows)]
    if len(rows) != 4 or any(len(row) != 4 for row in rows):
        raise RequestError(f"{where} is not four brackets of four numbers: {str(text)[:60]!r}")
    return np.array(rows).T


def _format(pose: Float64[np.ndarray, "4 4"]) -> str:
    return "".join(f"[{' '.join(f'{number:.12g}' for number in row)}] " for row in pose.T)
