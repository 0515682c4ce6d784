"""Cameras before they are used: what was understood, where they go, and what they share. No model is loaded.

The command reads cameras and shows them; so can whoever has a session, whose turns come as further named trajectories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.camera.fov import overlap_matrix
from model.camera.plot import draw_overlap, draw_trajectory
from model.camera.presets import PRESETS, describe
from model.camera.projection import Intrinsics
from model.camera.trajectory import Trajectory
from model.camera.written import WrittenCamera, read_camera
from model.config import WindowConfig
from model.errors import RequestError
from storage.camera_page import CameraEntry, check_page, write_cameras
from storage.sessions import require_session
from storage.store import MEMORY
from storage.views import ViewStore

Turn = tuple[str, Trajectory]
"""A name and the cameras of a view that is there already, relative to the first camera of the user's video."""


@dataclass(frozen=True)
class CameraReport:
    """One camera: its frames, the length of its path in `unit`, how far it turns in all, and the lens it is drawn with.

    `own_lens` says whether the lens came with the camera, or was assumed.
    """

    name: str
    frames: int
    length: float
    unit: str
    degrees: float
    intrinsics: Intrinsics
    own_lens: bool
    notes: tuple[str, ...]

    def facts(self) -> dict[str, str]:
        """Its numbers in words."""
        horizontal, vertical = self.intrinsics.angles
        return {
            "frames": f"{self.frames}",
            "path": f"{self.length:.2f} {self.unit}",
            "turned": f"{self.degrees:.1f} degrees",
            "lens": f"{horizontal:.1f} x {vertical:.1f} degrees, {'its own' if self.own_lens else 'assumed'}",
        }


@dataclass(frozen=True)
class CamerasReport:
    """What was drawn: the cameras, their VideoFOV overlap (row: target, column: cached), and the file."""

    cameras: tuple[CameraReport, ...]
    overlap: list[list[float]]
    page: str

    def summary(self) -> str:
        """Some lines for a person."""
        lines = []
        for camera in self.cameras:
            lines += [camera.name, *(f"  {name:8}{value}" for name, value in camera.facts().items())]
            lines += [f"  {'note':8}{note}" for note in camera.notes]
        return "\n".join([*lines, f"page {self.page}"])


def plot_cameras(
    texts: Sequence[str], frames: int, angle: float | None, scale: float | None, save: Path, turns: Sequence[Turn] = ()
) -> CamerasReport:
    """Read cameras as people write them and draw them into `save`, a page or a picture, beside `turns` of a session.

    `angle` is the horizontal field of view, in degrees, of cameras that bring no lens of their own; `scale` is how many
    metres a unit is in files that name none.

    Raises:
        RequestError: a camera that cannot be read, or a file that cannot be written; nothing was.
    """
    check_page(save)
    window = WindowConfig()
    size = window.width, window.height
    lens = Intrinsics.from_lens(*size) if angle is None else Intrinsics.from_angle(angle, *size)
    cameras = [WrittenCamera(name, trajectory, None, True, ("a turn of the session",)) for name, trajectory in turns]
    cameras += [read_camera(text, frames, scale=scale) for text in texts]
    reports = tuple(_report(camera, lens) for camera in cameras)
    entries = [
        CameraEntry(
            draw_trajectory(camera.trajectory, report.intrinsics, report.name, report.unit),
            report.facts(),
            report.notes,
        )
        for camera, report in zip(cameras, reports, strict=True)
    ]
    scores = overlap_matrix([camera.trajectory for camera in cameras], [report.intrinsics for report in reports])
    shared = draw_overlap([camera.name for camera in cameras], scores) if len(cameras) > 1 else None
    return CamerasReport(reports, scores.round(6).tolist(), str(write_cameras(save, entries, shared)))


def turns_of(out: Path, session: str) -> list[Turn]:
    """The finished or begun views of a session, in the order in which they were made.

    Raises:
        RequestError: there is no such session, or it has no views.
    """
    rows = [row for row in require_session(out, session) if row.kind == "view"]
    if not rows:
        raise RequestError(f"{session}: has no views, only text turns; memory-v2v session show {session} lists them")
    views = ViewStore(out / MEMORY)
    return [(f"turn {row.number}: {row.asked}", views.path_of(row.key)) for row in rows]


def list_presets() -> dict[str, str]:
    """What every preset does, by its name."""
    return {name: describe(name) for name in PRESETS}


def _report(camera: WrittenCamera, lens: Intrinsics) -> CameraReport:
    return CameraReport(
        camera.name,
        len(camera.trajectory),
        camera.trajectory.metres,
        "m" if camera.metric else "units",
        camera.trajectory.degrees,
        camera.intrinsics or lens,
        camera.intrinsics is not None,
        camera.notes,
    )
