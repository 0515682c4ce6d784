"""Sessions at a glance and in hand: what `memory-v2v session` does, each as one function that returns a report.

No cluster and no server is started: these only read and tend an output folder, in this process.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from model.errors import RequestError
from storage import sessions
from storage.archive import open_archive
from storage.exchange import export_session, import_session
from storage.garbage import find_garbage, size_of, sweep
from storage.ledger import Ledger
from storage.sessions import Dependent, Session, Turn
from storage.store import MEMORY, place_for
from storage.store_lock import StoreLock
from tasks.sessions import turn_fields, turn_text
from tasks.terminal import Counter
from tasks.words import count_text, size_text

NAMED_SEGMENTS = 8  # in a sentence
Agree = Callable[[str], bool]


class Report(Protocol):
    """What a command says, to a program and to a person."""

    def fields(self) -> dict[str, Any]:
        """As one JSON object."""
        ...

    def summary(self) -> str:
        """As lines of text."""
        ...


@dataclass(frozen=True)
class SessionList:
    """All sessions of a folder, the latest used last."""

    sessions: tuple[Session, ...]

    def fields(self) -> dict[str, Any]:
        return {"sessions": [vars(session) | {"used": session.used.isoformat()} for session in self.sessions]}

    def summary(self) -> str:
        rows = [
            f"{session.name:24}  {session.turns:5}  {session.segments:8}  {size_text(session.bytes):>10}  "
            f"{session.used:%Y-%m-%d %H:%M}"
            for session in self.sessions
        ]
        return "\n".join([f"{'session':24}  {'turns':>5}  {'segments':>8}  {'size':>10}  last used (UTC)", *rows])


@dataclass(frozen=True)
class SessionView:
    """Turns of a session; `places` say which turn and segment a memory is, by id."""

    name: str
    turns: tuple[Turn, ...]
    places: Mapping[str, tuple[int, int]]

    def fields(self) -> dict[str, Any]:
        return {"session": self.name, "turns": [turn_fields(turn, self.places) for turn in self.turns]}

    def summary(self) -> str:
        return "\n".join(turn_text(turn, self.places) for turn in self.turns)


@dataclass(frozen=True)
class Done:
    """What a command did, in a sentence and in figures."""

    sentence: str
    figures: Mapping[str, Any]

    def fields(self) -> dict[str, Any]:
        return dict(self.figures)

    def summary(self) -> str:
        return self.sentence


def list_sessions(out: Path) -> SessionList:
    """All sessions of a folder.

    Raises:
        RequestError: it holds none.
    """
    return SessionList(tuple(sessions.list_sessions(out)))


def show_session(out: Path, name: str, number: int | None = None) -> SessionView:
    """The turns of a session, or one of them.

    Raises:
        RequestError: there is no such session or turn.
    """
    sessions.require_session(out, name, number)
    turns = sessions.read_session(out, name)
    places = {segment.id: (turn.row.number, segment.segment) for turn in turns for segment in turn.segments}
    return SessionView(name, tuple(turn for turn in turns if number in (None, turn.row.number)), places)


def branch_session(out: Path, name: str, number: int, new: str) -> Done:
    """Begin session `new` with turns 1 to `number` of `name`.

    Raises:
        RequestError: there is no such session or turn, or `new` is in use.
        StoreBusyError: another process is writing.
    """
    with sessions.locked(out):
        turns = len(sessions.branch(out, name, number, new))
    first = count_text(turns, "turn")
    said = f"{new}: begins with {first} of {name}; memory-v2v edit ... --session {new} goes on from there"
    return Done(said, {"session": new, "from": name, "turns": turns})


def delete_session(out: Path, name: str, number: int | None, *, force: bool, agree: Agree) -> Done:
    """Delete a session or one turn of it. `agree` is asked once, before anything is done.

    Raises:
        RequestError: there is no such turn, others depend on it (without `force`), or it was not agreed to.
        StoreBusyError: another process is writing.
    """
    with sessions.locked(out):
        removal = sessions.plan_removal(out, name, number)
        lost = _dependents_text(removal.dependents)
        what = name if number is None else f"turn {number} of {name}"
        if lost and not force:
            raise RequestError(f"{what}: {lost}; --force deletes it all the same, and they can no longer be replayed")
        garbage = removal.garbage
        size = garbage.payload_bytes + garbage.file_bytes
        holds = f"{count_text(len(garbage.memories), 'segment')}, {size_text(size)}"
        if not agree(f"Delete {what} ({holds}{'; ' + lost if lost else ''})?"):
            raise RequestError(f"{what}: not deleted ({holds}); add --yes")
        sessions.remove(out, removal)
    said = f"{what}: deleted ({holds})" + (f"; can no longer be replayed: {lost}" if lost else "")
    figures = {"turns": len(removal.turns), "segments": len(garbage.memories), "bytes": size}
    return Done(said, {"session": name, **figures, "dependents": [vars(each) for each in removal.dependents]})


def _dependents_text(dependents: Sequence[Dependent]) -> str:
    """Who depends on it, in a few words; empty where nobody does."""
    said = []
    for session, turn in dict.fromkeys((each.session, each.turn) for each in dependents):
        segments = [each.segment for each in dependents if (each.session, each.turn) == (session, turn)]
        recalling = [str(segment) for segment in segments if segment is not None]
        named = ", ".join(recalling[:NAMED_SEGMENTS]) + (", ..." if len(recalling) > NAMED_SEGMENTS else "")
        edits = "edits its result" if None in segments else ""
        recalls = f"recalled it in {count_text(len(recalling), 'segment')} ({named})" if recalling else ""
        said.append(f"turn {turn} of {session} {' and '.join(filter(None, (edits, recalls)))}")
    return "; ".join(said)


def export_to(out: Path, name: str, file: Path) -> Done:
    """Write a session as one archive.

    Raises:
        RequestError: there is no such session, or the file cannot be written.
        StoreError: something of it is missing or damaged.
        StoreBusyError: another process is writing.
    """
    with sessions.locked(out), Counter(f"export {name}") as counter:
        manifest = export_session(out, name, file, counter.show)
    size = file.stat().st_size
    said = f"{file}: session {name}, {count_text(len(manifest.members), 'member')}, {size_text(size)}"
    return Done(said, {"file": str(file), "session": name, "members": len(manifest.members), "bytes": size})


def import_from(file: Path, out: Path, name: str | None = None) -> Done:
    """Bring an archive's session into a folder, which is made if it is not there.

    Raises:
        ArchiveError: the archive is damaged, or not what an export writes; nothing was written.
        RequestError: the folder has another session of that name.
        StoreBusyError: another process is writing.
    """
    place_for(out)
    with Counter(f"import {file.name}") as counter, open_archive(file, counter.show) as opened:
        contents = opened.contents()
        out.mkdir(parents=True, exist_ok=True)
        with StoreLock(out):
            done = import_session(opened, contents, out, name or opened.manifest.session, counter.show)
    new = f"{count_text(done.turns, 'turn')}, {count_text(done.memories, 'memory', 'memories')}"
    new += f" and {count_text(done.files, 'file')} are new"
    said = f"{done.session}: {new if done.turns + done.memories + done.files else 'all of it was here already'}"
    return Done(said, vars(done))


def collect_garbage(out: Path, *, dry_run: bool) -> Done:
    """Remove what no turn refers to. `freed_bytes` is what the folder shrank by, old versions of tables included.

    Raises:
        RequestError: the folder holds no sessions.
        StoreBusyError: another process is writing.
    """
    with sessions.locked(out):
        found = find_garbage(out, Ledger(out / MEMORY).turns())
        before = size_of(out)
        if not dry_run:
            sweep(out, found)
        freed = before - size_of(out)
    counts = {"memories": len(found.memories), "latents": len(found.payloads), "files": len(found.files)}
    sizes = {"latent_bytes": found.payload_bytes, "file_bytes": found.file_bytes, "freed_bytes": freed}
    what = f"{count_text(counts['latents'], 'latent')} ({size_text(found.payload_bytes)}), "
    what += count_text(counts["files"], "file")
    what += f" ({size_text(found.file_bytes)})"
    end = "would be removed, and old versions of tables" if dry_run else f"removed; {size_text(freed)} freed in all"
    return Done(f"{what} {end}", {"dry_run": dry_run, **counts, **sizes})
