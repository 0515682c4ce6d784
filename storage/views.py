"""The memory of novel views: every segment seen anew, with its cameras and what they saw of the world around them.

In the LanceDB of text edits, and with the same latents: `views` has one row a segment and turn. All trajectories of a
session are relative to the first camera of the user's video, so their bitmaps (`model/camera/fov.py`) are kept as they
are and compared without being drawn again. A session has tens to thousands of rows of some 16 kB: all that may be
recalled are read, none is searched.

Does not know which views are worth recalling; `model/memory/retrieval.py` does.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, UInt8
from lancedb.expr import col, lit

from model.camera.fov import PACKED_BYTES
from model.camera.trajectory import Trajectory
from model.errors import StoreError
from storage.latents import CACHE_BYTES
from storage.ledger import TurnKey, of_turns
from storage.remembered import Reach, Remembered, RememberedStore, common_fields, row_schema

TABLE = "views"
OWN: dict[str, pa.DataType] = {
    "camera": pa.string(),
    "trajectory": pa.list_(pa.float64()),
    "seen": pa.binary(PACKED_BYTES),
}


@dataclass(frozen=True)
class ViewRow(Remembered):
    """A segment seen along `trajectory`, the camera-to-world rows `[R|t]` of its frames, metres; `camera` names it.

    `seen` is the packed bitmap of all directions that it saw. `video` is the user's, also where the turn rendered the
    result of another turn.
    """

    camera: str
    trajectory: Float64[np.ndarray, "frames 3 4"]
    seen: UInt8[np.ndarray, " bytes"]

    @property
    def cameras(self) -> Trajectory:
        """The trajectory as the model takes it."""
        return Trajectory.from_rows(self.trajectory)

    @property
    def title(self) -> str:
        """The camera, and what is seen where that was said."""
        return f"{self.camera}: {self.instruction}" if self.instruction else self.camera


class ViewStore(RememberedStore[ViewRow]):
    """The views of one output folder.

    Raises:
        StoreError: the store is damaged, or was written by another version.
    """

    def __init__(self, uri: Path, cache_bytes: int = CACHE_BYTES) -> None:
        super().__init__(uri, TABLE, view_schema(), cache_bytes)

    def earlier(self, turns: Sequence[TurnKey], video: str, shot: int, reach: Reach) -> list[ViewRow]:
        """The views that `turns` made of one shot of a video, within `reach`, in no order."""
        same = of_turns(turns) & (col("video") == lit(video)) & (col("shot") == lit(shot))
        return self._select(same & reach.predicate)

    def path_of(self, turn: TurnKey) -> Trajectory:
        """The cameras of a whole turn, frame by frame, as far as its segments are there.

        Raises:
            StoreError: none is there.
        """
        rows = self.rows_of(turn)
        if not rows:
            raise StoreError(f"turn {turn[1]} of session {turn[0]} has no segments; run its command again")
        poses = {row.start + at: pose for row in rows for at, pose in enumerate(row.trajectory[: row.stop - row.start])}
        return Trajectory.from_rows(np.stack([poses[frame] for frame in sorted(poses)]))

    def _to_record(self, row: ViewRow) -> dict[str, Any]:
        return {**asdict(row), "trajectory": row.trajectory.ravel(), "seen": row.seen.tobytes()}

    def _from_table(self, found: pa.Table) -> list[ViewRow]:
        paths = (path.values.to_numpy().reshape(-1, 3, 4) for path in found["trajectory"])
        bitmaps = (np.frombuffer(bitmap, np.uint8) for bitmap in found["seen"].to_pylist())
        kept = zip(common_fields(found), found["camera"].to_pylist(), paths, bitmaps, strict=True)
        return [ViewRow(**common, camera=camera, trajectory=path, seen=seen) for common, camera, path, seen in kept]


def view_schema() -> pa.Schema:
    """Columns of views."""
    return row_schema(OWN)
