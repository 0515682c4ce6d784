"""A manifest from a folder of videos: ids from their names, addresses relative to the manifest.

Names that other people gave are material: what cannot stand in a manifest is refused by name, links out of the folder
and hidden files are left alone.
"""

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any

from model.errors import RequestError
from storage.address import has_control_letters, read_address
from storage.catalog.faults import show
from storage.catalog.places import same_name
from storage.durable import publish

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".m2ts", ".mxf", ".ts", ".webm")
MAX_ID, MARK_LENGTH = 128, 8
_UNFIT = re.compile(r"[^A-Za-z0-9._]+")


def build_catalog(
    folder: Path, manifest: Path, pattern: str = "*", prompts: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """A line for each video below a folder whose path ends as `pattern` says, in the order of their paths.

    `manifest` is where the lines will be written. Each of `prompts` is a turn on the result of the one before; without
    any, the turns are left to the defaults.

    Raises:
        RequestError: there is no such folder, no such video, or one has a name that a manifest cannot hold.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder}: no such folder")
    if not PurePath(pattern).parts:
        raise RequestError(f"--pattern {pattern!r}: matches nothing; expected a pattern such as *.mov")
    found = [path for path in sorted(_videos(folder)) if path.match(pattern)]
    if not found:
        raise RequestError(f"{folder}: has no video that matches {pattern!r} (*{', *'.join(SUFFIXES)})")
    turns = [{"prompt": text} | ({"on": "last"} if number else {}) for number, text in enumerate(prompts)]
    base = Path(os.path.relpath(folder.resolve(), manifest.absolute().parent.resolve()))
    return [
        {"video_id": name, "uri": _address(folder, base, path)} | ({"turns": turns} if turns else {})
        for name, path in zip(_unique_ids(found), found, strict=True)
    ]


def write_manifest(lines: Sequence[dict[str, Any]], manifest: Path, overwrite: bool = False) -> None:
    """Write a manifest as JSON lines, whole or not at all.

    Raises:
        RequestError: there is such a file already and it is not to be overwritten, or it cannot be
            written.
    """
    if not manifest.parent.is_dir():
        raise RequestError(f"{manifest.parent}: no such folder")
    unfinished = manifest.with_name(f".{manifest.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
        if not overwrite:
            os.link(unfinished, manifest)  # fails where there is one; renaming onto it then changes nothing
        publish(unfinished, manifest)
    except FileExistsError:
        raise RequestError(f"{manifest}: exists; choose another name, or say that it may be overwritten") from None
    except OSError as fault:
        raise RequestError(f"{manifest}: cannot be written ({fault.strerror})") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _videos(folder: Path) -> Iterator[PurePath]:
    """Videos by name below a folder, as paths inside it: regular files, hidden ones and links out of it aside."""
    root = folder.resolve()
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(where, name)
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if _is_file_inside(path, root):
                yield PurePath(path.relative_to(folder))


def _is_file_inside(path: Path, root: Path) -> bool:
    try:
        return path.is_file() and path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a link to itself is either, by the version of Python
        return False


def _address(folder: Path, base: Path, path: PurePath) -> str:
    """A path as it stands in a manifest."""
    text = (base / path).as_posix()
    if has_control_letters(text):
        raise RequestError(f"{folder}: the name {show(str(path))} cannot stand in a manifest; rename it")
    text = f"./{text}" if text.startswith("-") or ":" in text.partition("/")[0] else text
    try:
        read_address(text)
    except RequestError as fault:
        raise RequestError(f"{folder}: {fault}; rename it") from None
    return text


def _unique_ids(paths: Sequence[PurePath]) -> list[str]:
    """An id for each path: its folders and its name as far as ids may have their letters.

    Where that is nothing, too long, or another's too, a mark of the whole path is added: an id depends on the names
    there are, not on their order.
    """
    plain = [_plain(path) for path in paths]
    count = Counter(same_name(name) for name in plain)
    return [
        name if name and len(name) <= MAX_ID and count[same_name(name)] == 1 else _marked(name, path)
        for name, path in zip(plain, paths, strict=True)
    ]


def _plain(path: PurePath) -> str:
    text = "-".join((*path.parent.parts, path.stem))
    latin = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return _UNFIT.sub("-", latin).strip("-._")


def _marked(name: str, path: PurePath) -> str:
    mark = sha256(path.as_posix().encode("utf-8", "surrogateescape")).hexdigest()[:MARK_LENGTH]
    return f"{name[: MAX_ID - MARK_LENGTH - 1] or 'video'}-{mark}"
