"""What the readers of camera files share: careful reading, and what they return. Numpy half: no torch.

Camera files come from other people. A file is read only if it is a regular one, within bounds, and JSON only if it is
strict: no NaN, no infinity, no key twice. Knows none of the forms; those have a file each (`multicam.py`, `nerf.py`,
`colmap.py`).
"""

import json
import math
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Float64

from model.camera.projection import Intrinsics
from model.camera.trajectory import Trajectory
from model.errors import RequestError

LARGEST_FILE = 64 * 2**20
DIGITS = re.compile("[0-9]+")


@dataclass(frozen=True)
class RecordedCamera:
    """A camera as a file has it: every pose, in the file's own world. `notes` are sentences on what was left out."""

    trajectory: Trajectory
    intrinsics: Intrinsics | None
    notes: tuple[str, ...] = ()


def open_text(path: Path, largest: int = LARGEST_FILE) -> TextIO:
    """A regular file of at most `largest` bytes, opened as UTF-8. Raises `RequestError` for any other."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # non-blocking: a FIFO must not hang
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise RequestError(f"cannot read cameras from {path}: {why}; give a file that is there") from None
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size <= largest:
        return os.fdopen(descriptor, encoding="utf-8")
    os.close(descriptor)
    if stat.S_ISREG(status.st_mode):
        raise RequestError(f"{path} is larger than {largest >> 20} MiB; give a file of camera poses")
    raise RequestError(f"cannot read cameras from {path}: it is no regular file; give a file of camera poses")


def read_json(path: Path) -> dict[str, Any]:
    """The object that the file holds, every number of it a float."""
    with open_text(path) as file:
        try:
            content = json.load(
                file, parse_int=float, parse_constant=_refuse_constant, object_pairs_hook=_without_repetition
            )
        except (ValueError, RecursionError) as error:
            raise RequestError(f"cannot read cameras from {path}: {error}; give a file in JSON") from None
    if not isinstance(content, dict):
        raise RequestError(f"cannot read cameras from {path}: it holds no object; give JSON that begins with {{")
    return content


def trajectory_of(poses: Float64[np.ndarray, "frames 4 4"], where: object) -> Trajectory:
    """The trajectory of poses that are told in `where`, which the error for one that is no rigid motion names."""
    try:
        return Trajectory(poses)
    except RequestError as fault:
        raise RequestError(f"{where}: {fault}") from None


def finite(value: object, where: str) -> float:
    """`value`, if it is a finite number. `where` says whose it is, for the error."""
    if isinstance(value, bool) or not isinstance(value, float | int) or not math.isfinite(value):
        raise RequestError(f"{where} is {str(value)[:60]!r}; expected a finite number")
    return float(value)


def number(text: str, where: str) -> float:
    """The finite number that `text` spells."""
    try:
        return finite(float(text), where)
    except ValueError:
        return finite(text, where)


def image_size(width: float, height: float, where: str) -> tuple[int, int]:
    """Width and height in whole pixels, at least one."""
    if not all(size >= 1 and size.is_integer() for size in (width, height)):
        raise RequestError(f"the image size of {where} is {width:g}x{height:g}; expected whole pixels")
    return int(width), int(height)


def by_number(name: str) -> str:
    """A key that sorts names as people count: frame2 before frame10."""
    return DIGITS.sub(lambda digits: digits[0].zfill(20), name)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError(f"a key occurs twice among {', '.join(sorted(content))[:60]}")
    return content
