"""The gate between editing and stitching: scores every segment, flags those beyond their bounds, edits them again.

The edit is looked at as it will be stitched, small, against what it was made from. A segment is edited again with other
noise and more memories, scored in its place, and the better attempt kept. All of it follows from the turn and the
gate's settings: a run that was killed goes the same way again, and finds the attempts that it had committed.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import cv2
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from model.config import FaultPolicy, GateConfig
from model.metrics.course import Course, follow
from model.metrics.gate import Flag, excess, flags, measured, renew, score, surroundings
from model.metrics.plan import Plan, plan_measurement
from model.stitching import Frame, stitch
from model.types import Segment, Span
from storage.attempts import attempt_of, note_attempt, settle_attempts
from storage.faults import Docket
from storage.geometry import Fit
from storage.ledger import Entry
from storage.making import Making
from storage.scores import SegmentScores
from storage.segment_file import read_segment
from storage.store import Store
from storage.video import eight_bits, read_frames
from tasks.commit import Committer
from tasks.desk import EditingDesk
from tasks.edit import Care
from tasks.ingest import VideoPlan
from tasks.pool import EditorPool
from tasks.prefetch import prefetch
from tasks.recall import TextTurn
from tasks.turn import PreparedSegment, Quarantined, SegmentRecord, TurnRecord
from tasks.unsearched import unsearched
from tasks.words import count_text
from tasks.work import EditWork

SHORT_SIDE = 120  # pixels of what is looked at: a quarter of the work of 240, and the same faults are seen (benchmarks)
DIGITS = 4  # of scores that are kept


@dataclass(frozen=True)
class Verdict:
    """What the gate found of a turn in the end, segment by segment; `redone` were edited again, `better` were kept."""

    config: GateConfig
    scores: tuple[SegmentScores, ...]
    flags: tuple[tuple[Flag, ...], ...]
    redone: int = 0
    better: int = 0

    @property
    def flagged(self) -> list[int]:
        """Segments that a person should look at."""
        return [index for index, found in enumerate(self.flags) if found]

    @property
    def lines(self) -> list[str]:
        """What a report says of it."""
        redone = count_text(self.redone, "attempt was", "attempts were")
        again = f"; {redone} made again, {self.better} of them kept" if self.redone else ""
        told = [f"- segment {index}: {' '.join(flag.sentence for flag in self.flags[index])}" for index in self.flagged]
        return [f"**{count_text(len(self.flagged), 'segment')} flagged**{again}.", "", *told, *([""] if told else [])]


def pass_gate(
    turn: TextTurn, record: TurnRecord, store: Store[Any], editors: EditorPool, care: Care | None = None
) -> tuple[TurnRecord, Verdict | None]:
    """Judge an edited turn as its request says; None where it says not to.

    Raises:
        LostActorError: no Editor is left for what is to be edited again.
        RunError: a segment's file is damaged.
    """
    if turn.plan.work.request.gate.mode == "off":
        return record, None
    return judge(turn, record, store, editors, care or Care(FaultPolicy(), since=datetime.now(UTC)))


@unsearched
@task(task_run_name="judge {turn.plan.work.name}", cache_policy=NO_CACHE, persist_result=False)
def judge(
    turn: TextTurn, record: TurnRecord, store: Store[Any], editors: EditorPool, care: Care
) -> tuple[TurnRecord, Verdict]:
    """Score a turn's segments; what is flagged is edited again if the gate is to."""
    gate = Gate(turn, record, store)
    if turn.plan.work.request.gate.redoes:
        gate.redo(editors, care)
    return gate.record, gate.verdict


class Gate:
    """Judges one turn; `record` has the attempts that are kept so far."""

    def __init__(self, turn: TextTurn, record: TurnRecord, store: Store[Any]) -> None:
        self.record = record
        self._turn, self._store, self._log = turn, store, get_run_logger()
        self._config = turn.plan.work.request.gate
        plan = turn.plan
        self._plan = plan_measurement(plan.shots, plan.segments, plan.work.request.window.overlap)
        self._course = self._look(self._plan, record.segments)
        self._scores = score(self._course)
        self._tried: dict[int, int] = {}

    @property
    def verdict(self) -> Verdict:
        """As things stand."""
        scores, found = self._scores, flags(self._scores, self._config.bounds)
        told = tuple(
            SegmentScores(
                index=index,
                scores={name: round(value, DIGITS) for name, value in measured(scores, index).items()},
                flags=tuple(flag.name for flag in each),
            )
            for index, each in enumerate(found)
        )
        better = sum(done.attempt > 0 for done in self.record.segments)
        return Verdict(self._config, told, found, sum(self._tried.values()), better)

    def redo(self, editors: EditorPool, care: Care) -> None:
        """Edit flagged segments again, the worst first, until none is left or has been tried often enough."""
        docket = Docket(self._store.ledger, self._turn.plan.work.video_id, care.since)
        while (worst := self._worst()) is not None:
            self._tried[worst] = self._tried.get(worst, 0) + 1
            made = self._attempt(worst, editors, care, docket)
            if made is not None:
                self._weigh(made)
        kept = {done.id for done in self.record.segments if done.attempt}
        settle_attempts(self._store.ledger, self._turn.place.key, kept)

    def _worst(self) -> int | None:
        """The flagged segment furthest beyond its bounds that may be tried again."""
        beyond, found = excess(self._scores, self._config.bounds), flags(self._scores, self._config.bounds)
        left = [at for at, each in enumerate(found) if each and self._tried.get(at, 0) < self._config.redos]
        return max(left, key=lambda at: (beyond[at], -at), default=None)

    def _attempt(self, index: int, editors: EditorPool, care: Care, docket: Docket) -> SegmentRecord | None:
        """Another attempt at a segment, committed now or in an earlier run; None where it was given up."""
        number, segments = self._tried[index], self.record.segments
        found = flags(self._scores, self._config.bounds)
        good = [done for done, each in zip(segments, found, strict=True) if not each]
        prepared = self._turn.again(segments[index], number, good)
        made = self._committed(prepared) or self._edit(prepared, editors, care, docket)
        if made is None:
            return None
        if not attempt_of(entry := self._entry(made.id)):  # an earlier version committed it, and was killed
            note_attempt(self._store.ledger, entry, number)
        return replace(made, attempt=number)

    def _committed(self, prepared: PreparedSegment) -> SegmentRecord | None:
        entry = self._store.ledger.find([prepared.row.id]).get(prepared.row.id)
        if entry is None or not self._store.whole(entry):
            return None
        merges = Making.read(entry).merges
        return SegmentRecord(prepared.segment, entry.id, prepared.row.recalls, 0.0, reused=True, merges=merges)

    def _edit(self, prepared: PreparedSegment, editors: EditorPool, care: Care, docket: Docket) -> SegmentRecord | None:
        work, segment = self._turn.plan.work, prepared.segment
        with closing(prefetch(work, [segment], lambda *_: None)) as fetched, Committer(self._store) as committer:
            frames = next(fetched).frames
            with editors.lease() as editor:
                desk = EditingDesk(editor, self._store, committer, docket, care.policy)
                done = desk.edit(prepared, frames, lambda _: None)
        return None if isinstance(done, Quarantined) else done

    def _entry(self, id: str) -> Entry:
        return self._store.ledger.find([id])[id]

    def _weigh(self, made: SegmentRecord) -> None:
        """Keep an attempt if it is better in its place than the one before."""
        index, bounds = made.segment.index, self._config.bounds
        around = surroundings(self._plan, index)
        segments = (*self.record.segments[:index], made, *self.record.segments[index + 1 :])
        near = segments[around.first : around.first + len(around.plan.segments)]
        renewed = renew(self._course, self._look(around.plan, near), around)
        scores = score(renewed)
        before, after = (float(excess(each, bounds)[index]) for each in (self._scores, scores))
        kept = "kept" if after < before else "not kept"
        text = "segment %d: attempt %d is %.2f beyond its bounds, the one before %.2f: %s"
        self._log.info(text, index, made.attempt + 1, after, before, kept)
        if after < before:
            self._course, self._scores = renewed, scores
            self.record = replace(self.record, segments=segments)

    def _look(self, plan: Plan, segments: Sequence[SegmentRecord]) -> Course:
        """Segments in a row, stitched, beside what they were made from; `plan` counts these frames from 0."""
        files = {done.segment.index: self._store.segment_path(done.id) for done in segments}
        those, overlap = [done.segment for done in segments], self._turn.plan.work.request.window.overlap
        edit = stitch(those, lambda segment: read_segment(files[segment.index]), overlap)
        source = source_frames(self._turn.plan, those)
        work = self._turn.plan.work
        return follow(small(source, work.fit), small(edit, work.fit), plan)


def source_frames(plan: VideoPlan[EditWork], segments: Sequence[Segment]) -> Iterator[Frame]:
    """What segments in a row were made from: the user's video, or the result of an earlier turn."""
    work, parent = plan.work, plan.work.parent
    if parent is not None:
        return stitch(segments, lambda one: read_segment(parent.files[one.span]), work.request.window.overlap)
    span = Span(segments[0].span.start, segments[-1].span.stop)
    return read_frames(work.info, span, work.fit, tone_map=work.request.output.tone_map)


def small(frames: Iterable[Frame], fit: Fit) -> Iterator[Frame]:
    """The pictures in frames on the model's canvas, with a short side of at most 120 pixels, uint8."""
    box = fit.inner
    scale = min(SHORT_SIDE / min(box.width, box.height), 1.0)
    size = (round(box.width * scale), round(box.height * scale))
    for frame in frames:
        picture = frame[box.y : box.y + box.height, box.x : box.x + box.width]
        yield cv2.resize(eight_bits(picture), size, interpolation=cv2.INTER_AREA)
