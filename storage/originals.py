"""The video that was edited, found again: the file that is named, or one of its name at any depth of a folder.

`memory-v2v catalog build` takes videos from all folders below one (`storage/catalog/building.py`); here they are found.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def find_original(place: Path, name: str, content: str, hash_of: Callable[[Path], str]) -> tuple[Path, str] | None:
    """A video with its hash: `place` itself, or where that is a folder the file of this name in it or below.

    Of several files of one name it is the one with `content`, else the first, and one directly in the folder is the
    first: what else it holds is for the caller to refuse. None where there is none that can be read.
    """
    first = None
    for path in _named(place, name):
        try:
            found = path, hash_of(path)
        except OSError:
            continue
        if found[1] == content:
            return found
        first = first or found
    return first


def _named(place: Path, name: str) -> Iterator[Path]:
    """Regular files: the place itself, or those of this name in it, then below; hidden folders aside."""
    if not place.is_dir():
        yield from (path for path in (place,) if path.is_file())
        return
    for where, folders, files in os.walk(place):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        if name in files and (path := Path(where, name)).is_file():
            yield path
