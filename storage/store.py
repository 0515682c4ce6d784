"""One output folder: its lock, its memory, its ledger, and where its files lie."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from model.errors import DiskFullError, RequestError, RunError, StoreError, UnreachableError
from storage.content_id import hash_file
from storage.ledger import Entry, Ledger, TurnRow
from storage.memory import MemoryStore
from storage.remembered import RememberedStore
from storage.store_lock import StoreLock
from storage.table_place import has_tables, is_elsewhere, place_of, settle
from storage.views import ViewStore

MEMORY, SEGMENTS = "memory", "segments"
REVIEW = "_review"  # how the folder of a review page ends
LEFTOVERS = (".*.encoding.mov", ".*.muxing.*", ".*.unfinished")
"""Files being written: by `storage/video.py` (two), and all others by `storage/durable.py`."""


Memory = TypeVar("Memory", bound=RememberedStore[Any])
"""The kind of memories that a turn works with."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for another process that writes to the folder, and what else happens then (see `StoreLock`)."""

    seconds: float | int = 0
    say: Callable[[str], None] | None = None
    meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(frozen=True)
class Store(Generic[Memory]):
    """An open output folder; this process alone writes to it."""

    folder: Path
    memory: Memory
    ledger: Ledger

    @property
    def segments(self) -> Path:
        return self.folder / SEGMENTS

    def segment_path(self, id: str) -> Path:
        """Where the file of the segment `id` lies, or will lie."""
        return self.folder / segment_name(id)

    def path_of(self, entry: Entry) -> Path:
        return self.folder / entry.path

    def whole(self, entry: Entry) -> bool:
        """Whether the entry's file is still there, with the content that was recorded."""
        return _whole(self.folder, entry)


@contextmanager
def open_store(
    folder: Path, descriptor_size: int, patience: Patience = Patience(), memory: str | None = None
) -> Iterator[Store[MemoryStore]]:
    """Open or create the output folder for writing, with the memory of text edits.

    `memory` is the prefix in a bucket where the tables are to lie (`s3://bucket/prefix`); None is where they lie
    already, or the folder.

    Raises:
        StoreBusyError: another process has it open.
        StoreError: it is damaged, of another version, or cannot be made.
        RequestError, RunError: the prefix cannot be that (`storage/table_place.py`).
    """
    with _held(folder, patience, memory) as held:
        yield Store(held, MemoryStore(held / MEMORY, descriptor_size), Ledger(held / MEMORY))


@contextmanager
def open_view_store(
    folder: Path, patience: Patience = Patience(), memory: str | None = None
) -> Iterator[Store[ViewStore]]:
    """The same with the memory of novel views.

    Raises:
        StoreBusyError, StoreError, RequestError, RunError: see `open_store`.
    """
    with _held(folder, patience, memory) as held:
        yield Store(held, ViewStore(held / MEMORY), Ledger(held / MEMORY))


@contextmanager
def _held(folder: Path, patience: Patience, memory: str | None) -> Iterator[Path]:
    """The folder, made and swept, while it is ours."""
    folder = folder.absolute()
    try:
        (folder / SEGMENTS).mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise StoreError(f"{folder}: cannot be made a folder ({fault.strerror}); choose another --out") from fault
    with StoreLock(folder, patience.seconds, patience.say, patience.meanwhile):
        try:
            for path in leftovers(folder):
                path.unlink()
            settle(folder / MEMORY, memory)
            yield folder
        except (OSError, RuntimeError) as fault:
            if (told := _told(fault, folder)) is None:
                raise
            raise told from fault


def _told(fault: OSError | RuntimeError, folder: Path) -> RunError | None:
    """What a library met on the way, as one of our errors; None if it is no affair of the place."""
    if is_disk_full(fault):
        return DiskFullError(f"{folder}: the disk is full; make room, then run the same command again")
    if "LanceError(IO)" in str(fault) and is_elsewhere(folder / MEMORY):
        address = place_of(folder / MEMORY).address
        return UnreachableError(
            f"{address}: the server does not answer; what was committed is kept, the same command goes on from there"
        )
    return None


def is_disk_full(fault: BaseException) -> bool:
    """Whether a fault, of the system or of a library, says that there is no room."""
    return getattr(fault, "errno", None) == errno.ENOSPC or "No space left" in str(fault)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there.

    Raises:
        OSError: it cannot be looked at.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place


def place_for(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there: where it can be made. Makes nothing.

    Raises:
        RequestError: a file is in the way, one may not write there, or it is in no file system.
    """
    if str(folder).startswith("s3:"):
        raise RequestError(
            f"{folder}: results are made on this machine; a manifest's line may deliver them (output), "
            "and the memory may lie there (--memory)"
        )
    try:
        place = existing(folder)
    except OSError as fault:
        raise RequestError(f"{folder}: cannot be an output folder ({fault.strerror}); choose another --out") from fault
    if not place.is_dir():
        raise RequestError(f"{folder}: {place} is a file, where a folder is needed; choose another --out")
    if not os.access(place, os.W_OK | os.X_OK):
        raise RequestError(f"{folder}: {place} may not be written to; choose another --out")
    return place


def segment_name(id: str) -> str:
    """The file of the segment `id` in an output folder."""
    return f"{SEGMENTS}/{id}.mkv"


def review_path(video: Path) -> Path:
    """Where the review page of an edited video lies."""
    return video.with_suffix(".html")


def review_folder(video: Path) -> Path:
    """Where what the page plays lies."""
    return video.with_name(f"{video.stem}{REVIEW}")


def next_version(folder: Path, stem: str, suffix: str) -> Path:
    """`<stem>_v001<suffix>` in `folder`, or the next one: a version is never given twice.

    Not even when only its review page is left of it.
    """
    taken = [path.name for path in folder.glob(f"{stem}_v*")]
    versions = [int(found[1]) for name in taken if (found := re.match(rf"{re.escape(stem)}_v(\d+)[._]", name))]
    return folder / f"{stem}_v{max(versions, default=0) + 1:03d}{suffix}"


def plain_name(text: str) -> str:
    """Only characters that every file system takes; may be empty."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")


def find_finished(folder: Path, id: str) -> Entry | None:
    """The ledger's entry `id` of an output folder, if its file is there as it was recorded. Creates nothing."""
    if not has_tables(folder / MEMORY):
        return None
    entry = Ledger(folder / MEMORY).find([id]).get(id)
    return entry if entry and _whole(folder, entry) else None


def read_turns(folder: Path, session: str | None = None) -> list[TurnRow]:
    """The turns in an output folder, or those of one session, by session and number. Creates nothing."""
    return Ledger(folder / MEMORY).turns(session) if has_tables(folder / MEMORY) else []


def _whole(folder: Path, entry: Entry) -> bool:
    path = folder / entry.path
    return path.is_file() and hash_file(path) == entry.checksum


def leftovers(folder: Path) -> list[Path]:
    """What a killed run was writing, for whoever holds the lock: then nobody is writing now."""
    places = (folder, folder / SEGMENTS, *folder.glob(f"*{REVIEW}"))
    found = (path for place in places for pattern in LEFTOVERS for path in place.glob(pattern))
    return [path for path in found if path.is_file()]
