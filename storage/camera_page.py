"""The page of cameras: the path of each with its frustums, its numbers, and what they share.

One HTML file without scripts; it works from disk. Drawings are pictures of their own, and whatever a user wrote is
escaped. Where the name ends in `.svg`, the drawings alone are written, as one picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.camera.plot import Drawing, stack_drawings
from model.errors import RequestError
from storage.durable import write_whole
from storage.page import render

KINDS = (".html", ".svg")


@dataclass(frozen=True)
class CameraEntry:
    """One camera as the page shows it: its drawing, titled with its name, its facts, and sentences on it."""

    drawing: Drawing
    facts: Mapping[str, str]
    notes: tuple[str, ...]


def check_page(path: Path) -> None:
    """Raise `RequestError` unless a page, or a picture, can be written there."""
    if path.suffix.lower() not in KINDS:
        raise RequestError(f"{path} is neither a page nor a picture; give a name that ends in .html or .svg")
    try:
        if not path.parent.is_dir():
            raise RequestError(f"the folder {path.parent} does not exist; make it, or give another place than {path}")
        if path.is_dir():
            raise RequestError(f"{path} is a folder; give the name of a file")
    except OSError as error:
        raise _refuse(path, error) from None


def write_cameras(path: Path, entries: Sequence[CameraEntry], overlap: Drawing | None) -> Path:
    """Write the page, or the picture; it appears whole or not at all, and takes the place of an earlier one.

    Raises `RequestError` for a place where it cannot be.
    """
    check_page(path)
    text = (_picture if path.suffix.lower() == ".svg" else _page)(entries, overlap)
    try:
        return write_whole(path, text)
    except OSError as error:
        raise _refuse(path, error) from None


def _page(entries: Sequence[CameraEntry], overlap: Drawing | None) -> str:
    return render("cameras", entries=entries, overlap=overlap)


def _picture(entries: Sequence[CameraEntry], overlap: Drawing | None) -> str:
    drawings = [entry.drawing for entry in entries]
    return stack_drawings([*drawings, overlap] if overlap else drawings, "cameras").document(headline=False)


def _refuse(path: Path, error: OSError) -> RequestError:
    return RequestError(f"cannot write {path}: {error.strerror}; give another place")
