"""Checksums of a folder that is handed over: one text file that `xxhsum -c` reads, xxh128 (XXH3) of every other file.

They tell a copy that went wrong from one that did not. They are no signature: who can change a file can change them.
"""

import re
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

import xxhash

from model.errors import RequestError
from storage.foreign_text import read_text

CHECKSUMS = "checksums.xxh128"
LINE = re.compile(r"([0-9a-f]{32})  ([A-Za-z0-9_][A-Za-z0-9._-]{0,254})")


@dataclass(frozen=True)
class Verdict:
    """What became of a sealed folder: how many files are as they were, and a sentence on each that is not."""

    folder: Path
    whole: int
    faults: tuple[str, ...]


def xxh128(path: Path) -> str:
    """xxh128 of a file's content, in hex, read piece by piece."""
    with path.open("rb") as file:
        return file_digest(file, xxhash.xxh3_128).hexdigest()


def seal(folder: Path) -> dict[str, str]:
    """Write the checksums of all files of a flat folder; returns them by name."""
    sums = {path.name: xxh128(path) for path in sorted(folder.iterdir()) if path.name != CHECKSUMS}
    (folder / CHECKSUMS).write_text("".join(f"{value}  {name}\n" for name, value in sums.items()))
    return sums


def verify(folder: Path) -> Verdict:
    """Compare a sealed folder with its checksums: files that changed, are missing, or were added.

    Raises:
        RequestError: it was not sealed, or its list of checksums is not what `seal` writes.
    """
    sums = _read(folder / CHECKSUMS)
    there = {path.name for path in folder.iterdir()} - {CHECKSUMS}
    faults = [f"{folder / name}: is missing" for name in sums if name not in there]
    faults += [f"{folder / name}: was added" for name in sorted(there - sums.keys())]
    present = [name for name in sums if name in there]
    changed = [name for name in present if not _is_as_it_was(folder / name, sums[name])]
    faults += [f"{folder / name}: has changed" for name in changed]
    return Verdict(folder, len(present) - len(changed), tuple(faults))


def _is_as_it_was(path: Path, value: str) -> bool:
    return path.is_file() and not path.is_symlink() and xxh128(path) == value


def _read(path: Path) -> dict[str, str]:
    """Checksums by name; names are names of files in the same folder and nothing else."""
    found = [LINE.fullmatch(line) for line in read_text(path).splitlines()]
    sums = {line[2]: line[1] for line in found if line}
    if not sums or len(sums) != len(found):
        raise RequestError(f"{path}: no list of checksums that memory-v2v deliver writes; deliver anew")
    return sums
