"""Cameras as people write them: a preset, a sentence, or the path of a camera file. Numpy half: no torch.

However it was written, the camera that comes back stands at the origin in its first frame, looks along +z, and has the
frames that were asked for. Knows no grammar and no file form: `sentence.py`, `multicam.py`, `nerf.py`, `colmap.py` do.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from model.camera import multicam, nerf
from model.camera.camera_file import RecordedCamera, read_json
from model.camera.colmap import read_colmap
from model.camera.presets import PRESETS, Moves, preset
from model.camera.projection import Intrinsics
from model.camera.sentence import STILL, VERBS, parse_sentence
from model.camera.trajectory import Trajectory
from model.errors import RequestError

MOST_FRAMES = 100_000
ALIASES = {"orbit-left": "arc-left", "orbit-right": "arc-right"}
UNKNOWN_UNIT = "the file names no unit: one of its units is taken for a metre; give a scale if that is wrong"


@dataclass(frozen=True)
class WrittenCamera:
    """A camera someone wrote, ready for a view.

    Attributes:
        name: how it was written.
        trajectory: camera-to-world, OpenCV axes, the first camera at the origin; metres where `metric`.
        intrinsics: the lens, in pixels of its own image size; None where what was written has none.
        metric: whether lengths are known to be metres.
        notes: sentences on what was assumed, changed or left out.
    """

    name: str
    trajectory: Trajectory
    intrinsics: Intrinsics | None
    metric: bool
    notes: tuple[str, ...]

    @property
    def label(self) -> str:
        """What a result along it is called: how it was written, without the folders of a path."""
        return self.name.rsplit("/", 1)[-1].removesuffix(".json")


def read_camera(text: str, frames: int, moves: Moves | None = None, scale: float | int | None = None) -> WrittenCamera:
    """The camera that `text` stands for, over `frames` frames.

    `text` is one of `PRESETS` (or `orbit-left`, `orbit-right`), a sentence (see `sentence.py`), or a path: JSON of
    ReCamMaster (`cameras.json#cam03`, where it has several), a NeRF's `transforms.json`, or the folder of a COLMAP
    model in text form. `moves` says how far presets go and how far away the subject is. `scale` is how many metres a
    unit of a file is, for files that name none; presets, sentences and ReCamMaster's centimetres are left alone.

    Raises:
        RequestError: it is none of these, a file is missing, damaged or too large, or a number makes no sense.
    """
    if not 1 <= frames <= MOST_FRAMES:
        raise RequestError(f"a camera cannot have {frames} frames; ask for 1 to {MOST_FRAMES:,}")
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise RequestError(f"a unit of {scale} metres is none; give a positive scale")
    name = " ".join(text.split())
    if ALIASES.get(name, name) in PRESETS:
        return WrittenCamera(name, preset(ALIASES.get(name, name), frames, moves), None, True, ())
    if _is_path(text):
        return _fitted(_read_path(text, name, scale), frames)
    return _read_sentence(name, frames, moves or Moves())


def _read_sentence(text: str, frames: int, moves: Moves) -> WrittenCamera:
    if " " not in text and text.lower() not in (*VERBS, *STILL):
        raise RequestError(
            f"there is no camera {text[:60]!r}; give {', '.join(PRESETS)}, a sentence such as 'pan right 20deg', "
            "or the path of a camera file or folder"
        )
    sentence = parse_sentence(text)
    rest = frames - sum(sentence.share_out(frames))
    notes = (f"the camera stands still for the last {rest} of {frames} frames",) if rest else ()
    return WrittenCamera(text, sentence.follow(frames, moves.distance), None, True, notes)


def _is_path(text: str) -> bool:
    """No preset and no sentence has a slash or ends like a file; a folder may have any name."""
    return "/" in text or text.partition("#")[0].endswith(".json") or _is_folder(text)


def _is_folder(text: str) -> bool:
    try:
        return bool(text) and Path(text).is_dir()
    except OSError:  # too long for a name
        return False


def _read_path(text: str, name: str, scale: float | int | None) -> WrittenCamera:
    if _is_folder(text):
        return _scaled(name, read_colmap(Path(text)), scale)
    file, _, chosen = text.partition("#")
    content = read_json(Path(file))
    if "frame0" in content:
        cameras = multicam.parse_cameras(content, Path(file))
        return WrittenCamera(name, _choose(cameras, chosen, file), None, True, ())
    if chosen or "frames" not in content:
        expected = "only ReCamMaster's JSON has cameras to choose from" if chosen else "expected frame0 or frames"
        raise RequestError(f"{text} is no such camera file: {expected}; give ReCamMaster's JSON or a transforms.json")
    return _scaled(name, nerf.parse_transforms(content, Path(file)), scale)


def _choose(cameras: dict[str, Trajectory], chosen: str, file: str) -> Trajectory:
    if chosen in cameras:
        return cameras[chosen]
    if len(cameras) == 1 and not chosen:
        return next(iter(cameras.values()))
    what = f"has no camera {chosen!r}" if chosen else f"has {len(cameras)} cameras"
    raise RequestError(f"{file} {what}; choose one by {file}#NAME: {', '.join(cameras) or 'there is none'}")


def _scaled(name: str, camera: RecordedCamera, scale: float | int | None) -> WrittenCamera:
    """The camera of a file that names no unit, `scale` metres long where that is known."""
    poses = camera.trajectory.poses.copy()
    poses[:, :3, 3] *= 1 if scale is None else scale
    notes = camera.notes if scale is not None else (UNKNOWN_UNIT, *camera.notes)
    return WrittenCamera(name, Trajectory(poses), camera.intrinsics, scale is not None, notes)


def _fitted(camera: WrittenCamera, frames: int) -> WrittenCamera:
    """The same camera told from its first pose, over `frames` frames."""
    path, notes = camera.trajectory.from_first(), camera.notes
    if len(path) != frames:
        notes = (*notes, f"resampled from {len(path)} frames to {frames}")
    return replace(camera, trajectory=path if len(path) == frames else path.resampled(frames), notes=notes)
