"""One turn of a session while it is edited: what differs between the kinds of turns, and how segments are named.

`TextTurn` (tasks/recall.py) and `ViewTurn` (tasks/views.py) know what is recalled, and what the Editor is told.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Protocol

from model.types import Merge, Recall, Segment
from storage.content_id import identify
from storage.ledger import Entry, TurnPlace
from storage.making import Making
from storage.remembered import Remembered, Row
from storage.store import Store
from tasks.actors.editor import EditJob, ViewJob
from tasks.ingest import VideoPlan
from tasks.prefetch import FetchedSegment
from tasks.work import Work

FIRST = 0  # attempt at a segment


@dataclass(frozen=True)
class PreparedSegment:
    """A segment ready for the Editor: the memory that it will be, which knows what it recalled, and the job."""

    segment: Segment
    row: Remembered
    job: EditJob | ViewJob
    attempt: int = FIRST


class Turn(Protocol):
    """What differs between the kinds of turns."""

    @property
    def plan(self) -> VideoPlan[Work]: ...

    @property
    def place(self) -> TurnPlace: ...

    @property
    def actors(self) -> Mapping[str, Any]:
        """Actors besides the Editor, by name."""
        ...

    def look(self, segment: Segment, frames: Any, known: Collection[int]) -> Any:
        """What can be known of a segment before the segment before is edited; in another thread.

        `frames`, a Ray reference, are those of the user's video, also where an earlier turn's result is edited: what
        looked alike there stays alike, however often it was edited since. `known` are the segments of this turn that
        it may recall.
        """
        ...

    def prepare(
        self, fetched: FetchedSegment[Any], recent: Sequence[Remembered], known: Collection[int], previous: str | None
    ) -> PreparedSegment:
        """Choose the memories of a segment, from which its id follows.

        `recent` are rows that `look` may not have seen, `previous` is the segment edited just before in its shot.
        """
        ...


@dataclass(frozen=True)
class SegmentRecord:
    """What happened to one segment; `seconds` is the Editor's time in this run, 0 where it was reused.

    `merges` are None where nobody told. `attempt` is 0 unless it is kept in the place of the first one.
    """

    segment: Segment
    id: str
    recalled: tuple[Recall, ...]
    seconds: float
    reused: bool
    merges: tuple[Merge, ...] | None = None
    attempt: int = 0


@dataclass(frozen=True)
class Quarantined:
    """A segment that was given up, after so many `attempts`, the last of which failed for a `reason`."""

    segment: Segment
    attempts: int
    reason: str


@dataclass(frozen=True)
class TurnRecord:
    """What happened to every segment of a turn.

    `overheads` are the seconds, between two segments, in which the Editor had nothing to do. `first_started` is when
    the first segment reached the Editor (`time.time()`), None if nothing was edited. `peak_bytes` is by actor.
    `faults` counts attempts that failed.
    """

    turn: int
    segments: tuple[SegmentRecord, ...]
    overheads: tuple[float, ...] = ()
    first_started: float | None = None
    peak_bytes: Mapping[str, int] | None = None
    quarantined: tuple[Quarantined, ...] = ()
    faults: int = 0


def segment_id(
    plan: VideoPlan[Work], turn: int, segment: Segment, recalled: Sequence[str], attempt: int = FIRST
) -> str:
    """Name a segment by everything that decides its pixels: a chain, since the memories it used are part of it."""
    span = [segment.span.start, segment.span.stop, segment.frames]
    again = {"attempt": attempt} if attempt else {}
    return identify({"work": plan.work.fingerprint, "turn": turn, "span": span, "recalled": list(recalled), **again})


def noise_seed(plan: VideoPlan[Work], turn: int, segment: Segment, attempt: int = FIRST) -> int:
    """Seed of the segment's noise: from the user's seed, the source, the span and the turn, never the order of work.

    Another attempt has another one.
    """
    parts = f"{plan.work.request.seed}/{plan.work.source_id}/{segment.span.start}-{segment.span.stop}/{turn}"
    parts += f"/{attempt}" if attempt else ""
    return int.from_bytes(sha256(parts.encode()).digest()[:8], "big") >> 1


def origin(plan: VideoPlan[Work], place: TurnPlace, segment: Segment, instruction: str) -> dict[str, Any]:
    """The fields that every memory has, of the one that `segment` will be, before it is known what it recalls."""
    return {
        "id": "",
        "session": place.key[0],
        "video": plan.work.video_id,
        "turn": place.number,
        "segment": segment.index,
        "shot": segment.shot,
        "start": segment.span.start,
        "stop": segment.span.stop,
        "instruction": instruction,
        "seed": noise_seed(plan, place.number, segment),
        "recalled": (),
        "scores": (),
        "reasons": (),
        "model": plan.work.model_id,
        "created": datetime.now(UTC),
    }


def named(row: Row, plan: VideoPlan[Work], segment: Segment, recalled: Sequence[Recall], attempt: int = FIRST) -> Row:
    """The memory that `segment` will be, now that it is known what it recalls."""
    ids = tuple(memory.id for memory in recalled)
    return replace(
        row,
        id=segment_id(plan, row.turn, segment, ids, attempt),
        recalled=ids,
        scores=tuple(memory.score for memory in recalled),
        reasons=tuple(memory.reason for memory in recalled),
    )


def committed(turn: Turn, store: Store[Any], since: datetime) -> dict[int, SegmentRecord]:
    """Segments of a turn that are done: in the ledger, file whole, id as it would be computed today.

    Those committed after `since`, when this run began, are its own work: an earlier attempt made them.
    """
    segments = {segment.index: segment for segment in turn.plan.segments}
    made: list[Remembered] = store.memory.rows_of(turn.place.key)
    rows = [row for row in made if row.segment in segments]
    rows = [row for row in rows if segment_id(turn.plan, row.turn, segments[row.segment], row.recalled) == row.id]
    entries = store.ledger.find([row.id for row in rows])
    whole = ((row, entries[row.id]) for row in rows if row.id in entries and store.whole(entries[row.id]))
    return {row.segment: _found(segments[row.segment], row, entry, since) for row, entry in whole}


def _found(segment: Segment, row: Remembered, entry: Entry, since: datetime) -> SegmentRecord:
    reused = entry.recorded < since
    merges = Making.read(entry).merges
    return SegmentRecord(segment, row.id, row.recalls, 0.0 if reused else entry.seconds, reused, merges)
