"""The memory of text edits: every edited segment with its descriptor and latents, retrieved by likeness of the source.

Two tables of LanceDB (docs/decisions/0004): `memories`, one small row a segment and turn, with the descriptor;
`latents` (`storage/latents.py`), the payload of the same id. Search is exact, inside one session, on a prefilter:
sessions have tens to thousands of rows, for which an approximate index only loses. Predicates are built from typed
values. One process writes at a time (`storage/store_lock.py`); threads may share a `MemoryStore`.

Does not know which memories are worth recalling; `model/memory/retrieval.py` does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from heapq import nsmallest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from lancedb.expr import Expr, col, lit

from model.memory.retrieval import UNKNOWN, Candidate, change_of, rank_by_descriptor
from storage.latents import CACHE_BYTES, Latents
from storage.ledger import TurnKey, of_turns
from storage.remembered import Reach, Remembered, RememberedStore, common_fields, row_schema
from storage.tables import read_all, readable

TABLE = "memories_"  # and the size of descriptors
RANKED = ["id", "descriptor", "turn", "segment"]
ADDED = {"change": UNKNOWN}  # columns of a later version, and what they are in rows of an earlier one
SPARE_HITS = 8  # beyond those asked for, to see whether the last place is contested
ROUNDING = 1e-5  # of cosines in single precision
RANKED_AT_ONCE = 1024  # rows, where all are ranked: some 20 MB while they are looked at


@dataclass(frozen=True)
class MemoryRow(Remembered):
    """A segment edited by text; `descriptor` describes its source, by the model `descriptor_name`.

    `change` is by how much its edit changed it (`model/memory/retrieval.py:change_of`).
    """

    descriptor: Float[np.ndarray, " size"]
    descriptor_name: str
    change: float = UNKNOWN

    def made(self, edited: Latents, source: Latents) -> "MemoryRow":
        return replace(self, change=change_of(edited, source))


class MemoryStore(RememberedStore[MemoryRow]):
    """The memories of one output folder. Descriptors of another size live in a table of their own.

    Raises:
        StoreError: the store is damaged, or was written by another version.
    """

    def __init__(self, uri: Path, descriptor_size: int, cache_bytes: int = CACHE_BYTES) -> None:
        super().__init__(uri, f"{TABLE}{descriptor_size}", memory_schema(descriptor_size), cache_bytes, ADDED)

    def search(
        self,
        turns: Sequence[TurnKey],
        descriptor: Float[np.ndarray, " size"],
        descriptor_name: str,
        limit: int | None,
        reach: Reach,
        least: Mapping[TurnKey, float] | None = None,
    ) -> list[Candidate]:
        """The `limit` memories of `turns` whose source is most like `descriptor`, best first; None is all of them.

        Only what is within `reach` is looked at, and was changed by the `least` of its turn. Where there are such, the
        last place is contested, or a blank picture may take it (all zeros: no angle, so no vector search finds it),
        every allowed row is ranked: a predicate that knew the `least` of each turn would grow with the turns.
        """
        allowed = _comparable(turns, descriptor_name, reach)
        with readable(self._uri):
            hits = [] if limit is None or least else self._nearest(descriptor, allowed, limit + SPARE_HITS)
            if limit is None or len(hits) <= limit or hits[limit - 1].score <= max(hits[-1].score, 0) + ROUNDING:
                everything = self._rows.search().where(allowed).select([*RANKED, "session", "change"]).limit(None)
                batches = everything.to_batches(RANKED_AT_ONCE)
                hits = _best(descriptor, (_changed_by(least or {}, batch) for batch in batches), limit)
        return hits[:limit]

    def most_changed(self, turns: Sequence[TurnKey], descriptor_name: str, reach: Reach) -> dict[TurnKey, float]:
        """By turn, the greatest change of the memories that a search would look at."""
        allowed = self._rows.search().where(_comparable(turns, descriptor_name, reach))
        found = read_all(self._uri, allowed.select(["session", "turn", "change"]))
        most = found.group_by(["session", "turn"]).aggregate([("change", "max")])
        return {(row["session"], row["turn"]): row["change_max"] for row in most.to_pylist()}

    def _nearest(self, descriptor: Float[np.ndarray, " size"], allowed: Expr, limit: int) -> list[Candidate]:
        query: Any = self._rows.search(descriptor)  # its stubs know no vector query
        nearest = query.distance_type("cosine").bypass_vector_index().where(allowed, prefilter=True)
        return _ranked(descriptor, nearest.select([*RANKED, "_distance"]).limit(limit).to_arrow())

    def _to_record(self, row: MemoryRow) -> dict[str, Any]:
        return {**asdict(row), "descriptor": row.descriptor.astype(np.float32).tolist()}

    def _from_table(self, found: pa.Table) -> list[MemoryRow]:
        own = (found[name].to_pylist() for name in ("descriptor_name", "change"))
        kept = zip(common_fields(found), _descriptors(found), *own, strict=True)
        return [
            MemoryRow(**common, descriptor=vector, descriptor_name=name, change=change)
            for common, vector, name, change in kept
        ]


def memory_schema(descriptor_size: int) -> pa.Schema:
    """Columns of memories whose descriptors have this size."""
    own = {"descriptor": pa.list_(pa.float32(), descriptor_size), "descriptor_name": pa.string()}
    return row_schema(own).append(pa.field("change", pa.float64()))


def _comparable(turns: Sequence[TurnKey], descriptor_name: str, reach: Reach) -> Expr:
    """Predicate: of what a search may look at."""
    return of_turns(turns) & (col("descriptor_name") == lit(descriptor_name)) & reach.predicate


def _changed_by(least: Mapping[TurnKey, float], found: pa.RecordBatch) -> pa.RecordBatch:
    """The rows that were changed by the `least` of their turn, if it has one, or by nobody knows how much."""
    keys = zip(found["session"].to_pylist(), found["turn"].to_pylist(), strict=True)
    change = found["change"].to_numpy()
    wanted = np.array([least.get(key, -np.inf) for key in keys])
    return found.filter(pa.array((change >= wanted) | (change == UNKNOWN) | np.isnan(change)))


def _ranked(query: Float[np.ndarray, " size"], found: pa.Table) -> list[Candidate]:
    """Hits of a query, best first, scored by the method's own arithmetic: no hit's score depends on its company."""
    descriptors = _descriptors(found)
    scores = rank_by_descriptor(query, descriptors).tolist()
    made = zip(found["turn"].to_pylist(), found["segment"].to_pylist(), strict=True)
    hits = map(Candidate, found["id"].to_pylist(), scores, descriptors, made)
    return sorted(hits, key=_precedence)


def _best(query: Float[np.ndarray, " size"], found: Iterable[pa.RecordBatch], limit: int | None) -> list[Candidate]:
    """The first `limit` hits of any number, of which one batch at a time is held; None is all of them."""
    hits = (hit for batch in found for hit in _ranked(query, pa.Table.from_batches([batch]))[:limit])
    return sorted(hits, key=_precedence) if limit is None else nsmallest(limit, hits, key=_precedence)


def _precedence(hit: Candidate) -> tuple[float, int, int, str]:
    return hit.precedence


def _descriptors(found: pa.Table) -> Float[np.ndarray, "rows size"]:
    column = found["descriptor"].combine_chunks()
    return column.flatten().to_numpy().reshape(found.num_rows, column.type.list_size)
