"""Names that are made of content: the same work has the same name on every machine, other work has another one."""

import json
from collections.abc import Iterator, Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from storage.durable import write_whole

CHUNK = 2**22


def identify(fields: Mapping[str, Any]) -> str:
    """sha256, in hex, of the canonical JSON of `fields`: keys sorted, no spaces, no NaN.

    Raises:
        TypeError: something in it is not JSON.
        ValueError: a number in it is not finite.
    """
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hash_file(path: Path) -> str:
    """sha256 of a file's content, in hex, read piece by piece."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def hash_source(path: Path, cache: Path) -> str:
    """The same of a large file; `cache` keeps earlier answers by place, size and modification time."""
    if (known := known_hash(path, cache)) is not None:
        return known
    remembered = _answer_of(path, cache)
    name = hash_file(path)
    _remember(remembered, name)
    return name


def known_hash(path: Path, cache: Path) -> str | None:
    """What `hash_source` would answer at once; None where it would read the file."""
    remembered = _answer_of(path, cache)
    return remembered.read_text() if remembered.is_file() else None


def hash_folder(folder: Path, cache: Path) -> str:
    """sha256 over the names and contents of all files below `folder`, hidden ones aside.

    `cache` is a folder of earlier answers, by size and modification time of every file: ten gigabytes of weights are
    read once. Whether two folders are equal does not depend on their place or on the order of their files. Folders
    that are links are gone into, as whoever loads the weights does.
    """
    files = sorted(_files(folder, ()))
    states = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    remembered = cache / "hashes" / identify({"files": states})
    if remembered.is_file():
        return remembered.read_text()
    name = identify({path.relative_to(folder).as_posix(): hash_file(path) for path in files})
    _remember(remembered, name)
    return name


def _answer_of(path: Path, cache: Path) -> Path:
    """Where the hash of a file is kept, as it is now."""
    state = path.stat()
    return cache / "hashes" / identify({"file": [str(path.resolve()), state.st_size, state.st_mtime_ns]})


def _files(folder: Path, way: tuple[Path, ...]) -> Iterator[Path]:
    """All files below a folder, links or not, hidden ones aside; what leads back into its own `way` is passed over."""
    way = (*way, folder.resolve())
    for path in folder.glob("[!.]*"):
        if path.is_file():
            yield path
        elif path.is_dir() and path.resolve() not in way:
            yield from _files(path, way)


def _remember(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
