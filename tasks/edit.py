"""Edit the segments of one turn, by their schedule, on leased Editors; what the ledger has is not edited again.

While an Editor works on a segment, the next one is decoded and looked up, and the one before is committed. Segments
are edited in line; those of a fan at once, by all Editors that nobody else needs (`model/schedule.py`).
"""

import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from threading import Lock
from typing import Any

import ray
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from model.config import FaultPolicy
from model.errors import EditError, LostEditorError, first_line
from model.schedule import SEGMENTS_PER_ANCHOR, order
from model.types import Segment
from storage.faults import Docket
from storage.store import Store
from tasks.actors.answers import DEATHS
from tasks.commit import Committer
from tasks.desk import EditingDesk
from tasks.editor_handle import EditorHandle
from tasks.ingest import VideoPlan
from tasks.metrics import count_quarantined, count_reused
from tasks.pool import EditorPool
from tasks.prefetch import FetchedSegment, prefetch
from tasks.progress import CountedProgress, QuietProgress
from tasks.turn import Quarantined, SegmentRecord, Turn, TurnRecord, committed
from tasks.unsearched import unsearched
from tasks.words import count_text
from tasks.work import Work

RETRY_SECONDS = [1.0, 10.0, 60.0]


@dataclass(frozen=True)
class Care:
    """How much a turn bears with: the policy, and since when attempts that failed are counted; None counts all.

    `told` gets the segments done and planned, instead of what a person at the terminal would see.
    """

    policy: FaultPolicy
    since: datetime | None = None
    told: Callable[[int, int], None] | None = None


def edit_turn(turn: Turn, store: Store[Any], editors: EditorPool) -> TurnRecord:
    """Edit what the ledger lacks, and return what happened to every segment. Earlier runs' faults are forgotten.

    Raises:
        WeightsError: the model does not load.
        EditError: an actor besides the Editor died at every attempt, or segments were given up.
        LostActorError: no Editor is left.
    """
    now = datetime.now(UTC)
    try:
        record = edit_segments(turn, store, editors, Care(FaultPolicy(), since=now), now)
    except DEATHS as fault:
        raise EditError(
            f"{turn.plan.work.name}: a process of the run died at every one of {len(RETRY_SECONDS) + 1} attempts "
            f"({first_line(fault)}); free memory, then run the same command again"
        ) from fault
    if record.quarantined:
        lost, failed = record.quarantined[0], count_text(len(record.quarantined), "segment")
        raise EditError(
            f"{turn.plan.work.name}: {failed} failed, such as segment {lost.segment.index} "
            f"after {lost.attempts} attempts ({lost.reason}); the same command tries them again"
        )
    return record


def _actor_died(_task: object, _run: object, state: Any) -> bool:
    """Retry only what another attempt can mend: Ray restarts a dead actor, a bad input stays bad."""
    return isinstance(state.result(raise_on_failure=False), DEATHS)


@unsearched
@task(
    task_run_name="edit {turn.plan.work.name}",
    retries=len(RETRY_SECONDS),
    retry_delay_seconds=RETRY_SECONDS,
    retry_condition_fn=_actor_died,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def edit_segments(turn: Turn, store: Store[Any], editors: EditorPool, care: Care, since: datetime) -> TurnRecord:
    """One attempt at what the ledger lacks, in a run that began at `since`.

    Raises:
        WeightsError: the model does not load.
        LostActorError: no Editor is left.
        RayActorError: the Embedder died; the retry goes on where it stopped.
    """
    plan = turn.plan
    records = committed(turn, store, since)
    with _progress(plan, care) as progress:
        progress.show(len(records))
        count_reused(sum(record.reused for record in records.values()))
        if len(records) == len(plan.segments):
            return TurnRecord(turn.place.number, _in_order(plan, records))
        docket = Docket(store.ledger, plan.work.video_id, care.since)
        with Committer(store) as committer, ExitStack() as leases:  # the Editor is free before the last commit is done
            leased = _Leases(editors, leases, lambda editor: EditingDesk(editor, store, committer, docket, care.policy))
            crew = Crew(turn, leased, committer, records, progress)
            crew.edit_all()
            peaks = {"editor": leased.own.editor.peak_bytes()}
            peaks |= {name: _peak(actor) for name, actor in turn.actors.items()}
    return TurnRecord(
        turn=turn.place.number,
        segments=_in_order(plan, records),
        overheads=tuple(crew.overheads),
        first_started=crew.first_started,
        peak_bytes=peaks,
        quarantined=tuple(crew.quarantined),
        faults=docket.added,
    )


def _progress(plan: VideoPlan[Work], care: Care) -> CountedProgress | QuietProgress:
    if care.told is not None:
        return QuietProgress(len(plan.segments), care.told)
    return CountedProgress(plan.work.name, len(plan.segments), f"edit-{plan.work.fingerprint[:12]}")


def _peak(actor: Any) -> int:
    return ray.get(actor.peak_bytes.remote())


class _Leases:
    """The Editors of a turn: its own, leased when the first segment is ready, and others that are spare for a while."""

    def __init__(self, editors: EditorPool, stack: ExitStack, desk: Callable[[EditorHandle], EditingDesk]) -> None:
        self._editors, self._stack, self._desk = editors, stack, desk
        self._own: EditingDesk | None = None

    @property
    def own(self) -> EditingDesk:
        if self._own is None:
            self._own = self._desk(self._stack.enter_context(self._editors.lease()))
        return self._own

    @property
    def spare(self) -> int:
        return self._editors.spare

    def others(self, stack: ExitStack, most: int) -> list[EditingDesk]:
        """At most so many more desks, with Editors that nobody else needs, until `stack` closes."""
        desks: list[EditingDesk] = []
        while len(desks) < most and (editor := stack.enter_context(self._editors.lease_spare())) is not None:
            desks.append(self._desk(editor))
        return desks


@dataclass(frozen=True)
class Phase:
    """Segments, in the order of the video, edited in line, each of which may recall those before it, or else at once.

    All may recall `base`.
    """

    segments: tuple[Segment, ...]
    base: Collection[int]
    in_line: bool

    def known(self, segment: Segment) -> Collection[int]:
        """The segments of the turn that one of the phase may recall."""
        if not self.in_line:
            return self.base
        if self._is_whole:
            return range(segment.index)
        earlier = (one.index for one in self.segments if one.index < segment.index)
        known = sorted({*self.base, *earlier})
        return range(len(known)) if known == list(range(len(known))) else tuple(known)

    @cached_property
    def _is_whole(self) -> bool:
        """Whether it begins with the video, leaves nothing out, and has nothing else to recall."""
        return not self.base and all(one.index == place for place, one in enumerate(self.segments))


def plan_phases(segments: Sequence[Segment], schedule: str, editors: int, base: Collection[int] = ()) -> list[Phase]:
    """Segments by their schedule: first those in line, then, if any, those that are edited at once.

    Raises:
        RequestError: the schedule is unknown.
    """
    planned = order(segments, schedule, editors)
    anchors = {*base, *(segment.index for segment in planned.line)}
    phases = (Phase(planned.line, base, in_line=True), Phase(planned.fan, tuple(sorted(anchors)), in_line=False))
    return [phase for phase in phases if phase.segments]


class Crew:
    """The Editors at work on one turn. `overheads` are their waits between its segments."""

    def __init__(
        self,
        turn: Turn,
        leases: _Leases,
        committer: Committer,
        records: dict[int, SegmentRecord],
        progress: CountedProgress | QuietProgress,
    ) -> None:
        self._turn, self._leases, self._committer = turn, leases, committer
        self._records, self._progress = records, progress
        self._begun: set[EditorHandle] = set()
        self.first_started: float | None = None
        self.overheads: list[float] = []
        self.quarantined: list[Quarantined] = []

    def edit_all(self) -> None:
        """Edit what is not in the records, adding to them."""
        segments, schedule = self._turn.plan.segments, self._turn.plan.work.request.schedule
        base: tuple[int, ...] = ()
        if schedule == "auto":
            self._edit_in_line(Phase(segments, (), in_line=True), until=self._could_fan_out)
            segments, base = tuple(self._open(segments)), tuple(self._records)
        for phase in plan_phases(segments, schedule, 1 + self._leases.spare, base):
            (self._edit_in_line if phase.in_line else self._edit_at_once)(phase)

    def _could_fan_out(self) -> bool:
        """Whether Editors stand idle, and enough is left for them."""
        return self._leases.spare > 0 and len(self._open(self._turn.plan.segments)) > SEGMENTS_PER_ANCHOR

    def _open(self, segments: Sequence[Segment]) -> list[Segment]:
        given_up = {one.segment.index for one in self.quarantined}
        return [one for one in segments if one.index not in self._records and one.index not in given_up]

    def _edit_in_line(self, phase: Phase, until: Callable[[], bool] = lambda: False) -> None:
        if until():
            return
        with closing(self._fetch(phase)) as fetched:
            for one in fetched:
                self._edit(None, one, phase)
                if until():
                    return

    def _edit_at_once(self, phase: Phase) -> None:
        with ExitStack() as stack, closing(self._fetch(phase)) as fetched:
            desks = [self._leases.own, *self._leases.others(stack, len(self._open(phase.segments)) - 1)]
            shared = Shared(fetched)
            with ThreadPoolExecutor(len(desks), thread_name_prefix="fan") as threads:
                work = [threads.submit(copy_context().run, self._serve, desk, shared, phase) for desk in desks]
            for done in work:
                done.result()
        if self._open(phase.segments):  # what an Editor had at hand that was lost
            self._edit_in_line(phase)

    def _serve(self, desk: EditingDesk, fetched: "Shared", phase: Phase) -> None:
        """Edit what comes; the others go on without a desk whose Editor is lost, unless it is the turn's own."""
        try:
            for one in fetched:
                self._edit(desk, one, phase)
        except LostEditorError as fault:
            if desk is self._leases.own:
                raise
            get_run_logger().warning("%s; the others go on", fault)

    def _fetch(self, phase: Phase) -> Generator[FetchedSegment[Any], None, None]:
        def look(segment: Segment, frames: Any) -> Any:
            return self._turn.look(segment, frames, phase.known(segment))

        return prefetch(self._turn.plan.work, self._open(phase.segments), look)

    def _edit(self, desk: EditingDesk | None, fetched: FetchedSegment[Any], phase: Phase) -> None:
        segment = fetched.segment
        known = phase.known(segment)
        prepared = self._turn.prepare(fetched, self._committer.recent, known, self._previous(segment, known))
        desk = desk or self._leases.own
        self.first_started = self.first_started or time.time()
        done = desk.edit(prepared, fetched.frames, partial(self._progress.show, len(self._records)))
        if desk.editor in self._begun and desk.editor.waited is not None:
            self.overheads.append(desk.editor.waited)
        self._begun.add(desk.editor)
        if isinstance(done, Quarantined):
            self.quarantined.append(done)
            count_quarantined()
        else:
            self._records[segment.index] = done
        self._progress.show(len(self._records))

    def _previous(self, segment: Segment, known: Collection[int]) -> str | None:
        """The segment edited just before in the same shot; across a cut there is none (docs: shot-aware)."""
        before = self._records.get(segment.index - 1)
        same = before is not None and before.segment.shot == segment.shot and before.segment.index in known
        return before.id if before is not None and same else None


class Shared:
    """An iterator that threads take from in turn."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items, self._lock = items, Lock()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._lock:
            return next(self._items)


def _in_order(plan: VideoPlan[Work], records: dict[int, SegmentRecord]) -> tuple[SegmentRecord, ...]:
    return tuple(records[segment.index] for segment in plan.segments if segment.index in records)
