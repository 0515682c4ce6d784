"""A small picture of a camera path, as SVG, for reports. Numpy half: no torch.

Two views share one scale: from above (right and forward) and from the side (forward and up). Cameras are drawn as
wedges along the way they look, from blue (first) to red (last).
"""

import numpy as np
from jaxtyping import Float64

from model.camera.trajectory import Trajectory

SIZE, MARGIN = 220, 24  # of one view, in SVG units
WEDGES = 9
SHORTEST_PATH = 0.5  # metres: a camera that only turns is drawn as if it moved this far

ABOVE = np.array([[1.0, 0, 0], [0, 0, -1]])
"""World to picture seen from above: x right stays right, z forward becomes up (SVG's y points down)."""
SIDE = np.array([[0, 0, 1.0], [0, 1, 0]])
"""World to picture seen from the left: z forward becomes right, y down stays down."""


def plot_trajectory(trajectory: Trajectory) -> str:
    """An SVG document of the path as seen from its first camera; metres of one view's width are printed below."""
    poses = trajectory.from_first().poses
    extent = max(float(np.ptp(poses[:, :3, 3], axis=0).max()), SHORTEST_PATH)
    views = (_view(poses, axes, extent, left) for axes, left in ((ABOVE, 0), (SIDE, SIZE)))
    labels = f"{_label(SIZE / 2, 'from above')}{_label(1.5 * SIZE, f'from the side, path {extent:.2g} m')}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * SIZE} {SIZE}" role="img">'
        f"<title>camera path</title>{''.join(views)}{labels}</svg>"
    )


def _view(poses: Float64[np.ndarray, "frames 4 4"], axes: Float64[np.ndarray, "2 3"], extent: float, left: int) -> str:
    path = poses[:, :3, 3] @ axes.T
    middle = (path.max(axis=0) + path.min(axis=0)) / 2
    scale = (SIZE - 2 * MARGIN) / (1.5 * extent)
    centre = np.array([left + SIZE / 2, SIZE / 2])
    line = _points((path - middle) * scale + centre)
    picked = np.unique(np.linspace(0, len(poses) - 1, WEDGES).round().astype(int))
    wedges = (
        _wedge((path[index] - middle) * scale + centre, axes @ poses[index, :3, :3], index / max(len(poses) - 1, 1))
        for index in picked
    )
    return f'<polyline points="{line}" fill="none" stroke="#888"/>{"".join(wedges)}'


def _wedge(apex: Float64[np.ndarray, " 2"], axes: Float64[np.ndarray, "2 3"], share: float) -> str:
    """A triangle from the camera to the far edge of what it sees, 40 degrees wide in the picture's plane."""
    forward = axes @ (0, 0, MARGIN)
    sideways = 0.36 * np.array([-forward[1], forward[0]])
    corners = _points(np.stack([apex, apex + forward - sideways, apex + forward + sideways]))
    return f'<polygon points="{corners}" fill="hsl({240 - 240 * share:.0f} 80% 50%)" fill-opacity="0.35"/>'


def _points(points: Float64[np.ndarray, "points 2"]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _label(x: float, text: str) -> str:
    return f'<text x="{x:.0f}" y="{SIZE - 6}" font-size="11" text-anchor="middle" fill="#555">{text}</text>'
