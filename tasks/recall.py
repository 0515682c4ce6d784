"""A turn by an instruction: which memories a segment recalls, the session's rows from the store, chosen by the method.

Recall is in two parts, so that an Editor need not wait for the slow one: `find` searches the store while earlier
segments are still being edited, `recall` adds what came since and chooses.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
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
from tasks.turn import PreparedSegment, named, origin

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
        row, parent = self._row(segment, descriptor), self.plan.work.parent
        edited = parent.row(segment).id if parent else None
        turns, reach = list(self.place.keys.values()), Reach(row.turn, known)
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
        late, reach = [one for one in recent if isinstance(one, MemoryRow)], Reach(row.turn, known)
        recalled = recall(self.memory, fetched.looked.found, late, row, reach, previous, request.retrieval)
        row = named(row, self.plan, segment, recalled)
        handed_on = self._handed_on(segment)
        job = EditJob(request.instruction, segment.frames, row.seed, row.recalled, previous, request.edit, handed_on)
        return PreparedSegment(segment, row, job)

    def _handed_on(self, segment: Segment) -> np.ndarray | None:
        """The latents of the result that is edited, unless another model made them: nothing is encoded twice."""
        work = self.plan.work
        if work.parent is None or work.parent.row(segment).model != work.model_id:
            return None
        return self.memory.latents([work.parent.row(segment).id])[0][0]

    def _row(self, segment: Segment, descriptor: np.ndarray) -> MemoryRow:
        common = origin(self.plan, self.place, segment, self.plan.work.request.instruction)
        return MemoryRow(**common, descriptor=descriptor, descriptor_name=self.descriptor_name)


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
