"""Edit the segments of one turn, in order, on a leased Editor; what the ledger has is not edited again.

While the Editor works on a segment, the next one is decoded and described, and the one before is committed.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import ray
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from ray.exceptions import RayActorError

from model.errors import EditError
from model.memory.retrieval import Candidate
from model.types import Recall, Segment
from storage.content_id import identify
from storage.ledger import Entry
from storage.memory import MemoryRow
from storage.store import Store
from tasks.actors import EditJob, EditorPool
from tasks.commit import Committer, EditedWork
from tasks.ingest import VideoPlan
from tasks.prefetch import FetchedSegment, prefetch
from tasks.progress import EditProgress
from tasks.recall import find, recall

RETRY_SECONDS = [1.0, 10.0, 60.0]
POLL_SECONDS = 0.5
MEMORIES_SHARED = 16  # latents kept in Ray's object store: neighbours often recall the same


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


def segment_id(plan: VideoPlan, turn: int, segment: Segment, recalled: Sequence[str]) -> str:
    """Name a segment by everything that decides its pixels: a chain, since the memories it used are part of it."""
    span = [segment.span.start, segment.span.stop, segment.frames]
    return identify({"work": plan.work.fingerprint, "turn": turn, "span": span, "recalled": list(recalled)})


def noise_seed(plan: VideoPlan, turn: int, segment: Segment) -> int:
    """Seed of the segment's noise: from the user's seed, the source, the span and the turn, never the order of work."""
    parts = f"{plan.work.request.seed}/{plan.work.source_id}/{segment.span.start}-{segment.span.stop}/{turn}"
    return int.from_bytes(sha256(parts.encode()).digest()[:8], "big") >> 1


def committed(plan: VideoPlan, turn: int, store: Store, since: datetime) -> dict[int, SegmentRecord]:
    """Segments of this turn that are done: in the ledger, file whole, id as it would be computed today.

    Those committed after `since`, when this run began, are its own work: an earlier attempt made them.
    """
    segments = {segment.index: segment for segment in plan.segments}
    kept = store.memory.rows_of(store.ledger.turn(plan.work.session, turn).key)
    rows = [row for row in kept if row.segment in segments]
    rows = [row for row in rows if segment_id(plan, turn, segments[row.segment], row.recalled) == row.id]
    entries = store.ledger.find([row.id for row in rows])
    whole = ((row, entries[row.id]) for row in rows if row.id in entries and store.whole(entries[row.id]))
    return {row.segment: _found(segments[row.segment], row, entry, since) for row, entry in whole}


def _found(segment: Segment, row: MemoryRow, entry: Entry, since: datetime) -> SegmentRecord:
    reused = entry.recorded < since
    return SegmentRecord(segment, row.id, _recalls(row), 0.0 if reused else entry.seconds, reused)


def _recalls(row: MemoryRow) -> tuple[Recall, ...]:
    reasons = zip(row.recalled, row.scores, row.reasons, strict=True)
    return tuple(Recall(id, score, reason) for id, score, reason in reasons)


def edit_turn(plan: VideoPlan, turn: int, store: Store, editors: EditorPool, embedder: Any) -> TurnRecord:
    """Edit what the ledger lacks, in as many attempts as it takes, and return what happened to every segment.

    Raises:
        WeightsError: the model does not load.
        EditError: an actor died at every attempt.
    """
    try:
        return edit_segments(plan, turn, store, editors, embedder, datetime.now(UTC))
    except RayActorError as fault:
        raise EditError(
            f"{plan.work.info.path.name}: the model's process died at every one of {len(RETRY_SECONDS) + 1} attempts "
            f"({str(fault).splitlines()[0]}); free memory or choose a smaller --size, then run the same command again"
        ) from fault


def _actor_died(_task: object, _run: object, state: Any) -> bool:
    """Retry only what another attempt can mend: Ray restarts a dead actor, a bad input stays bad."""
    return isinstance(state.result(raise_on_failure=False), RayActorError)


@task(
    task_run_name="edit {plan.work.info.path.name}",
    retries=len(RETRY_SECONDS),
    retry_delay_seconds=RETRY_SECONDS,
    retry_condition_fn=_actor_died,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def edit_segments(
    plan: VideoPlan, turn: int, store: Store, editors: EditorPool, embedder: Any, since: datetime
) -> TurnRecord:
    """One attempt at what the ledger lacks, in a run that began at `since`.

    Raises:
        WeightsError: the model does not load.
        RayActorError: an actor died; the retry goes on where it stopped.
    """
    records = committed(plan, turn, store, since)
    todo = [segment for segment in plan.segments if segment.index not in records]
    name = plan.work.info.path.name
    with EditProgress(name, len(plan.segments), f"edit-{plan.work.fingerprint[:12]}") as progress:
        progress.show(len(records))
        if not todo:
            return TurnRecord(turn, _in_order(plan, records), (), None, {})
        with editors.lease() as editor, Committer(store) as committer:
            ray.get(editor.load.remote())
            desk = EditingDesk(plan, turn, store, editor, committer, ray.get(embedder.identity.remote())[0])
            first_started, overheads = _edit_each(desk, todo, embedder, records, progress)
        peak = {name: _peak(actor) for name, actor in (("editor", editor), ("embedder", embedder))}
    return TurnRecord(turn, _in_order(plan, records), overheads, first_started, peak)


def _edit_each(
    desk: "EditingDesk",
    todo: Sequence[Segment],
    embedder: Any,
    records: dict[int, SegmentRecord],
    progress: EditProgress,
) -> tuple[float | None, tuple[float, ...]]:
    """Edit `todo` in order, adding to `records`; returns when the first one started and the waits between them."""
    overheads: list[float] = []
    first_started = idle_since = None
    for fetched in prefetch(desk.work, todo, embedder, desk.find):
        segment = fetched.segment
        prepared = desk.prepare(fetched, _previous(segment, records))
        if idle_since is None:
            first_started = time.time()
        else:
            overheads.append(time.perf_counter() - idle_since)
        edited = desk.edit(prepared, fetched.frames, partial(progress.show, len(records)))
        idle_since = time.perf_counter()
        records[segment.index] = desk.commit(prepared, edited)
        progress.show(len(records))
    return first_started, tuple(overheads)


def _peak(actor: Any) -> int:
    return ray.get(actor.peak_bytes.remote())


def _in_order(plan: VideoPlan, records: dict[int, SegmentRecord]) -> tuple[SegmentRecord, ...]:
    return tuple(records[segment.index] for segment in plan.segments)


def _previous(segment: Segment, records: dict[int, SegmentRecord]) -> str | None:
    """The segment edited just before in the same shot; across a cut there is none (docs: shot-aware)."""
    before = records.get(segment.index - 1)
    return before.id if before and before.segment.shot == segment.shot else None


@dataclass(frozen=True)
class PreparedSegment:
    """A segment with the memories it was given, ready for the Editor."""

    segment: Segment
    row: MemoryRow
    recalled: tuple[Recall, ...]
    previous: str | None


class EditingDesk:
    """One Editor at work on one turn: recalls for it, feeds it, and hands what it made to the committer."""

    def __init__(
        self, plan: VideoPlan, turn: int, store: Store, editor: Any, committer: Committer, descriptor_name: str
    ) -> None:
        self.work, self._plan, self._turn, self._store = plan.work, plan, turn, store
        self._editor, self._committer, self._descriptor_name = editor, committer, descriptor_name
        self._turns = {each.number: each.key for each in store.ledger.turns(plan.work.session)}
        self._shared: OrderedDict[str, Any] = OrderedDict()
        self._log = get_run_logger()

    def find(self, segment: Segment, descriptor: np.ndarray) -> list[Candidate]:
        """What the store holds for `segment` now; safe in another thread."""
        row, parent = self._unnamed_row(segment, descriptor), self.work.parent
        edited = parent.row(segment).id if parent else None
        return find(self._store.memory, row, self.work.request.retrieval, list(self._turns.values()), edited)

    def prepare(self, fetched: FetchedSegment, previous: str | None) -> PreparedSegment:
        """Choose the memories of a segment; its id follows from them."""
        segment, row = fetched.segment, self._unnamed_row(fetched.segment, fetched.descriptor)
        recent, config = self._committer.recent, self.work.request.retrieval
        recalled = tuple(recall(self._store.memory, fetched.found, recent, row, previous, config))
        ids = tuple(memory.id for memory in recalled)
        named = replace(
            row,
            id=segment_id(self._plan, self._turn, segment, ids),
            recalled=ids,
            scores=tuple(memory.score for memory in recalled),
            reasons=tuple(memory.reason for memory in recalled),
        )
        return PreparedSegment(segment, named, recalled, previous)

    def _unnamed_row(self, segment: Segment, descriptor: np.ndarray) -> MemoryRow:
        """The memory that `segment` will be, before it is known what it recalls."""
        return MemoryRow(
            id="",
            session=self._turns[self._turn][0],
            video=self.work.source_id,
            turn=self._turn,
            segment=segment.index,
            shot=segment.shot,
            start=segment.span.start,
            stop=segment.span.stop,
            instruction=self.work.request.instruction,
            seed=noise_seed(self._plan, self._turn, segment),
            descriptor=descriptor,
            descriptor_name=self._descriptor_name,
            recalled=(),
            scores=(),
            reasons=(),
            model=self.work.model_id,
            created=datetime.now(UTC),
        )

    def edit(self, prepared: PreparedSegment, frames: Any, report: Callable[[float], None]) -> EditedWork:
        """Edit one segment; `frames` is a Ray reference. `report` gets the share done."""
        row, request = prepared.row, self.work.request
        length = prepared.segment.frames
        handed_on = self._handed_on(prepared.segment)
        job = EditJob(request.instruction, length, row.seed, row.recalled, prepared.previous, request.edit, handed_on)
        results = self._editor.edit.remote(frames, job, *self._latents(row.recalled))
        self._wait(results[0], report)
        pixels, (edited, source), seconds = ray.get(results)
        self._share(row.id, results[1])
        return EditedWork(row, pixels, edited, source, seconds["total"])

    def _handed_on(self, segment: Segment) -> np.ndarray | None:
        """The latents of the result that is edited, unless another model made them: nothing is encoded twice."""
        parent = self.work.parent
        if parent is None or parent.row(segment).model != self.work.model_id:
            return None
        return self._store.memory.latents([parent.row(segment).id])[0][0]

    def commit(self, prepared: PreparedSegment, edited: EditedWork) -> SegmentRecord:
        """Start the commit of an edited segment, and log what it recalled."""
        self._committer.commit(edited)
        row = prepared.row
        names = ", ".join(f"{memory.id[:8]} {memory.score:.3f} {memory.reason}" for memory in prepared.recalled)
        text = "segment %d [%d, %d) edited in %.2f s; recalled: %s"
        self._log.info(text, row.segment, row.start, row.stop, edited.seconds, names or "nothing")
        return SegmentRecord(prepared.segment, row.id, prepared.recalled, edited.seconds, reused=False)

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
