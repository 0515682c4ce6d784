"""The turn whose result a new turn edits: found by its number, and handed on without loss.

The new turn has the same windows, so its segments are edited one by one: their latents are handed on as they are, or,
where another model takes over, encoded from the lossless segment files. The stitched video is never read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.config import EditRequest, WindowConfig
from model.errors import RequestError, StoreError
from model.types import Segment, Span
from storage.attempts import is_shown
from storage.content_id import identify
from storage.kinds import text_memories
from storage.ledger import Entry, Ledger, TurnRow
from storage.memory import MemoryRow
from storage.segment_file import read_segment
from storage.store import MEMORY, read_turns
from storage.video_note import read_video_note


@dataclass(frozen=True)
class Parent:
    """A finished turn as the source of another: its memories and files by span."""

    number: int
    rows: Mapping[Span, MemoryRow]
    files: Mapping[Span, Path]

    @property
    def id(self) -> str:
        """Names the result: all that decided its pixels is in the ids of its segments."""
        return identify({"segments": [self.rows[span].id for span in sorted(self.rows)]})

    def row(self, segment: Segment) -> MemoryRow:
        """What the turn made of a segment.

        Raises:
            StoreError: shots were found elsewhere then.
        """
        if segment.span not in self.rows:
            at = f"[{segment.span.start}, {segment.span.stop})"
            raise StoreError(f"turn {self.number} has no segment {at}: another version made it; edit it again")
        return self.rows[segment.span]

    def frames(self, segment: Segment) -> np.ndarray:
        """The result's frames `[n, h, w, 3]` of a segment, as the model made them.

        Raises:
            StoreError: shots were found elsewhere then.
            RunError: the file is missing or damaged.
        """
        self.row(segment)
        return np.stack(list(read_segment(self.files[segment.span])))


def find_parent(request: EditRequest, source: str, name: Callable[[Parent | None], str]) -> Parent | None:
    """The turn that `request.on` names; None is the user's video. Creates nothing.

    `last` is the session's latest turn, unless that is the very turn asked for, which `name` tells from its parent:
    the same command again is the same turn.

    Raises:
        RequestError: there is no such turn, it is not finished, or it is of another video or another window.
    """
    if request.on == 0:
        return None
    assert request.session is not None
    turns = {turn.number: turn for turn in read_turns(request.out, request.session)}
    wanted = max(turns, default=0) if request.on == "last" else request.on
    if wanted not in turns:
        there = "turns " + ", ".join(map(str, turns)) if turns else "no turns"
        raise RequestError(f"--on {request.on}: session {request.session} in {request.out} has {there}")
    turn = turns[wanted]
    if request.on == "last" and turn.parent in turns:
        before = _result(request, turns[turn.parent])
        if before is not None and name(before) == turn.settings:
            return before
    return _require(request, turn, source)


def _require(request: EditRequest, turn: TurnRow, source: str) -> Parent:
    what = f"--on {request.on}: turn {turn.number} of session {turn.session}"
    if turn.kind != "text":
        raise RequestError(f"{what} is a new view; only results of text turns can be edited again")
    if turn.source != source:
        raise RequestError(f"{what} edited {turn.video}; give that video, not {request.video.name}")
    window = _window(request, turn)
    if window is not None and window != request.window:
        said = f"{window.frames} frames, overlap {window.overlap}, {window.width}x{window.height}"
        raise RequestError(f"{what} has windows of {said}; give the same --frames, --overlap and --size")
    parent = _result(request, turn)
    if parent is None:
        raise RequestError(f"{what} is not finished; run its command again first")
    return parent


def _window(request: EditRequest, turn: TurnRow) -> WindowConfig | None:
    """The windows of a turn; None where it was never stitched."""
    videos = _videos(Ledger(request.out / MEMORY), turn)
    return read_video_note(videos[-1]).window if videos else None


def _result(request: EditRequest, turn: TurnRow) -> Parent | None:
    """A turn's result, if all of it is there."""
    ledger = Ledger(request.out / MEMORY)
    videos = _videos(ledger, turn)
    if not videos:
        return None
    note, made = read_video_note(videos[-1]), text_memories(request.out / MEMORY, turn.key)
    entries = {id: one for id, one in ledger.find([row.id for row in made]).items() if is_shown(one, note.redone)}
    files = {id: request.out.absolute() / entry.path for id, entry in entries.items()}
    rows = {Span(row.start, row.stop): row for row in made if row.id in files and files[row.id].is_file()}
    if len(rows) < note.segments:
        return None
    return Parent(turn.number, rows, {span: files[row.id] for span, row in rows.items()})


def _videos(ledger: Ledger, turn: TurnRow) -> Sequence[Entry]:
    videos = ledger.entries(kind="video", video=turn.source)
    return [entry for entry in videos if entry.key == turn.key]
