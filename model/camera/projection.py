"""The pinhole camera: intrinsics, projection and its inverse, rays. Numpy half: no torch.

Axes and units as in `trajectory.py`. Pixel coordinates run from 0 to width and height, so that the centre of the
first pixel is (0.5, 0.5). Knows no lens distortion.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from model.camera.trajectory import Pose
from model.errors import RequestError

Points = Float[np.ndarray, "*batch 3"]

UNREAL_SENSOR = 23.76  # mm: width of Unreal's default film back, on which MultiCamVideo was rendered
DEFAULT_FOCAL = 24.0  # mm: one of MultiCamVideo's four lenses, and our fixed choice where a video's lens is unknown


@dataclass(frozen=True)
class Intrinsics:
    """Focal lengths and principal point in pixels, and the size of the image."""

    fx: float | int
    fy: float | int
    cx: float | int
    cy: float | int
    width: int
    height: int

    def __post_init__(self) -> None:
        if not (self.fx > 0 and self.fy > 0 and self.width > 0 and self.height > 0):
            raise RequestError(f"focal lengths and image size must be positive, not {self}")

    @classmethod
    def from_matrix(cls, matrix: Float[np.ndarray, "3 3"], width: int, height: int) -> "Intrinsics":
        """From the usual 3x3 matrix; a skew is refused."""
        if abs(matrix[0, 1]) > 1e-6 * abs(matrix[0, 0]):
            raise RequestError("the camera matrix has a skew; give one whose second number is 0")
        fx, fy, cx, cy = (float(matrix[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
        return cls(fx, fy, cx, cy, width, height)

    @classmethod
    def from_angle(cls, horizontal: float | int, width: int, height: int) -> "Intrinsics":
        """From the horizontal field of view in degrees; square pixels, principal point in the middle."""
        if not 0 < horizontal < 180:
            raise RequestError(f"a field of view of {horizontal} degrees is none; give one between 0 and 180")
        focal = width / 2 / np.tan(np.radians(horizontal) / 2)
        return cls(float(focal), float(focal), width / 2, height / 2, width, height)

    @classmethod
    def from_lens(
        cls, width: int, height: int, focal: float | int = DEFAULT_FOCAL, sensor: float | int = UNREAL_SENSOR
    ) -> "Intrinsics":
        """From a lens and a sensor width in millimetres; square pixels, principal point in the middle."""
        pixels = width * focal / sensor
        return cls(pixels, pixels, width / 2, height / 2, width, height)

    @property
    def matrix(self) -> Float64[np.ndarray, "3 3"]:
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)

    @property
    def angles(self) -> tuple[float, float]:
        """Horizontal and vertical field of view in degrees."""
        left, top = self.cx / self.fx, self.cy / self.fy
        right, bottom = (self.width - self.cx) / self.fx, (self.height - self.cy) / self.fy
        horizontal, vertical = np.degrees(np.arctan([left, top]) + np.arctan([right, bottom]))
        return float(horizontal), float(vertical)

    @property
    def corners(self) -> Float64[np.ndarray, "4 3"]:
        """Unit vectors from the camera through the corners of the image, clockwise from the top left."""
        right, bottom = float(self.width), float(self.height)
        pixels = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]])
        points = unproject(pixels, np.ones(4), self)
        return points / np.linalg.norm(points, axis=1, keepdims=True)


def to_camera(points: Points, pose: Pose) -> Float[np.ndarray, "*batch 3"]:
    """World points in the coordinates of the camera at `pose`: R^T (p - t), since poses are camera-to-world."""
    return (points - pose[:3, 3]) @ pose[:3, :3]


def to_world(points: Points, pose: Pose) -> Float[np.ndarray, "*batch 3"]:
    """Points in the coordinates of the camera at `pose`, in the world's."""
    return points @ pose[:3, :3].T + pose[:3, 3]


def project(
    points: Points, intrinsics: Intrinsics
) -> tuple[Float[np.ndarray, "*batch 2"], Float[np.ndarray, "*batch"]]:
    """Pixel coordinates and depth of points in camera coordinates. Pixels mean nothing where depth is not positive."""
    depth = points[..., 2]
    safe = np.where(depth == 0, 1, depth)[..., None]
    pixels = points[..., :2] / safe * (intrinsics.fx, intrinsics.fy) + (intrinsics.cx, intrinsics.cy)
    return pixels, depth


def unproject(
    pixels: Float[np.ndarray, "*batch 2"], depth: Float[np.ndarray, "*batch"], intrinsics: Intrinsics
) -> Float[np.ndarray, "*batch 3"]:
    """Points in camera coordinates at `depth` behind `pixels`; the inverse of `project`."""
    sideways = (pixels - (intrinsics.cx, intrinsics.cy)) / (intrinsics.fx, intrinsics.fy)
    return np.concatenate([sideways, np.ones_like(depth)[..., None]], axis=-1) * depth[..., None]


def rays(intrinsics: Intrinsics) -> Float64[np.ndarray, "height width 3"]:
    """Unit vectors from the camera through every pixel centre, in camera coordinates."""
    columns, rows = np.meshgrid(np.arange(intrinsics.width) + 0.5, np.arange(intrinsics.height) + 0.5)
    points = unproject(np.stack([columns, rows], axis=-1), np.ones_like(columns), intrinsics)
    return points / np.linalg.norm(points, axis=-1, keepdims=True)
