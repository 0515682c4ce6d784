"""Which memories a segment recalls: the session's rows from the store, chosen by the method.

In two parts, so that an Editor need not wait for the slow one: `find` searches the store while earlier segments are
still being edited, `recall` adds what came since and chooses.
"""

from collections.abc import Sequence

import numpy as np

from model.config import RetrievalConfig
from model.memory.retrieval import Candidate, choose, rank_by_descriptor
from model.types import Recall
from storage.ledger import TurnKey
from storage.memory import MemoryRow, MemoryStore

COVERAGE_POOL = 8  # candidates looked at per memory wanted, when picks must not repeat one another


def find(
    memory: MemoryStore,
    row: MemoryRow,
    config: RetrievalConfig,
    turns: Sequence[TurnKey] | None = None,
    edited: str | None = None,
) -> list[Candidate]:
    """The memories in the store that the segment of `row` might recall (supplement D.2, Algorithm 2).

    Only earlier turns of the session and earlier segments of this turn are looked at, so that a run that resumes sees
    what the first one saw. `turns` are the session's, where it shares some with others. `edited` is the memory that
    the turn edits at this span: being the source, it need not be recalled as well.
    """
    if config.top_k == 0:
        return []
    pool = _pool(config) + (edited is not None)
    hits = memory.search(row.session, row.descriptor, row.descriptor_name, pool, (row.turn, row.segment), turns)
    return [hit for hit in hits if hit.id != edited][: _pool(config)]


def recall(
    memory: MemoryStore,
    found: Sequence[Candidate],
    recent: Sequence[MemoryRow],
    row: MemoryRow,
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
        if late.id not in known and _is_earlier(late, row):
            known[late.id] = _candidate(late, row.descriptor)
    nearest = sorted(known.values(), key=lambda candidate: candidate.precedence)[: _pool(config)]
    if previous is not None and all(candidate.id != previous for candidate in nearest):
        nearest.append(known.get(previous) or _candidate(memory.row(previous), row.descriptor))
    worthy = [candidate for candidate in nearest if candidate.score >= config.least or candidate.id == previous]
    return choose(worthy, config.top_k, previous, config.coverage)


def _pool(config: RetrievalConfig) -> int:
    return config.top_k * (COVERAGE_POOL if config.coverage else 1)


def _is_earlier(late: MemoryRow, row: MemoryRow) -> bool:
    """What the search asks of a memory."""
    same = (late.session, late.descriptor_name) == (row.session, row.descriptor_name)
    return same and (late.turn, late.segment) < (row.turn, row.segment)


def _candidate(row: MemoryRow, descriptor: np.ndarray) -> Candidate:
    score = float(rank_by_descriptor(descriptor, row.descriptor[None])[0])
    return Candidate(row.id, score, row.descriptor, (row.turn, row.segment))
