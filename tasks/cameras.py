"""The camera path of a turn from what the user typed: a preset's name, or a file of poses."""

from dataclasses import dataclass
from pathlib import Path

from model.camera.multicam import read_cameras
from model.camera.presets import PRESETS, preset
from model.camera.projection import Intrinsics
from model.camera.trajectory import Trajectory
from model.errors import RequestError


@dataclass(frozen=True)
class WrittenCamera:
    """A named camera path; `intrinsics` where the file tells the lens."""

    name: str
    trajectory: Trajectory
    intrinsics: Intrinsics | None = None


def read_camera(text: str, frames: int) -> WrittenCamera:
    """The path over `frames` frames, relative to its first camera.

    A file of ReCamMaster's with several cameras takes the name of one behind a colon: `cameras.json:cam03`.

    Raises:
        RequestError: there is no such preset, file or camera, or the file's poses are no camera path.
    """
    if text in PRESETS:
        return WrittenCamera(text, preset(text, frames))
    name, _, camera = text.partition(".json:")
    path = Path(f"{name}.json" if camera else text)
    if path.suffix != ".json":
        raise RequestError(f"camera {text!r}: expected a file (.json) or one of {', '.join(PRESETS)}")
    cameras = read_cameras(path)
    if camera not in cameras and (camera or len(cameras) != 1):
        raise RequestError(f"camera {text!r}: choose one of its cameras, such as {path}:{next(iter(cameras))}")
    chosen = camera or next(iter(cameras))
    label = f"{path.stem}-{camera}" if camera else path.stem
    return WrittenCamera(label, cameras[chosen].from_first().resampled(frames))
