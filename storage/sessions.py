"""The sessions of an output folder: what they hold, where they branch, what depends on what.

A session is a list of turns. Where it branched off another one, the two share turns: their rows name the same key
(`storage/ledger.py`), under which memories and files lie once. Knows turns of every kind.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from model.config import SESSION_NAME
from model.errors import RequestError
from storage.attempts import Attempt, name_attempts
from storage.garbage import Garbage, find_garbage, size_of, sweep
from storage.kinds import payload_sizes, remembered
from storage.ledger import Entry, Ledger, TurnRow, turn_id
from storage.remembered import Remembered
from storage.store import MEMORY
from storage.store_lock import StoreLock
from storage.table_place import has_tables


@dataclass(frozen=True)
class Session:
    """A session in one line. `bytes` are all that it refers to, also where it shares them with others."""

    name: str
    turns: int
    segments: int
    bytes: int
    used: datetime


@dataclass(frozen=True)
class Turn:
    """A turn with what it made: its segments in order and its finished videos.

    `attempts` are of segments that were edited again, by id: each attempt is one of `segments`.
    """

    row: TurnRow
    segments: tuple[Remembered, ...]
    videos: tuple[Entry, ...]
    attempts: Mapping[str, Attempt]


@dataclass(frozen=True)
class Dependent:
    """A segment that recalled what is to be removed, or (`segment` is None) a turn that edits its result."""

    session: str
    turn: int
    segment: int | None


@dataclass(frozen=True)
class Removal:
    """What would go with some turns of a session; `dependents` could then not be replayed."""

    turns: tuple[TurnRow, ...]
    dependents: tuple[Dependent, ...]
    garbage: Garbage


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold an output folder that is there, for changing its sessions.

    Raises:
        RequestError: there is no memory in it.
        StoreBusyError: another process holds it.
    """
    require_memory(folder)
    with StoreLock(folder):
        yield


def require_memory(folder: Path) -> None:
    """Raises:
    RequestError: the folder is not one that videos were edited in.
    """
    if not has_tables(folder / MEMORY):
        raise RequestError(f"{folder}: holds no sessions; give the --out of memory-v2v edit or view")


def list_sessions(folder: Path) -> list[Session]:
    """All sessions, the latest used last."""
    require_memory(folder)
    names = sorted({turn.session for turn in Ledger(folder / MEMORY).turns()})
    sizes = payload_sizes(folder / MEMORY)
    return sorted((_summary(folder, name, sizes) for name in names), key=lambda session: (session.used, session.name))


def _summary(folder: Path, name: str, sizes: dict[str, int]) -> Session:
    turns = read_session(folder, name)
    files = {folder / path for turn in turns for path in _paths(folder, turn)}
    segments = [segment for turn in turns for segment in turn.segments]
    times = [turn.row.created for turn in turns] + [segment.created for segment in segments]
    size = sum(sizes.get(segment.id, 0) for segment in segments) + sum(map(size_of, files))
    return Session(name, len(turns), len(segments), size, max(times))


def _paths(folder: Path, turn: Turn) -> set[str]:
    entries = Ledger(folder / MEMORY).find([segment.id for segment in turn.segments])
    return {entry.path for entry in (*entries.values(), *turn.videos)}


def read_session(folder: Path, name: str) -> list[Turn]:
    """The turns of a session with what they made, by number.

    Raises:
        RequestError: there is no such session.
    """
    ledger = Ledger(folder / MEMORY)
    rows = require_session(folder, name)
    keys = [row.key for row in rows]
    segments = remembered(folder / MEMORY, keys)
    attempts = name_attempts(ledger.entries(kind="segment", turns=keys))
    videos = ledger.entries(kind="video")
    return [
        Turn(
            row,
            tuple(segment for segment in segments if segment.key == row.key),
            tuple(video for video in videos if video.key == row.key),
            attempts,
        )
        for row in rows
    ]


def require_session(folder: Path, name: str, number: int | None = None) -> list[TurnRow]:
    """The rows of a session's turns, or of one of them.

    Raises:
        RequestError: there is no such session or turn.
    """
    require_memory(folder)
    rows = Ledger(folder / MEMORY).turns(name)
    if not rows:
        raise RequestError(f"{name}: no such session in {folder}; memory-v2v session list --out {folder} names them")
    wanted = [row for row in rows if number in (None, row.number)]
    if not wanted:
        there = ", ".join(str(row.number) for row in rows)
        raise RequestError(f"{name}: has no turn {number}; it has {there}")
    return wanted


def require_new(folder: Path, name: str) -> None:
    """Raises:
    RequestError: it is no name for a session, or one that is in use, be it for turns that others kept of it.
    """
    if not re.fullmatch(SESSION_NAME, name):
        raise RequestError(f"{name}: no name for a session; letters, digits, '.', '_' and '-', at most 128")
    if any(name in (turn.session, turn.branch) for turn in Ledger(folder / MEMORY).turns()):
        raise RequestError(f"{name}: the name is taken in {folder}; choose another with --as")


def branch(folder: Path, name: str, number: int, new: str) -> list[TurnRow]:
    """Begin session `new` with turns 1 to `number` of `name`, sharing all that they made; returns its turns.

    It is one commit: the new session is there or not. The caller holds the lock.

    Raises:
        RequestError: there is no such session or turn, or `new` is in use.
    """
    require_session(folder, name, number)
    require_new(folder, new)
    ledger = Ledger(folder / MEMORY)
    shared = [turn for turn in ledger.turns(name) if turn.number <= number]
    turns = [replace(turn, id=turn_id(new, turn.fingerprint), session=new) for turn in shared]
    ledger.add_turns(turns)
    return turns


def plan_removal(folder: Path, name: str, number: int | None = None) -> Removal:
    """What would go with a session, or with one turn of it; what other sessions share stays.

    Raises:
        RequestError: there is no such session or turn.
    """
    rows = require_session(folder, name, number)
    going = {row.id for row in rows}
    staying = [turn for turn in Ledger(folder / MEMORY).turns() if turn.id not in going]
    garbage = find_garbage(folder, staying)
    return Removal(tuple(rows), tuple(_dependents(folder, rows, staying, set(garbage.memories))), garbage)


def _dependents(
    folder: Path, going: Sequence[TurnRow], staying: Sequence[TurnRow], lost: set[str]
) -> Iterator[Dependent]:
    gone = {(turn.session, turn.number) for turn in going}
    segments = remembered(folder / MEMORY, [turn.key for turn in staying])
    for turn in staying:
        if (turn.session, turn.parent) in gone:
            yield Dependent(turn.session, turn.number, None)
        for segment in segments:
            if segment.key == turn.key and lost.intersection(segment.recalled):
                yield Dependent(turn.session, turn.number, segment.segment)


def remove(folder: Path, removal: Removal) -> None:
    """Remove turns with all that belongs to no other. Killed in the middle, doing it again goes on.

    The caller holds the lock, and has decided about the dependents.
    """
    sweep(folder, removal.garbage)
    Ledger(folder / MEMORY).remove_turns(removal.turns)
