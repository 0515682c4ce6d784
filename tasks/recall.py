"""A turn by an instruction: which memories a segment recalls, the session's rows from the store, chosen by the method.

Recall is in two parts, so that an Editor need not wait for the slow one: `find` searches the store while earlier
segments are still being edited, `recall` adds what came since and chooses.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import ray

from model.config import RetrievalConfig
from model.memory.retrieval import Candidate, choose, rank_by_descriptor
from model.types import Recall, Segment
from storage.ledger import TurnKey, TurnPlace
from storage.memory import MemoryRow, MemoryStore
from storage.remembered import Reach, Remembered
from tasks.actors.editor import EditJob
from tasks.ingest import EditWork, VideoPlan
from tasks.prefetch import FetchedSegment
from tasks.turn import PreparedSegment, SegmentRecord, named, noise_seed, origin

COVERAGE_POOL = 8  # candidates looked at per memory wanted, when picks must not repeat one another


@dataclass(frozen=True)
class Looked:
    """The descriptor of a segment's source, and what the store held for it."""

    descriptor: np.ndarray
    found: list[Candidate]


@dataclass(frozen=True)
class TextTurn:
    """A turn by an instruction (see `tasks/turn.py`: Turn); segments are compared by `descriptor_name`."""

    plan: VideoPlan[EditWork]
    place: TurnPlace
    memory: MemoryStore
    embedder: Any
    descriptor_name: str

    @property
    def actors(self) -> Mapping[str, Any]:
        return {"embedder": self.embedder}

    def look(self, segment: Segment, frames: Any, known: Collection[int]) -> Looked:
        """Describe a segment, and search the store for it."""
        descriptor: Any = ray.get(self.embedder.describe.remote(frames))
        row, edited = self._row(segment, descriptor), self._edited(segment)
        turns, reach = list(self.place.keys.values()), Reach(row.turn, known, self.place.passed)
        return Looked(descriptor, find(self.memory, turns, row, reach, self.plan.work.request.retrieval, edited))

    def prepare(
        self,
        fetched: FetchedSegment[Looked],
        recent: Sequence[Remembered],
        known: Collection[int],
        previous: str | None,
    ) -> PreparedSegment:
        """Choose the memories of a segment; its id follows from them."""
        segment, request = fetched.segment, self.plan.work.request
        row = self._row(segment, fetched.looked.descriptor)
        late = [one for one in recent if isinstance(one, MemoryRow)]
        reach = Reach(row.turn, known, self.place.passed)
        recalled = recall(self.memory, fetched.looked.found, late, row, reach, previous, request.retrieval)
        return self._prepared(segment, named(row, self.plan, segment, recalled), previous)

    def again(self, first: SegmentRecord, attempt: int, good: Sequence[SegmentRecord]) -> PreparedSegment:
        """A segment of the finished turn for another attempt: with other noise, and a memory more for each attempt.

        It may recall `good`, wherever they are in the video, and what earlier turns kept; nothing else of its own turn.
        """
        segment, number, config = first.segment, self.place.number, self.plan.work.request.retrieval
        row = self.memory.row(first.id)
        row = replace(row, id="", seed=noise_seed(self.plan, number, segment, attempt), created=datetime.now(UTC))
        ids = {one.segment.index: one.id for one in good if one.segment.index != segment.index}
        mine = {one.id for one in self.memory.rows_of(self.place.key)}
        reach = Reach(number, ids.keys(), (mine | self.place.passed) - set(ids.values()))
        config = config.model_copy(update={"top_k": config.top_k + attempt}) if config.top_k else config
        previous = next((one.id for one in good if _is_before(one.segment, segment)), None)
        found = find(self.memory, list(self.place.keys.values()), row, reach, config, self._edited(segment))
        recalled = recall(self.memory, found, (), row, reach, previous, config)
        return self._prepared(segment, named(row, self.plan, segment, recalled, attempt), previous)

    def _prepared(self, segment: Segment, row: MemoryRow, previous: str | None) -> PreparedSegment:
        request, handed_on = self.plan.work.request, self._handed_on(segment)
        job = EditJob(request.instruction, segment.frames, row.seed, row.recalled, previous, request.edit, handed_on)
        return PreparedSegment(segment, row, job)

    def _edited(self, segment: Segment) -> str | None:
        """The memory that a turn over another one's result edits."""
        parent = self.plan.work.parent
        return parent.row(segment).id if parent else None

    def _handed_on(self, segment: Segment) -> np.ndarray | None:
        """The latents of the result that is edited, unless another model made them: nothing is encoded twice."""
        work = self.plan.work
        if work.parent is None or work.parent.row(segment).model != work.model_id:
            return None
        return self.memory.latents([work.parent.row(segment).id])[0][0]

    def _row(self, segment: Segment, descriptor: np.ndarray) -> MemoryRow:
        common = origin(self.plan, self.place, segment, self.plan.work.request.instruction)
        return MemoryRow(**common, descriptor=descriptor, descriptor_name=self.descriptor_name)


def _is_before(one: Segment, other: Segment) -> bool:
    return (one.index + 1, one.shot) == (other.index, other.shot)


def find(
    memory: MemoryStore,
    turns: Sequence[TurnKey],
    row: MemoryRow,
    reach: Reach,
    config: RetrievalConfig,
    edited: str | None = None,
) -> list[Candidate]:
    """The memories in the store that the segment of `row` might recall (supplement D.2, Algorithm 2).

    Only turns of the session, whose keys are `turns`, and what is within `reach` are looked at, so that a run that
    resumes sees what the first one saw. `edited` is the memory that the turn edits at this span: being the
    source, it need not be recalled as well.
    """
    if config.top_k == 0:
        return []
    pool = _pool(config) + (edited is not None)
    hits = memory.search(turns, row.descriptor, row.descriptor_name, pool, reach)
    return [hit for hit in hits if hit.id != edited][: _pool(config)]


def recall(
    memory: MemoryStore,
    found: Sequence[Candidate],
    recent: Sequence[MemoryRow],
    row: MemoryRow,
    reach: Reach,
    previous: str | None,
    config: RetrievalConfig,
) -> list[Recall]:
    """Memories for the segment of `row`, best first, the same ones whenever the store was searched.

    `found` is what `find` saw; `recent` are the rows that it may not have seen yet; `previous` is the segment edited
    just before in the same shot.
    """
    if config.top_k == 0:
        return []
    known = {candidate.id: candidate for candidate in found}
    for late in recent:
        if late.id not in known and reach.holds(late) and _is_comparable(late, row):
            known[late.id] = _candidate(late, row.descriptor)
    nearest = sorted(known.values(), key=lambda candidate: candidate.precedence)[: _pool(config)]
    if previous is not None and all(candidate.id != previous for candidate in nearest):
        nearest.append(known.get(previous) or _candidate(memory.row(previous), row.descriptor))
    worthy = [candidate for candidate in nearest if candidate.score >= config.least or candidate.id == previous]
    return choose(worthy, config.top_k, previous, config.coverage)


def _pool(config: RetrievalConfig) -> int:
    return config.top_k * (COVERAGE_POOL if config.coverage else 1)


def _is_comparable(late: MemoryRow, row: MemoryRow) -> bool:
    """What the search asks of a memory besides its place."""
    return (late.session, late.descriptor_name) == (row.session, row.descriptor_name)


def _candidate(row: MemoryRow, descriptor: np.ndarray) -> Candidate:
    score = float(rank_by_descriptor(descriptor, row.descriptor[None])[0])
    return Candidate(row.id, score, row.descriptor, (row.turn, row.segment))
