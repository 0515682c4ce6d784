"""How true a camera was to the path that it should have taken (paper Table 2). Numpy half: no torch.

The cameras of a rendered view have to be recovered from its picture by another program (COLMAP, VGGT, MegaSaM); here
both are known. Paths are compared from their first camera. The paper names neither program nor unit, so its figures and
ours do not compare.
"""

import numpy as np
from jaxtyping import Float64

from model.camera.trajectory import Trajectory
from model.errors import RequestError
from model.metrics.score import Score


def rotation_error(made: Trajectory, reference: Trajectory) -> Score:
    """The mean angle by which cameras look elsewhere than they should, in degrees: 0 to 180, lower is better.

    The angle of R_made R_reference^T, frame by frame, both relative to their first; no weights.

    Raises:
        RequestError: the paths differ in length.
    """
    one, other = _from_first(made, reference)
    difference = one[:, :3, :3] @ other[:, :3, :3].transpose(0, 2, 1)
    half_chord = np.linalg.norm(difference - np.eye(3), axis=(1, 2)) / 8**0.5
    angles = np.degrees(2 * np.arcsin(np.clip(half_chord, 0, 1)))
    return Score(float(angles.mean()), len(angles))


def translation_error(made: Trajectory, reference: Trajectory) -> Score:
    """The mean distance of cameras from where they should be, in metres of the reference: lower is better.

    Both relative to their first camera; `made` is first scaled by the one factor that fits it best, for recovered
    cameras have no scale. A path that does not move, or moves the other way, is not scaled but laid at its beginning.

    Raises:
        RequestError: the paths differ in length.
    """
    one, other = (poses[:, :3, 3] for poses in _from_first(made, reference))
    length = float(np.square(one).sum())
    scale = max(float((one * other).sum()) / length, 0.0) if length > 0 else 0.0
    distances = np.linalg.norm(scale * one - other, axis=1)
    return Score(float(distances.mean()), len(distances))


def _from_first(
    made: Trajectory, reference: Trajectory
) -> tuple[Float64[np.ndarray, "frames 4 4"], Float64[np.ndarray, "frames 4 4"]]:
    if len(made) != len(reference):
        raise RequestError(f"the path has {len(made)} cameras, its reference {len(reference)}; give both one a frame")
    return made.from_first().poses, reference.from_first().poses
