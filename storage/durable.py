"""Files that appear whole or not at all."""

import os
from pathlib import Path


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


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
