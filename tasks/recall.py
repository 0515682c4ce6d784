"""A turn by an instruction: which memories a segment recalls, the session's rows from the store, chosen by the method.

Recall is in two parts, so that an Editor need not wait for the slow one: `Query.find` searches the store while earlier
segments are still being edited, `Query.recall` adds what came since and chooses.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import ray

from model.config import RetrievalConfig
from model.memory.retrieval import UNKNOWN, Candidate, choose, is_changed, leave_out_copies, rank_by_descriptor
from model.types import Recall, Segment
from storage.ledger import TurnKey, TurnPlace
from storage.memory import MemoryRow, MemoryStore
from storage.remembered import Reach, Remembered
from tasks.actors.editor import EditJob
from tasks.ingest import VideoPlan
from tasks.prefetch import FetchedSegment
from tasks.turn import PreparedSegment, SegmentRecord, named, noise_seed, origin
from tasks.work import EditWork

COVERAGE_POOL = 8  # candidates looked at per memory wanted, when picks must not repeat one another


@dataclass(frozen=True)
class Found:
    """What the store held for a segment, and by turn how much the memory was changed that was changed `most`."""

    candidates: list[Candidate]
    most: Mapping[TurnKey, float]


@dataclass(frozen=True)
class Query:
    """What the segment of `row` asks of the memories within `reach`, of the session's turns, whose keys are `turns`.

    Nothing else is looked at, so that a run that resumes sees what the first one saw. `edited` is the memory that the
    turn edits at this span: being the source, it need not be recalled as well.
    """

    memory: MemoryStore
    turns: Sequence[TurnKey]
    row: MemoryRow
    reach: Reach
    config: RetrievalConfig
    edited: str | None = None

    def find(self) -> Found:
        """The memories in the store that the segment might recall (supplement D.2, Algorithm 2)."""
        if self.config.top_k == 0:
            return Found([], {})
        asked = self.config.least_change > 0
        return self._search(self.memory.most_changed(self.turns, self.row.descriptor_name, self.reach) if asked else {})

    def recall(self, found: Found, recent: Sequence[MemoryRow], previous: str | None) -> list[Recall]:
        """Memories for the segment, best first, the same ones whenever the store was searched.

        `found` is what `find` saw; `recent` are the rows that it may not have seen yet; `previous` is the segment
        edited just before in the same shot.
        """
        if self.config.top_k == 0:
            return []
        late = [one for one in recent if self.reach.holds(one) and self._is_comparable(one)]
        most = self._most_changed(found, late)
        if most != found.most:  # some of what was found is out, and makes room for others
            found = self._search(most)
        known = {candidate.id: candidate for candidate in found.candidates}
        known |= {one.id: self._candidate(one) for one in late if one.id not in known and self._is_changed(one, most)}
        nearest = sorted(known.values(), key=lambda candidate: candidate.precedence)[: self._pool]
        if previous is not None and all(candidate.id != previous for candidate in nearest):
            before = next((one for one in late if one.id == previous), None) or self.memory.row(previous)
            nearest.append(self._candidate(before))
        place = previous if self.config.copy_margin is None or previous not in known else None
        worthy = [one for one in nearest if one.score >= self.config.least or one.id == place]
        if self.config.copy_margin is not None:
            worthy = leave_out_copies(worthy, self.config.copy_margin, place)
        return choose(worthy, self.config.top_k, place, self.config.coverage)

    def _search(self, most: Mapping[TurnKey, float]) -> Found:
        """What is most alike, of all that was changed enough beside what was changed `most` in its turn."""
        least = {turn: self.config.least_change * change for turn, change in most.items()}
        limit, row = None if self._pool is None else self._pool + (self.edited is not None), self.row
        hits = self.memory.search(self.turns, row.descriptor, row.descriptor_name, limit, self.reach, least)
        return Found([hit for hit in hits if hit.id != self.edited][: self._pool], most)

    @property
    def _pool(self) -> int | None:
        """How many candidates are looked at; None is all, among which copies are told from what they copy."""
        if self.config.copy_margin is not None:
            return None
        return self.config.top_k * (COVERAGE_POOL if self.config.coverage else 1)

    def _most_changed(self, found: Found, late: Sequence[MemoryRow]) -> Mapping[TurnKey, float]:
        if self.config.least_change == 0:
            return {}
        most = dict(found.most)
        for one in late:
            most[one.key] = max(one.change, most.get(one.key, UNKNOWN))
        return most

    def _is_changed(self, one: MemoryRow, most: Mapping[TurnKey, float]) -> bool:
        return is_changed(one.change, most.get(one.key, 0.0), self.config)

    def _is_comparable(self, late: MemoryRow) -> bool:
        """What the search asks of a memory besides its place."""
        return (late.session, late.descriptor_name) == (self.row.session, self.row.descriptor_name)

    def _candidate(self, one: MemoryRow) -> Candidate:
        score = float(rank_by_descriptor(self.row.descriptor, one.descriptor[None])[0])
        return Candidate(one.id, score, one.descriptor, (one.turn, one.segment))


@dataclass(frozen=True)
class Looked:
    """The descriptor of a segment's source, and what the store held for it."""

    descriptor: np.ndarray
    found: Found


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
        return Looked(descriptor, self._query(self._row(segment, descriptor), segment, known).find())

    def prepare(
        self,
        fetched: FetchedSegment[Looked],
        recent: Sequence[Remembered],
        known: Collection[int],
        previous: str | None,
    ) -> PreparedSegment:
        """Choose the memories of a segment; its id follows from them."""
        segment, looked = fetched.segment, fetched.looked
        row = self._row(segment, looked.descriptor)
        late = [one for one in recent if isinstance(one, MemoryRow)]
        recalled = self._query(row, segment, known).recall(looked.found, late, previous)
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
        reach = Reach(number, ids.keys(), row.model, (mine | self.place.passed) - set(ids.values()))
        config = config.model_copy(update={"top_k": config.top_k + attempt}) if config.top_k else config
        previous = next((one.id for one in good if _is_before(one.segment, segment)), None)
        query = replace(self._query(row, segment, ids.keys()), reach=reach, config=config)
        recalled = query.recall(query.find(), (), previous)
        prepared = self._prepared(segment, named(row, self.plan, segment, recalled, attempt), previous)
        return replace(prepared, attempt=attempt)

    def _prepared(self, segment: Segment, row: MemoryRow, previous: str | None) -> PreparedSegment:
        request, handed_on = self.plan.work.request, self._handed_on(segment)
        job = EditJob(request.instruction, segment.frames, row.seed, row.recalled, previous, request.edit, handed_on)
        return PreparedSegment(segment, row, job)

    def _query(self, row: MemoryRow, segment: Segment, known: Collection[int]) -> Query:
        turns, retrieval = list(self.place.keys.values()), self.plan.work.request.retrieval
        reach = Reach(row.turn, known, row.model, self.place.passed)
        return Query(self.memory, turns, row, reach, retrieval, self._edited(segment))

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
