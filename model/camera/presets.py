"""The ten camera moves of ReCamMaster, their size a parameter. Numpy half: no torch.

Every preset starts at the origin, which is the first camera of the user's video, looks along +z and reaches its full
size at the last frame at constant speed. The default sizes are those of ReCamMaster's own example file, where the
subject stands four metres away. Beyond it: the file moves along the chord of an arc, these follow the arc itself.
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from model.camera.trajectory import Trajectory, pitch, yaw
from model.config import Config
from model.errors import RequestError

Share = Float64[np.ndarray, " frames"]
Offsets = Float64[np.ndarray, "frames 3"]

PresetName = Literal[
    "pan-right",
    "pan-left",
    "tilt-up",
    "tilt-down",
    "zoom-in",
    "zoom-out",
    "translate-up",
    "translate-down",
    "arc-left",
    "arc-right",
]
PRESETS: tuple[PresetName, ...] = get_args(PresetName)
"""In ReCamMaster's order: `PRESETS[0]` is its camera type 1."""


class Moves(Config):
    """How far the presets go."""

    pan: float = Field(default=20.0, ge=0, le=180)
    """Degrees turned to the side."""
    tilt: float = Field(default=10.0, ge=0, le=90)
    """Degrees turned up or down."""
    zoom: float = Field(default=2.0, ge=0)
    """Metres moved forward or back; the lens stays as it is."""
    translate: float = Field(default=1.0, ge=0)
    """Metres moved up or down, turning so that the subject stays in the middle."""
    arc: float = Field(default=30.0, ge=0, le=180)
    """Degrees moved around the subject."""
    distance: float = Field(default=4.0, gt=0)
    """Metres from the first camera to the subject."""


def preset(name: str, frames: int, moves: Moves | None = None) -> Trajectory:
    """The camera move `name`, one of `PRESETS`, over `frames` frames."""
    if name not in PRESETS:
        raise RequestError(f"there is no camera move {name!r}; choose one of {', '.join(PRESETS)}")
    moves = moves or Moves()
    kind, way = name.split("-")
    sign = 1.0 if way in ("right", "up", "in") else -1.0
    share = sign * np.linspace(0, 1, frames)
    return {"pan": _pan, "tilt": _tilt, "zoom": _zoom, "translate": _translate, "arc": _arc}[kind](share, moves)


def describe(name: PresetName, moves: Moves | None = None) -> str:
    """What the preset does, in words."""
    moves = moves or Moves()
    kind, way = name.split("-")
    opposite = "down" if way == "up" else "up"
    return {
        "pan": f"turns {moves.pan:g} degrees to the {way}",
        "tilt": f"turns {moves.tilt:g} degrees {way}",
        "zoom": f"moves {moves.zoom:g} m {'forward' if way == 'in' else 'back'}; the lens stays as it is",
        "translate": f"moves {moves.translate:g} m {way}, turning {opposite} to a subject {moves.distance:g} m away",
        "arc": f"moves {moves.arc:g} degrees to the {way} around a subject {moves.distance:g} m away, facing it",
    }[kind]


def _pan(share: Share, moves: Moves) -> Trajectory:
    return _trajectory(yaw(np.radians(moves.pan) * share))


def _tilt(share: Share, moves: Moves) -> Trajectory:
    return _trajectory(pitch(np.radians(moves.tilt) * share))


def _zoom(share: Share, moves: Moves) -> Trajectory:
    forward = moves.zoom * share
    return _trajectory(yaw(0 * share), np.stack([0 * share, 0 * share, forward], axis=1))


def _translate(share: Share, moves: Moves) -> Trajectory:
    rise = moves.translate * share
    return _trajectory(pitch(-np.arctan2(rise, moves.distance)), np.stack([0 * share, -rise, 0 * share], axis=1))


def _arc(share: Share, moves: Moves) -> Trajectory:
    """To the right around the subject, turning left to keep it in the middle; a negative share the other way."""
    angle = np.radians(moves.arc) * share
    sideways, forward = moves.distance * np.sin(angle), moves.distance * (1 - np.cos(angle))
    return _trajectory(yaw(-angle), np.stack([sideways, 0 * share, forward], axis=1))


def _trajectory(rotation: Float64[np.ndarray, "frames 3 3"], position: Offsets | None = None) -> Trajectory:
    place = np.zeros((len(rotation), 3)) if position is None else position
    return Trajectory.from_rows(np.concatenate([rotation, place[:, :, None]], axis=2))
