"""What a video has seen of the world around a camera, and how much two videos share (paper section 3.2, Eq. 1-3,
supplement D.1, Algorithm 1). Numpy half: no torch.

A sphere of 180 x 360 directions stands around a *reference* camera, the first of the target trajectory. A direction
is seen if it lies in front of a camera and inside its image in at least one frame. The bitmap of a cached trajectory
thus depends on the target. Within a session it does not: all trajectories there share one reference, the first camera
of the user's video, so their packed bitmaps can be stored and compared as they are (`rank`, `cover`). In any other
case `fov_score` draws the cached trajectory again around the target's reference.

Where we differ: Algorithm 1 builds camera-to-world poses and then applies R (p - t); we apply R^T (p - t). Directions
count by their solid angle (`weighting="count"` is the paper, where the poles count too much). The paper's sphere has
radius 1; ours is ten metres, because a camera that leaves the sphere sees it from outside. Occlusion is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

from model.camera.projection import Intrinsics
from model.camera.trajectory import Pose, Trajectory
from model.errors import RequestError

Weighting = Literal["solid_angle", "count"]
Bitmap = UInt8[np.ndarray, " bytes"]
Bitmaps = UInt8[np.ndarray, "cached bytes"]

LATITUDES, LONGITUDES = 180, 360
ROW_BYTES = LONGITUDES // 8
PACKED_BYTES = LATITUDES * ROW_BYTES
RADIUS = 10.0  # metres
AT_ONCE = 32  # bitmaps weighed together: what stays in the processor's cache


@dataclass(frozen=True, eq=False)
class FieldOfView:
    """The directions a trajectory has seen, and all that is needed to draw them around another camera.

    `packed` holds one bit a direction, south to north and west to east, 8,100 bytes. `reference` is the
    camera-to-world pose at the centre of the sphere, `radius` its size in metres.
    """

    packed: UInt8[np.ndarray, " bytes"]
    trajectory: Trajectory
    intrinsics: Intrinsics
    reference: Float64[np.ndarray, "4 4"]
    radius: float | int
    weighting: Weighting

    def around(self, reference: Pose) -> "FieldOfView":
        """The same trajectory drawn around another camera."""
        return video_fov(self.trajectory, self.intrinsics, reference, self.radius, self.weighting)

    @property
    def seen(self) -> Bool[np.ndarray, "latitude longitude"]:
        return np.unpackbits(self.packed).astype(bool).reshape(LATITUDES, LONGITUDES)

    @property
    def area(self) -> float:
        """Size of what is seen: steradians, or a number of directions where `weighting` is `count`."""
        return float(_areas(self.packed[None], self.weighting)[0])


def video_fov(
    trajectory: Trajectory | Float[np.ndarray, "frames row 4"],
    intrinsics: Intrinsics | Float[np.ndarray, "3 3"],
    reference: Pose | None = None,
    radius: float | int = RADIUS,
    weighting: Weighting = "solid_angle",
) -> FieldOfView:
    """The union of what the frames of `trajectory` see on a sphere of `radius` metres around `reference`.

    Without a reference the sphere stands around the first camera of the trajectory itself, as for a target. Plain
    arrays are taken too: poses `[n, 4, 4]` or `[n, 3, 4]`, and a 3x3 matrix whose principal point is the middle of
    the image.
    """
    if radius <= 0:
        raise RequestError(f"a sphere of radius {radius} m has no directions; give a positive radius")
    path, lens = _as_trajectory(trajectory), _as_intrinsics(intrinsics)
    centre = (path.poses[0] if reference is None else reference).astype(np.float64)
    seen = _rasterise(path.relative_to(centre), lens, radius)
    return FieldOfView(np.packbits(seen), path, lens, centre, radius, weighting)


def fov_score(target: FieldOfView, cached: FieldOfView) -> float:
    """Half the overlap |A n B| / |A u B| and half the containment |A n B| / |A|, A the target: 0 to 1 (Eq. 1-3).

    Not symmetric: a cached video that saw everything the target sees contains it, whatever else it saw.
    """
    if cached.radius != target.radius or not np.allclose(cached.reference, target.reference, atol=1e-9):
        cached = video_fov(cached.trajectory, cached.intrinsics, target.reference, target.radius)
    return float(rank(target, cached.packed[None])[0])


def overlap_matrix(
    views: Sequence[Trajectory], intrinsics: Intrinsics | Sequence[Intrinsics]
) -> Float64[np.ndarray, "views views"]:
    """`fov_score` of every pair of views: the row is the target, the column what is cached; 1 on the diagonal.

    `intrinsics` are those of all views, or one for each. All trajectories must share a world, as those of a session do.
    """
    lenses = [intrinsics] * len(views) if isinstance(intrinsics, Intrinsics) else intrinsics
    drawn = [video_fov(view, lens) for view, lens in zip(views, lenses, strict=True)]
    return np.array([[fov_score(target, cached) for cached in drawn] for target in drawn]).reshape(len(views), -1)


def rank(target: FieldOfView, packed: Bitmaps) -> Float64[np.ndarray, " cached"]:
    """`fov_score` of many bitmaps at once, each drawn around the target's reference with the target's radius."""
    return _scores(target.packed, packed, target.weighting)


def cover(target: FieldOfView, packed: Bitmaps, wanted: int) -> list[int]:
    """Indices of at most `wanted` bitmaps that do not repeat one another, best first (ours, after WorldMem).

    After each pick the directions it covers leave the target. When none is left, the others follow by their score.
    """
    left, chosen = target.packed.copy(), []
    whole = rank(target, packed)
    free = np.ones(len(packed), bool)
    while len(chosen) < min(wanted, len(packed)):
        scores = _scores(left, packed, target.weighting)
        best = int(np.lexsort((-whole, -scores, ~free))[0])
        chosen.append(best)
        free[best] = False
        left &= ~packed[best]
    return chosen


@cache
def sphere() -> Float32[np.ndarray, "3 directions"]:
    """Unit vectors of the middle of every cell, south to north and west to east; +z is latitude 0, longitude 0."""
    latitude = np.radians(np.arange(LATITUDES) + 0.5 - LATITUDES / 2)[:, None]
    longitude = np.radians((np.arange(LONGITUDES) + 0.5) * 360 / LONGITUDES - 180)[None]
    axes = (
        np.cos(latitude) * np.sin(longitude),
        -np.sin(latitude) + 0 * longitude,
        np.cos(latitude) * np.cos(longitude),
    )
    return np.stack(axes).reshape(3, -1).astype(np.float32)


@cache
def cell_sizes(weighting: Weighting) -> Float64[np.ndarray, " latitude"]:
    """Weight of one direction at each latitude: its solid angle in steradians, 4 pi in all; or 1."""
    if weighting == "count":
        return np.ones(LATITUDES)
    borders = np.radians(np.linspace(-90, 90, LATITUDES + 1))
    return np.diff(np.sin(borders)) * (2 * np.pi / LONGITUDES)


def _rasterise(cameras: Trajectory, lens: Intrinsics, radius: float | int) -> Bool[np.ndarray, " directions"]:
    """Depth positive and inside the image in any frame. Pixels stay multiplied by depth, which saves the division."""
    directions = sphere()
    seen = np.zeros(directions.shape[1], bool)
    for pose in cameras.poses:
        to_pixels = lens.matrix @ pose[:3, :3].T
        offset = (to_pixels @ pose[:3, 3]).astype(np.float32)
        x, y, depth = (radius * to_pixels).astype(np.float32) @ directions - offset[:, None]
        seen |= (depth > 0) & (x >= 0) & (x < lens.width * depth) & (y >= 0) & (y < lens.height * depth)
    return seen


def _scores(target: Bitmap, packed: Bitmaps, weighting: Weighting) -> Float64[np.ndarray, " cached"]:
    shared = _areas(packed, weighting, within=target)
    wanted = _areas(target[None], weighting)[0]
    union = wanted + _areas(packed, weighting) - shared
    return 0.5 * shared / np.maximum(union, 1e-12) + 0.5 * shared / max(wanted, 1e-12)


def _areas(packed: Bitmaps, weighting: Weighting, within: Bitmap | None = None) -> Float64[np.ndarray, " cached"]:
    """Weighted sizes of bitmaps, or of what of them lies `within` another. Bits are counted latitude by latitude, in
    exact arithmetic, and weighed row by row, so that a bitmap's size does not depend on its company."""
    assert packed.shape[1] == PACKED_BYTES, f"a bitmap has {PACKED_BYTES} bytes, not {packed.shape[1]}"
    rows = _occupied(np.bitwise_or.reduce(packed, axis=0) if within is None else within)
    part = slice(rows.start * ROW_BYTES, rows.stop * ROW_BYTES)
    counts = np.zeros((len(packed), LATITUDES), np.float32)
    for first in range(0, len(packed), AT_ONCE):
        some = packed[first : first + AT_ONCE, part]
        counts[first : first + AT_ONCE, rows] = _bits_by_row(some if within is None else some & within[part])
    return (counts * cell_sizes(weighting)).sum(axis=1)


def _occupied(bitmap: Bitmap) -> slice:
    """The latitudes between which anything is seen: few, for most cameras never look up or down."""
    rows = np.flatnonzero(bitmap.reshape(LATITUDES, ROW_BYTES).any(axis=1))
    return slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)


def _bits_by_row(packed: Bitmaps) -> Float32[np.ndarray, "cached latitude"]:
    """Whole numbers up to 360, exact in float32, whose matrix product is the fastest sum there is."""
    bits = np.bitwise_count(packed).astype(np.float32).reshape(-1, ROW_BYTES)
    return (bits @ np.ones(ROW_BYTES, np.float32)).reshape(len(packed), -1)


def _as_trajectory(given: Trajectory | np.ndarray) -> Trajectory:
    if isinstance(given, Trajectory):
        return given
    return Trajectory(given) if given.shape[1] == 4 else Trajectory.from_rows(given)


def _as_intrinsics(given: Intrinsics | np.ndarray) -> Intrinsics:
    if isinstance(given, Intrinsics):
        return given
    return Intrinsics.from_matrix(given, round(2 * float(given[0, 2])), round(2 * float(given[1, 2])))
