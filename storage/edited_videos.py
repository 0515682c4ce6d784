"""The finished videos of output folders, with what a measurement must know of each: its shots and its segments.

Of every turn the newest video whose file is whole; a session that branched off another shares turns with it, which
count once. Reads and creates nothing else. A catalog's folder is that of all output folders below it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import RequestError, StoreError
from model.types import Segment, Shot, Span
from storage.kinds import remembered
from storage.ledger import Entry, Ledger, TurnRow
from storage.remembered import Remembered
from storage.sessions import require_session
from storage.store import MEMORY, find_finished, review_folder
from storage.table_place import has_tables
from storage.video_note import read_video_note


@dataclass(frozen=True)
class EditedVideo:
    """A finished video of a turn. `overlap` is how many frames neighbouring segments were cross-faded over at most."""

    folder: Path
    entry: Entry
    turn: TurnRow
    shots: tuple[Shot, ...]
    segments: tuple[Segment, ...]
    overlap: int

    @property
    def path(self) -> Path:
        return self.folder / self.entry.path

    @property
    def proxy(self) -> Path:
        """The small copy of its source that the review page shows (`tasks/publish.py`), if that is still there."""
        return review_folder(self.path) / "source.mp4"


def find_edits(folder: Path, session: str | None = None) -> list[EditedVideo]:
    """All finished videos of a folder or of one of its sessions, by folder, session and turn.

    Raises:
        RequestError: there is no such folder or session, or nothing finished in it.
        StoreError: the memory of a folder is damaged.
    """
    places = _places(folder)
    if session is not None and places != [folder]:
        raise RequestError(f"--session {session}: {folder} is no single output folder; name the one that has it")
    found = [edit for place in places for edit in _edits_of(place, session)]
    if not found:
        raise RequestError(f"{folder}: holds no finished video; run the same edit again, which goes on to its end")
    return found


def _places(folder: Path) -> list[Path]:
    """The folder itself, or the output folders below it."""
    if not folder.is_dir():
        raise RequestError(f"{folder}: no such folder; give the --out of edit, view or catalog run")
    if has_tables(folder / MEMORY):
        return [folder]
    below = (path for path in folder.rglob(MEMORY) if path.is_file() or (path / "turns.lance").is_dir())
    places = sorted(path.parent for path in below)
    if not places:
        raise RequestError(f"{folder}: no video was edited in it; give the --out of edit, view or catalog run")
    return places


def _edits_of(folder: Path, session: str | None) -> list[EditedVideo]:
    ledger = Ledger(folder / MEMORY)
    rows = ledger.turns() if session is None else require_session(folder, session)
    turns = {row.key: row for row in rows}
    whole = [entry for entry in ledger.entries(kind="video") if find_finished(folder, entry.id)]
    newest = {entry.key: entry for entry in whole}
    wanted = [key for key in turns if key in newest]
    memories = remembered(folder / MEMORY, wanted)
    return [_edit(folder, newest[key], turns[key], [each for each in memories if each.key == key]) for key in wanted]


def _edit(folder: Path, entry: Entry, turn: TurnRow, memories: Sequence[Remembered]) -> EditedVideo:
    note = read_video_note(entry)
    rows = {row.segment: row for row in sorted(memories, key=lambda row: row.created)}
    if len(rows) != note.segments:
        raise StoreError(
            f"{folder / entry.path}: its memory has {len(rows)} of {note.segments} segments; restore the folder"
        )
    segments = tuple(
        Segment(index, row.shot, Span(row.start, row.stop), note.window.frames) for index, row in sorted(rows.items())
    )
    return EditedVideo(folder, entry, turn, _shots(segments), segments, note.window.overlap)


def _shots(segments: Sequence[Segment]) -> tuple[Shot, ...]:
    spans = {segment.shot: [each.span for each in segments if each.shot == segment.shot] for segment in segments}
    return tuple(Shot(shot, Span(spans[shot][0].start, spans[shot][-1].stop)) for shot in sorted(spans))
