"""Cameras of a NeRF's `transforms.json`, as instant-ngp, nerfstudio and Blender write it. Numpy half: no torch.

    {"fl_x": .., "fl_y": .., "cx": .., "cy": .., "w": .., "h": ..,        or "camera_angle_x": radians
     "frames": [{"file_path": "images/0001.png", "transform_matrix": [[..4], [..4], [..4], [..4]]}, ..]}

Matrices are camera-to-world in OpenGL's axes (x right, y up, z back). Only the axes of the camera are swapped: which
way the world is turned is the file's own affair, and gone once poses are told from the first. The file names no unit.
Frames are taken in the order of their `file_path`, numbers counted (`f2` before `f10`). Pinhole cameras only; what
distortion the file gives is left out, and said so.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from model.camera.camera_file import RecordedCamera, by_number, finite, image_size, trajectory_of
from model.camera.projection import Intrinsics
from model.errors import RequestError

OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""Takes the coordinates (right, up, back) to (right, down, forward), and those to these."""
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE", "RADIAL", "SIMPLE_RADIAL", "OPENCV")


def opengl_to_opencv(poses: Float64[np.ndarray, "frames 4 4"]) -> Float64[np.ndarray, "frames 4 4"]:
    """Camera-to-world poses of cameras in OpenGL's axes, of cameras in ours; the world stays. Its own inverse."""
    return poses @ OPENGL_TO_OPENCV


def parse_transforms(content: Mapping[str, Any], path: Path) -> RecordedCamera:
    """The cameras of what was read from `path`. Raises `RequestError` for a file of another form."""
    frames = content.get("frames")
    if not (isinstance(frames, list) and frames and all(isinstance(frame, dict) for frame in frames)):
        raise RequestError(f"{path} has no frames; expected a list of file_path and transform_matrix")
    for index, frame in enumerate(frames):
        if not isinstance(frame.get("file_path"), str):
            raise RequestError(f"frame {index} in {path} has no file_path; expected a text, which orders the frames")
    frames = sorted(frames, key=lambda frame: by_number(frame["file_path"]))
    poses = np.stack([_matrix(frame, path) for frame in frames])
    lenses = [_lens({**content, **frame}, f"{frame['file_path']} in {path}") for frame in frames]
    return RecordedCamera(trajectory_of(opengl_to_opencv(poses), path), lenses[0], _notes(content, frames, lenses))


def _matrix(frame: Mapping[str, Any], path: Path) -> Float64[np.ndarray, "4 4"]:
    where = f"transform_matrix of {frame['file_path']} in {path}"
    rows = frame.get("transform_matrix")
    if not (isinstance(rows, list) and len(rows) == 4 and all(isinstance(row, list) and len(row) == 4 for row in rows)):
        raise RequestError(f"{where} is missing, or not four rows of four numbers")
    return np.array([[finite(number, where) for number in row] for row in rows])


def _lens(given: Mapping[str, Any], where: str) -> Intrinsics | None:
    """Focal lengths, or an angle, and the image size; None where the size, or all of a lens, is missing."""
    model = given.get("camera_model", "OPENCV")
    if model not in PINHOLES:
        raise RequestError(f"camera_model of {where} is {str(model)[:60]!r}; expected one of {', '.join(PINHOLES)}")
    if "w" not in given or "h" not in given:
        return None
    width, height = image_size(finite(given["w"], f"w of {where}"), finite(given["h"], f"h of {where}"), where)
    if "fl_x" in given:
        numbers = {"fl_y": given["fl_x"], "cx": width / 2, "cy": height / 2, **given}
        fx, fy, cx, cy = (finite(numbers[key], f"{key} of {where}") for key in ("fl_x", "fl_y", "cx", "cy"))
        return Intrinsics(fx, fy, cx, cy, width, height)
    if "camera_angle_x" in given:
        angle = finite(given["camera_angle_x"], f"camera_angle_x of {where}")
        return Intrinsics.from_angle(float(np.degrees(angle)), width, height)
    return None


def _notes(content: Mapping[str, Any], frames: list[dict], lenses: list[Intrinsics | None]) -> tuple[str, ...]:
    notes = []
    if lenses[0] is None:
        notes.append("the file gives no lens with its image size (fl_x or camera_angle_x, w, h): no intrinsics")
    if len(set(lenses)) > 1:
        notes.append("the lens changes from frame to frame: that of the first frame is taken for all")
    if any(given.get(key, 0) != 0 for given in (content, *frames) for key in DISTORTION):
        notes.append("lens distortion is ignored")
    return tuple(notes)
