"""Señorita-2M as it is published: JSON lists of pairs, and a folder a task with the videos, packed as `.tar.gz` or not.

Lists name `source_video_path` and `target_video_path`, whose first folders are often those of another machine; a video
is found by the longest end of its path that any file or archive member has. Archives are streamed, never unpacked: a
video waits in memory until its other half has come by, and where too many would wait the archives are gone through
again. Neither an archive nor a list is trusted: member names are compared and never used as paths, and what expands
beyond all measure is damaged.
"""

import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from model.errors import RequestError
from storage.datasets.pairs import Broken, Entry, Media, Pair
from storage.foreign_text import TextError, parse_json, read_text

PATHS = ("source_video_path", "target_video_path")
LARGEST_VIDEO = 256 * 2**20  # bytes of a member that are read; a clip of 33 frames has a hundredth of it
LARGEST_LIST = 2**30
LARGEST_NAME = 2**20  # bytes of a header that only tells a long name
MOST_WAITING = 4 * 2**30  # bytes of videos whose other halves have not come by; of one more at most
MOST_RATIO, ALWAYS_FINE = 100, 64 * 2**20  # unpacked to packed bytes; videos hardly shrink at all
ARCHIVES = ("*.tar.gz", "*.tgz", "*.tar")
TELLING = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
"""Members that tell of the next one: Python reads them whole."""
DAMAGE = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, RecursionError)
"""What `tarfile` raises where an archive is damaged: the last two of sizes that are none, and headers of headers."""
Waiting = dict[str, tuple[Entry, dict[str, Media | None]]]
"""Pairs that lack a half, by id: their halves by path."""


@dataclass(frozen=True)
class Senorita:
    """A folder with lists and videos. `instruction` is the field that holds the text."""

    folder: Path
    instruction: str = "instruction"

    def entries(self) -> Sequence[Entry]:
        return [entry for entry, _ in self._listed()]

    def read(self, wanted: Collection[str]) -> Iterator[Pair | Broken]:
        listed = [(entry, paths) for entry, paths in self._listed() if entry.id in wanted]
        loose = _Names(_videos(self.folder.absolute()))
        waiting: Waiting = {}
        for entry, paths in listed:
            halves: dict[str, Media | None] = {path: loose.find(path) for path in paths}
            if len(halves) == 2 and None not in halves.values():
                yield _pair(entry, halves)
            elif _parts(paths[0])[-2:] == _parts(paths[1])[-2:]:
                yield Broken(entry, f"{paths[0]}: source and target are called the same; expected two names")
            else:
                waiting[entry.id] = (entry, halves)
        yield from self._from_archives(waiting)

    def _from_archives(self, waiting: Waiting) -> Iterator[Pair | Broken]:
        """Archives are gone through again for what was passed over while the memory for first halves was full.

        What waited for its other half through all of them waits for nothing, and makes room.
        """
        faults: dict[Path, str] = {}
        is_full = True
        while waiting and is_full:
            begun = [id for id, (_, halves) in waiting.items() if any(half is not None for half in halves.values())]
            is_full = yield from self._stream(waiting, faults)
            for id in begun:
                if id in waiting:
                    yield _missing(*waiting.pop(id), faults)
        for entry, halves in waiting.values():
            yield _missing(entry, halves, faults)

    def _stream(self, waiting: Waiting, faults: dict[Path, str]) -> Generator[Pair, None, bool]:
        """One pass over all archives; returns whether first halves were passed over."""
        held, is_full = sum(_size(half) for _, halves in waiting.values() for half in halves.values()), False
        for archive in _archives(self.folder):
            if not waiting:
                break
            ends = _Ends(waiting)
            try:
                for name, content in _members(archive):
                    video: bytes | None = None
                    for id, path in ends.matching(name):
                        if id not in waiting:
                            continue
                        entry, halves = waiting[id]
                        if held >= MOST_WAITING and all(half is None for half in halves.values()):
                            is_full = True
                            continue
                        video = content() if video is None else video  # a stream is read once, whoever wants it
                        held += len(video) - _size(halves[path])
                        halves[path] = video
                        if None not in halves.values():
                            del waiting[id]
                            held -= sum(map(_size, halves.values()))
                            yield _pair(entry, halves)
            except DAMAGE as fault:
                faults[archive] = f"{archive.name} is damaged ({fault})"
        return is_full

    def _listed(self) -> list[tuple[Entry, tuple[str, str]]]:
        lists = sorted(path for path in self.folder.rglob("*.json") if path.is_file())
        if not lists:
            raise RequestError(
                f"{self.folder}: no JSON lists; expected those of Señorita-2M, with {' and '.join(PATHS)}"
            )
        return [pair for path in lists for pair in _read_list(path, self.folder, self.instruction)]


def _size(half: Media | None) -> int:
    """Bytes that a half takes while it waits."""
    return len(half) if isinstance(half, bytes) else 0


def _missing(entry: Entry, halves: Mapping[str, Media | None], faults: Mapping[Path, str]) -> Broken:
    missing = next(path for path, half in halves.items() if half is None)
    return Broken(entry, f"{missing}: in no folder and no archive" + "".join(f"; {each}" for each in faults.values()))


def _pair(entry: Entry, halves: Mapping[str, Media | None]) -> Pair:
    source, target = halves.values()
    assert source is not None, "both halves are there"
    assert target is not None, "both halves are there"
    return Pair(entry, source, target)


def _read_list(path: Path, folder: Path, instruction: str) -> list[tuple[Entry, tuple[str, str]]]:
    """A pair is called after its list and its target: whatever else is listed, it keeps its name."""
    try:
        items = parse_json(read_text(path, LARGEST_LIST))
    except TextError as fault:
        raise RequestError(f"{path}: cannot be read as JSON ({fault})") from None
    if not isinstance(items, list):
        raise RequestError(f"{path}: expected a list of pairs")
    pairs, of_target = [], Counter[str]()
    for number, item in enumerate(items):
        for field in (*PATHS, instruction):
            if not (isinstance(item, dict) and isinstance(item.get(field), str) and item[field]):
                known = ", ".join(sorted(item)) if isinstance(item, dict) else "nothing"
                raise RequestError(
                    f"{path}: pair {number}: no {field}; it has {known} (--instruction-field names another)"
                )
        source, target = (item[field] for field in PATHS)
        name = "/".join((path.relative_to(folder).with_suffix("").as_posix(), *_parts(target)[-2:]))
        of_target[name] += 1
        id = name if of_target[name] == 1 else f"{name}#{of_target[name]}"
        entry = Entry(id, "/".join(_parts(source)[-2:]), item[instruction], (source, target))
        pairs.append((entry, (source, target)))
    return pairs


def _videos(folder: Path) -> Iterator[Path]:
    return (
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix.lower() in (".mp4", ".avi", ".mov", ".webm")
    )


def _archives(folder: Path) -> list[Path]:
    return sorted({path for pattern in ARCHIVES for path in folder.rglob(pattern) if path.is_file()})


def _members(archive: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Name and content of every file of an archive, in its order; contents are read on demand, before the next one.

    Raises:
        TarError: it is damaged, or expands to more than an archive of videos can.
    """
    room = max(ALWAYS_FINE, MOST_RATIO * archive.stat().st_size)
    with tarfile.open(archive, "r|*", tarinfo=_Header) as stream:
        for member in stream:
            if member.offset_data + member.size > room:
                raise tarfile.ReadError(f"it expands to more than {MOST_RATIO} times its size")
            if member.isfile() and member.size <= LARGEST_VIDEO:

                def content(member: tarfile.TarInfo = member) -> bytes:
                    file = stream.extractfile(member)
                    assert file is not None
                    return file.read()

                yield member.name, content


class _Header(tarfile.TarInfo):
    """A header of a member; one that goes on at length is refused before its text is read into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        if header.type in TELLING and header.size > LARGEST_NAME:
            raise tarfile.ReadError(f"a name of {header.size:,} bytes")
        return header


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(path).parts if part not in ("/", ".", ".."))


class _Names:
    """Files by their names, to be found by the end of a path."""

    def __init__(self, paths: Iterator[Path]) -> None:
        self._by_name: dict[str, list[Path]] = {}
        for path in paths:
            self._by_name.setdefault(path.name, []).append(path)

    def find(self, wanted: str) -> Path | None:
        """The file that shares the longest end with a path, at least its last two parts: else it is another half."""
        parts = _parts(wanted)
        candidates = self._by_name.get(parts[-1], []) if parts else []
        shared = {path: _shared_end(parts, path.parts) for path in candidates}
        alike = [path for path in candidates if shared[path] >= min(len(parts), 2)]
        return max(alike, key=shared.__getitem__, default=None)


class _Ends:
    """Wanted paths by their last two parts, since prefixes are not to be trusted, and file names alone repeat."""

    def __init__(self, waiting: Waiting) -> None:
        self._by_end: dict[tuple[str, ...], list[tuple[str, str]]] = {}
        for id, (_, halves) in waiting.items():
            for path, half in halves.items():
                if half is None:
                    self._by_end.setdefault(_parts(path)[-2:], []).append((id, path))

    def matching(self, member: str) -> Sequence[tuple[str, str]]:
        return self._by_end.get(_parts(member)[-2:], [])


def _shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    same = [a == b for a, b in zip(reversed(one), reversed(other), strict=False)]
    return same.index(False) if False in same else len(same)
