"""Camera files for tests: the same camera path, in the forms of NeRF and of COLMAP."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model.camera.projection import Intrinsics
from model.camera.trajectory import Trajectory, quaternions

LENS = Intrinsics(500.0, 510.0, 320.0, 200.0, 640, 400)


def write_json(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def nerf_content(trajectory: Trajectory, lens: Intrinsics = LENS) -> dict:
    """A `transforms.json` whose cameras look along their -z, y upwards."""
    matrices = trajectory.poses * np.array([1, -1, -1, 1])
    frames = [
        {"file_path": f"images/frame{index}.png", "transform_matrix": matrix.tolist()}
        for index, matrix in enumerate(matrices)
    ]
    size = {"w": lens.width, "h": lens.height}
    return {"fl_x": lens.fx, "fl_y": lens.fy, "cx": lens.cx, "cy": lens.cy, **size, "frames": frames}


def write_colmap(
    folder: Path,
    trajectory: Trajectory,
    camera: str = "1 PINHOLE 640 400 500 510 320 200",
    points: str = "",
    names: Sequence[str] = (),
) -> Path:
    """A model in text form, its images in disorder, each followed by its `points`."""
    folder.mkdir(exist_ok=True)
    (folder / "cameras.txt").write_text(f"# Camera list\n{camera}\n")
    lines = ["# Image list with two lines of data per image:"]
    for index in reversed(range(len(trajectory))):
        rotation = trajectory.poses[index, :3, :3].T
        x, y, z, w = quaternions(rotation[None])[0]
        numbers = [w, x, y, z, *(-rotation @ trajectory.poses[index, :3, 3])]
        name = names[index] if names else f"frame{index}.png"
        lines += [f"{index + 1} {' '.join(f'{number:.12f}' for number in numbers)} 1 {name}", points]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    return folder
