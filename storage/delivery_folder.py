"""The folder of a delivery: its name has a version that is never given twice, and it appears whole or not at all.

Whoever delivers to a place holds its lock, writes to a hidden folder and renames it. The place remembers the last
version of every name, also when the delivery was moved away, and whose it was.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from filelock import FileLock, Timeout

from model.errors import RequestError, RunError
from storage.durable import publish_folder, write_whole
from storage.foreign_text import TextError, parse_json, read_text

LOCK, REGISTER, UNFINISHED = ".deliveries.lock", ".deliveries.json", ".unfinished"


@dataclass(frozen=True)
class Staged:
    """A delivery that is being made in `folder`; it will be called `name`."""

    folder: Path
    name: str
    version: int


@contextmanager
def staged(place: Path, stem: str, owner: str, say: Callable[[str], None]) -> Iterator[Staged]:
    """A folder to make the next version of `stem` in; it gets its name at the end, or is removed.

    `owner` is the content id of the video that the name stands for. Another process that delivers to the same place is
    waited for.

    Raises:
        RequestError: the place cannot be written to, or the name stands for another video there.
        RunError: the disk failed.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise RequestError(f"{place}: cannot be made a folder ({fault.strerror}); choose another --to") from fault
    try:
        with _alone(place, say):
            for left in place.glob(f".*{UNFINISHED}"):
                if left.is_dir():  # of a delivery that was killed: nobody else delivers now; a file is somebody else's
                    rmtree(left)
            version = _next_version(place, stem, owner)
            name = f"{stem}_v{version:03d}"
            folder = place / f".{name}{UNFINISHED}"
            folder.mkdir()
            try:
                yield Staged(folder, name, version)
                _remember(place, stem, {"version": version, "source": owner})
                publish_folder(folder, place / name)
            finally:
                rmtree(folder, ignore_errors=True)
    except OSError as fault:
        raise RunError(f"{place}: could not be delivered to ({fault.strerror}); nothing is left of it") from fault


@contextmanager
def _alone(place: Path, say: Callable[[str], None]) -> Iterator[None]:
    lock = FileLock(place / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{place}: another process is delivering to it; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _next_version(place: Path, stem: str, owner: str) -> int:
    known = _register(place).get(stem, {"version": 0, "source": owner})
    if known["source"] != owner:
        raise RequestError(f"{place}: {stem} is another video there; give this one another --name, or another --to")
    found = [re.fullmatch(rf"{re.escape(stem)}_v(\d+)", path.name) for path in place.iterdir()]
    return max([known["version"], *(int(one[1]) for one in found if one)]) + 1


def _register(place: Path) -> dict[str, Any]:
    path = place / REGISTER
    try:
        return parse_json(read_text(path)) if path.exists() else {}
    except TextError as fault:
        raise RequestError(f"{path}: {fault}; delete it, or choose another --to") from None


def _remember(place: Path, stem: str, known: dict[str, Any]) -> None:
    write_whole(place / REGISTER, json.dumps(_register(place) | {stem: known}))
