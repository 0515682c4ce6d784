"""Files that appear whole or not at all."""

import os
from pathlib import Path


def publish(finished: Path, target: Path) -> None:
    """Give a finished file in the same folder its final name; both survive a power cut."""
    _sync(finished, os.O_RDONLY)
    finished.replace(target)
    _sync(target.parent, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
