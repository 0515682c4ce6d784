"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to. It becomes `target` at the end, and is removed where that fails."""
    path = target.with_name(f".{uuid4().hex}.unfinished")
    try:
        yield path
        publish(path, target)
    finally:
        path.unlink(missing_ok=True)


def write_whole(target: Path, text: str) -> Path:
    """Write a file of text, UTF-8."""
    with whole_file(target) as path:
        path.write_text(text, encoding="utf-8")
    return target


def cut_off(folder: Path) -> list[Path]:
    """Files in a folder that `whole_file` was writing when its process was killed.

    Only for whoever holds the folder's lock: a file that is being written now has such a name too.
    """
    return [path for path in folder.glob(f".{'[0-9a-f]' * 32}.unfinished") if path.is_file()]


def publish(finished: Path, target: Path) -> None:
    """Give a finished file in the same folder its final name; both survive a power cut."""
    _sync(finished, os.O_RDONLY)
    finished.replace(target)
    _sync(target.parent, os.O_RDONLY | os.O_DIRECTORY)


def publish_folder(finished: Path, target: Path) -> None:
    """The same of a flat folder with all its files.

    Raises:
        OSError: there is something of that name, which stays as it is.
    """
    for path in finished.iterdir():
        _sync(path, os.O_RDONLY)
    publish(finished, target)


@contextmanager
def synced(folder: Path) -> Iterator[None]:
    """What is made below a folder inside the block survives a power cut: new files and folders in its folders.

    So does a new folder itself, and the one that it is in. What is none, as a table in a bucket, is passed over.
    """
    there = set(folder.glob("*/*"))
    yield
    made = set(folder.glob("*/*")) - there
    below = {path for each in made if each.is_dir() for path in each.rglob("*")}
    folders = {path.parent for path in made | below} | {folder for _ in made}
    above = folder.parents[:2] if made and not there else ()
    for path in (*sorted(made | below), *sorted(folders, reverse=True), *above):
        with suppress(FileNotFoundError):  # another writer's tidying took it
            _sync(path, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
