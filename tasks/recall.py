"""Which memories a segment recalls: the session's rows from the store, chosen by the method."""

from collections.abc import Sequence

import numpy as np

from model.config import RetrievalConfig
from model.memory.retrieval import Candidate, choose, rank_by_descriptor
from model.types import Recall
from storage.memory import MemoryRow, MemoryStore

COVERAGE_POOL = 8  # candidates looked at per memory wanted, when picks must not repeat one another


def recall(
    memory: MemoryStore,
    pending: Sequence[MemoryRow],
    row: MemoryRow,
    previous: str | None,
    config: RetrievalConfig,
) -> list[Recall]:
    """Memories for the segment of `row`, best first (supplement D.2, Algorithm 2).

    Only earlier turns of the session and earlier segments of this turn are looked at, so that a run that resumes sees
    what the first one saw. `pending` are rows on their way to the store; `previous` is the segment edited just before
    in the same shot.
    """
    if config.top_k == 0:
        return []
    limit = config.top_k * (COVERAGE_POOL if config.coverage else 1)
    before = (row.turn, row.segment)
    found = memory.search(row.session, row.descriptor, row.descriptor_name, limit, before)
    known = {hit.id: Candidate(hit.id, hit.score, hit.descriptor) for hit in found}
    for late in pending:
        if late.id not in known and late.descriptor_name == row.descriptor_name:
            known[late.id] = Candidate(late.id, _similarity(row.descriptor, late.descriptor), late.descriptor)
    nearest = sorted(known.values(), key=lambda candidate: (-candidate.score, candidate.id))[:limit]
    if previous is not None and all(candidate.id != previous for candidate in nearest):
        nearest.append(known.get(previous) or _candidate(memory, previous, row.descriptor))
    worthy = [candidate for candidate in nearest if candidate.score >= config.least or candidate.id == previous]
    return choose(worthy, config.top_k, previous, config.coverage)


def _candidate(memory: MemoryStore, id: str, descriptor: np.ndarray) -> Candidate:
    row = memory.row(id)
    return Candidate(id, _similarity(descriptor, row.descriptor), row.descriptor)


def _similarity(query: np.ndarray, other: np.ndarray) -> float:
    return float(rank_by_descriptor(query, other[None])[0])
