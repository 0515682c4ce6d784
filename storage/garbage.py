"""What no turn refers to, in an output folder, and how it is removed.

A turn's row is written before all that belongs to the turn and removed after it. So whatever has no turn is garbage:
left by a removal or an import that was killed, or by a segment that was edited again. Removal keeps the promise of a
commit: no ledger row is ever there without its file, and no memory without its latents.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from storage.kinds import forget, payload_sizes, remembered
from storage.latents import LATENTS_PER_FRAGMENT, TABLE
from storage.ledger import Entry, Ledger, TurnRow
from storage.scores import scores_path
from storage.store import MEMORY, SEGMENTS, leftovers, review_folder, review_path
from storage.tables import reclaim

VIDEOS = (".mp4", ".mov", ".mkv")
MARK = ".removed"
"""Beside a video lies a mark before its entry comes, and from before it goes: no other row tells of a video."""
OF_TURNS = ("segment", "video")  # kinds of ledger entries that belong to a turn


@dataclass(frozen=True)
class Garbage:
    """What can be removed; `payload_bytes` and `file_bytes` are those of latents and of files.

    `files` may be folders: a review page has one.
    """

    entries: tuple[str, ...]
    memories: tuple[str, ...]
    payloads: tuple[str, ...]
    payload_bytes: int
    files: tuple[Path, ...]
    file_bytes: int


def find_garbage(folder: Path, turns: Sequence[TurnRow]) -> Garbage:
    """All that belongs to none of `turns`. The caller holds the lock, or does not mind that others are writing."""
    uri, keys = folder / MEMORY, {turn.key for turn in turns}
    entries = [entry for entry in Ledger(uri).entries() if entry.kind in OF_TURNS]
    kept = [entry for entry in entries if entry.key in keys]
    lost = [entry for entry in entries if entry.key not in keys]
    memories = {memory.id: memory.key in keys for memory in remembered(uri)}
    sizes = {id: size for id, size in payload_sizes(uri).items() if not memories.get(id)}
    files = _files(folder, kept, lost, {id for id, wanted in memories.items() if wanted})
    return Garbage(
        entries=tuple(entry.id for entry in lost),
        memories=tuple(id for id, wanted in memories.items() if not wanted),
        payloads=tuple(sizes),
        payload_bytes=sum(sizes.values()),
        files=files,
        file_bytes=sum(map(size_of, files)),
    )


def sweep(folder: Path, garbage: Garbage) -> None:
    """Remove garbage; killed in the middle, doing it again goes on. The caller holds the lock."""
    for path in garbage.files:
        if path.parent == folder and path.suffix in VIDEOS and not path.name.startswith("."):
            path.with_name(f".{path.name}{MARK}").touch()
    Ledger(folder / MEMORY).remove(garbage.entries)
    forget(folder / MEMORY, garbage.memories, garbage.payloads)
    for path in garbage.files:
        if path.is_dir():
            rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for mark in folder.glob(f".*{MARK}"):
        mark.unlink()
    reclaim(folder / MEMORY, TABLE, LATENTS_PER_FRAGMENT)


@contextmanager
def unrecorded(video: Path) -> Iterator[None]:
    """While a video is there and its entry is not: whoever is killed meanwhile leaves what `find_garbage` finds."""
    mark = video.with_name(f".{video.name}{MARK}")
    mark.touch()
    try:
        yield
    finally:
        if not video.exists():
            mark.unlink()
    mark.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 where there is none."""
    if path.is_dir():
        return sum(each.lstat().st_size for each in path.rglob("*") if each.is_file())
    return path.lstat().st_size if path.is_file() else 0


def _files(folder: Path, kept: Sequence[Entry], lost: Sequence[Entry], memories: set[str]) -> tuple[Path, ...]:
    """Files of lost entries, segments that nobody knows, and what killed runs were writing."""
    used = {folder / entry.path for entry in kept}
    going = {folder / entry.path for entry in lost}
    going |= {mark.with_name(mark.name.removeprefix(".").removesuffix(MARK)) for mark in folder.glob(f".*{MARK}")}
    mine = {path for file in going - used for path in _beside(file)}
    segments = {path for path in (folder / SEGMENTS).glob("*.mkv") if path.stem not in memories}
    return tuple(sorted(path for path in {*mine, *segments, *leftovers(folder)} - used if path.exists()))


def _beside(path: Path) -> tuple[Path, ...]:
    """A file with its review page and its scores, if it is a video that has them."""
    return path, review_path(path), review_folder(path), scores_path(path)
