"""Edit the segments of one turn, in order, on a leased Editor; what the ledger has is not edited again.

While the Editor works on a segment, the next one is decoded and looked up, and the one before is committed. What is
recalled, and what the Editor is told, a `Turn` knows: `TextTurn` (tasks/recall.py) or `ViewTurn` (tasks/views.py).
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any, Protocol

import ray
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from ray.exceptions import RayActorError

from model.errors import EditError
from model.types import Recall, Segment
from storage.content_id import identify
from storage.ledger import Entry, TurnPlace
from storage.remembered import Remembered, Row
from storage.store import Store
from tasks.actors import EditJob, EditorPool, ViewJob
from tasks.commit import Committer, EditedWork
from tasks.ingest import VideoPlan, Work
from tasks.metrics import count_reused, count_segment
from tasks.prefetch import FetchedSegment, prefetch
from tasks.progress import EditProgress

RETRY_SECONDS = [1.0, 10.0, 60.0]
POLL_SECONDS = 0.5
MEMORIES_SHARED = 16  # latents kept in Ray's object store: neighbours often recall the same


@dataclass(frozen=True)
class PreparedSegment:
    """A segment ready for the Editor: the memory that it will be, which knows what it recalled, and the job."""

    segment: Segment
    row: Remembered
    job: EditJob | ViewJob


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

    def look(self, segment: Segment, frames: Any) -> Any:
        """What can be known before the segment before is edited; in another thread.

        `frames`, a Ray reference, are those of the user's video, also where an earlier turn's result is edited: what
        looked alike there stays alike, however often it was edited since.
        """
        ...

    def prepare(
        self, fetched: FetchedSegment[Any], recent: Sequence[Remembered], previous: str | None
    ) -> PreparedSegment:
        """Choose the memories of a segment, from which its id follows.

        `recent` are rows that `look` may not have seen, `previous` is the segment edited just before in its shot.
        """
        ...


@dataclass(frozen=True)
class SegmentRecord:
    """What happened to one segment; `seconds` is the Editor's time in this run, 0 where it was reused."""

    segment: Segment
    id: str
    recalled: tuple[Recall, ...]
    seconds: float
    reused: bool


@dataclass(frozen=True)
class TurnRecord:
    """What happened to every segment of a turn.

    `overheads` are the seconds, between two segments, in which the Editor had nothing to do. `first_started` is when
    the first segment reached the Editor (`time.time()`), None if nothing was edited. `peak_bytes` is by actor.
    """

    turn: int
    segments: tuple[SegmentRecord, ...]
    overheads: tuple[float, ...]
    first_started: float | None
    peak_bytes: dict[str, int]


def segment_id(plan: VideoPlan[Work], turn: int, segment: Segment, recalled: Sequence[str]) -> str:
    """Name a segment by everything that decides its pixels: a chain, since the memories it used are part of it."""
    span = [segment.span.start, segment.span.stop, segment.frames]
    return identify({"work": plan.work.fingerprint, "turn": turn, "span": span, "recalled": list(recalled)})


def noise_seed(plan: VideoPlan[Work], turn: int, segment: Segment) -> int:
    """Seed of the segment's noise: from the user's seed, the source, the span and the turn, never the order of work."""
    parts = f"{plan.work.request.seed}/{plan.work.source_id}/{segment.span.start}-{segment.span.stop}/{turn}"
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


def named(row: Row, plan: VideoPlan[Work], segment: Segment, recalled: Sequence[Recall]) -> Row:
    """The memory that `segment` will be, now that it is known what it recalls."""
    ids = tuple(memory.id for memory in recalled)
    return replace(
        row,
        id=segment_id(plan, row.turn, segment, ids),
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
    return SegmentRecord(segment, row.id, row.recalls, 0.0 if reused else entry.seconds, reused)


def edit_turn(turn: Turn, store: Store[Any], editors: EditorPool) -> TurnRecord:
    """Edit what the ledger lacks, in as many attempts as it takes, and return what happened to every segment.

    Raises:
        WeightsError: the model does not load.
        EditError: an actor died at every attempt.
    """
    try:
        return edit_segments(turn, store, editors, datetime.now(UTC))
    except RayActorError as fault:
        raise EditError(
            f"{turn.plan.work.name}: the model's process died at every one of {len(RETRY_SECONDS) + 1} attempts "
            f"({str(fault).splitlines()[0]}); free memory or choose a smaller --size, then run the same command again"
        ) from fault


def _actor_died(_task: object, _run: object, state: Any) -> bool:
    """Retry only what another attempt can mend: Ray restarts a dead actor, a bad input stays bad."""
    return isinstance(state.result(raise_on_failure=False), RayActorError)


@task(
    task_run_name="edit {turn.plan.work.name}",
    retries=len(RETRY_SECONDS),
    retry_delay_seconds=RETRY_SECONDS,
    retry_condition_fn=_actor_died,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def edit_segments(turn: Turn, store: Store[Any], editors: EditorPool, since: datetime) -> TurnRecord:
    """One attempt at what the ledger lacks, in a run that began at `since`.

    Raises:
        WeightsError: the model does not load.
        RayActorError: an actor died; the retry goes on where it stopped.
    """
    plan = turn.plan
    records = committed(turn, store, since)
    todo = [segment for segment in plan.segments if segment.index not in records]
    with EditProgress(plan.work.name, len(plan.segments), f"edit-{plan.work.fingerprint[:12]}") as progress:
        progress.show(len(records))
        count_reused(sum(record.reused for record in records.values()))
        if not todo:
            return TurnRecord(turn.place.number, _in_order(plan, records), (), None, {})
        with editors.lease() as editor, Committer(store) as committer:
            ray.get(editor.load.remote())
            desk = EditingDesk(turn, store, editor, committer)
            first_started, overheads = _edit_each(desk, todo, records, progress)
        peak = {name: _peak(actor) for name, actor in {"editor": editor, **turn.actors}.items()}
    return TurnRecord(turn.place.number, _in_order(plan, records), overheads, first_started, peak)


def _edit_each(
    desk: "EditingDesk", todo: Sequence[Segment], records: dict[int, SegmentRecord], progress: EditProgress
) -> tuple[float | None, tuple[float, ...]]:
    """Edit `todo` in order, adding to `records`; returns when the first one started and the waits between them."""
    overheads: list[float] = []
    first_started = idle_since = None
    for fetched in prefetch(desk.turn.plan.work, todo, desk.turn.look):
        segment = fetched.segment
        prepared = desk.prepare(fetched, _previous(segment, records))
        if idle_since is None:
            first_started = time.time()
        else:
            overheads.append(time.perf_counter() - idle_since)
        edited = desk.edit(prepared, fetched.frames, partial(progress.show, len(records)))
        idle_since = time.perf_counter()
        count_segment(edited.seconds, overheads[-1] if overheads else None)
        records[segment.index] = desk.commit(prepared, edited)
        progress.show(len(records))
    return first_started, tuple(overheads)


def _peak(actor: Any) -> int:
    return ray.get(actor.peak_bytes.remote())


def _in_order(plan: VideoPlan[Work], records: dict[int, SegmentRecord]) -> tuple[SegmentRecord, ...]:
    return tuple(records[segment.index] for segment in plan.segments)


def _previous(segment: Segment, records: dict[int, SegmentRecord]) -> str | None:
    """The segment edited just before in the same shot; across a cut there is none (docs: shot-aware)."""
    before = records.get(segment.index - 1)
    return before.id if before and before.segment.shot == segment.shot else None


class EditingDesk:
    """One Editor at work on one turn: feeds it, and hands what it made to the committer."""

    def __init__(self, turn: Turn, store: Store[Any], editor: Any, committer: Committer) -> None:
        self.turn, self._store, self._editor, self._committer = turn, store, editor, committer
        self._shared: OrderedDict[str, Any] = OrderedDict()
        self._log = get_run_logger()

    def prepare(self, fetched: FetchedSegment[Any], previous: str | None) -> PreparedSegment:
        """Choose the memories of a segment."""
        return self.turn.prepare(fetched, self._committer.recent, previous)

    def edit(self, prepared: PreparedSegment, frames: Any, report: Callable[[float], None]) -> EditedWork:
        """Edit one segment; `frames` is a Ray reference. `report` gets the share done."""
        row = prepared.row
        results = self._editor.edit.remote(frames, prepared.job, *self._latents(row.recalled))
        self._wait(results[0], report)
        pixels, (edited, source), seconds = ray.get(results)
        self._share(row.id, results[1])
        return EditedWork(row, pixels, edited, source, seconds["total"])

    def commit(self, prepared: PreparedSegment, edited: EditedWork) -> SegmentRecord:
        """Start the commit of an edited segment, and log what it recalled."""
        self._committer.commit(edited)
        row = prepared.row
        names = ", ".join(f"{memory.id[:8]} {memory.score:.3f} {memory.reason}" for memory in row.recalls)
        text = "segment %d [%d, %d) edited in %.2f s; recalled: %s"
        self._log.info(text, row.segment, row.start, row.stop, edited.seconds, names or "nothing")
        return SegmentRecord(prepared.segment, row.id, row.recalls, edited.seconds, reused=False)

    def _wait(self, result: Any, report: Callable[[float], None]) -> None:
        while not ray.wait([result], timeout=POLL_SECONDS, fetch_local=False)[0]:
            step, steps = ray.get(self._editor.progress.remote())
            report(step / steps if steps else 0.0)

    def _latents(self, ids: Sequence[str]) -> list[Any]:
        """Ray references to the memories' latents, fetched from the store where they are not shared yet."""
        missing = [id for id in ids if id not in self._shared]
        fetched = zip(missing, self._store.memory.latents(missing), strict=True)
        known = self._shared | {id: ray.put(latents) for id, latents in fetched}
        references = [known[id] for id in ids]
        for id, reference in zip(ids, references, strict=True):
            self._share(id, reference)
        return references

    def _share(self, id: str, reference: Any) -> None:
        self._shared[id] = reference
        self._shared.move_to_end(id)
        while len(self._shared) > MEMORIES_SHARED:
            self._shared.popitem(last=False)
