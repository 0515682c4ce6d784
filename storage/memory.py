"""The memory: every edited segment with its descriptor and latents, in LanceDB, retrieved by likeness of the source.

Two tables (docs/decisions/0004): `memories`, one small row a segment and turn, with the descriptor; `latents`, the
payload of the same id as a blob that no search touches. Search is exact, inside one session, on a prefilter: sessions
have tens to thousands of rows, for which an approximate index only loses. Predicates are built from typed values. One
process writes at a time (`storage/ledger.py`: StoreLock); threads may share a `MemoryStore`.

Does not know which memories are worth recalling; `model/memory/retrieval.py` does.
"""

import datetime as dt
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from threading import Lock
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from jaxtyping import Float, Float16
from lancedb.expr import Expr, col, lit
from lancedb.index import BTree
from safetensors.numpy import load, save

from model.errors import StoreError
from model.memory.retrieval import Candidate, rank_by_descriptor
from model.types import Reason
from storage.ledger import TurnKey
from storage.tables import KEEP_VERSIONS, PRIMARY_KEY, compact_payloads, open_table

CACHE_BYTES = 256 * 2**20
ROWS_PREFIX, LATENTS = "memories_", "latents"
LATENTS_PER_FRAGMENT = 64  # about the commits between two maintenances, so that each payload is rewritten once
RANKED = ["id", "descriptor", "turn", "segment"]
SPARE_HITS = 8  # beyond those asked for, to see whether the last place is contested
ROUNDING = 1e-5  # of cosines in single precision

Latents = Float16[np.ndarray, "channel time row column"]


@dataclass(frozen=True)
class MemoryRow:
    """One memory without its latents.

    `descriptor` describes the source segment, by the model `descriptor_name`. `recalled`, `scores` and `reasons` say
    which memories it was made with: with them, any segment can be edited again alone.
    """

    id: str
    session: str
    video: str
    turn: int
    segment: int
    shot: int
    start: int
    stop: int
    instruction: str
    seed: int
    descriptor: Float[np.ndarray, " size"]
    descriptor_name: str
    recalled: tuple[str, ...]
    scores: tuple[float, ...]
    reasons: tuple[Reason, ...]
    model: str
    created: dt.datetime


class MemoryStore:
    """The memories of one output folder. Descriptors of another size live in a table of their own.

    Raises:
        StoreError: the store is damaged, or was written by another version.
    """

    def __init__(self, uri: Path, descriptor_size: int, cache_bytes: int = CACHE_BYTES) -> None:
        self._uri = uri
        self._rows_name = f"{ROWS_PREFIX}{descriptor_size}"
        self._schema, self._latents_schema = row_schema(descriptor_size), latents_schema()
        self._rows = open_table(uri, self._rows_name, self._schema)
        self._latents = open_table(uri, LATENTS, self._latents_schema)
        self._cache: OrderedDict[str, tuple[Latents, Latents]] = OrderedDict()
        self._cache_room = cache_bytes
        self._lock = Lock()

    def remember(self, row: MemoryRow, edited: Latents, source: Latents) -> None:
        """Keep a memory: payload first, so that a crash leaves an unused payload and never a row without one.

        Doing it again changes nothing.
        """
        payload = save({"edited": np.ascontiguousarray(edited), "source": np.ascontiguousarray(source)})
        blob = pa.table([[row.id], lance.blob_array([payload])], schema=self._latents_schema)
        done = self._latents.merge_insert("id").when_not_matched_insert_all().use_index(False).execute(blob)
        record = pa.Table.from_pylist([_to_record(row)], schema=self._schema)
        merge = self._rows.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        merge.use_index(False).execute(record)
        if done.num_inserted_rows:
            self._keep(row.id, (edited, source))

    def search(
        self,
        session: str,
        descriptor: Float[np.ndarray, " size"],
        descriptor_name: str,
        limit: int,
        before: tuple[int, int],
        turns: Sequence[TurnKey] | None = None,
    ) -> list[Candidate]:
        """The `limit` memories of a session whose source is most like `descriptor`, best first.

        `before` is (turn, segment): only earlier turns, and earlier segments of that turn, are looked at. `turns` are
        the keys of the session's turns, where they differ from all that is kept under its name. Where the
        last place is contested, or a blank picture may take it (all zeros: no angle, so no vector search finds it),
        every allowed row is ranked.
        """
        turn, segment = before
        earlier = (col("turn") < lit(turn)) | ((col("turn") == lit(turn)) & (col("segment") < lit(segment)))
        mine = col("session") == lit(session) if turns is None else of_turns(turns)
        allowed = mine & (col("descriptor_name") == lit(descriptor_name)) & earlier
        hits = self._nearest(descriptor, allowed, limit + SPARE_HITS)
        if len(hits) <= limit or hits[limit - 1].score <= max(hits[-1].score, 0) + ROUNDING:
            everything = self._rows.search().where(allowed).select(RANKED).limit(None)
            hits = _ranked(descriptor, everything.to_arrow())
        return hits[:limit]

    def latents(self, ids: Sequence[str]) -> list[tuple[Latents, Latents]]:
        """Edited and source latents of memories, in the order of `ids`.

        Raises:
            StoreError: a memory is missing.
        """
        with self._lock:
            pairs = {id: self._cache[id] for id in ids if id in self._cache}
            for id in pairs:
                self._cache.move_to_end(id)
        if missing := [id for id in ids if id not in pairs]:
            fetched = self._fetch(missing)
            for id, pair in fetched.items():
                self._keep(id, pair)
            pairs |= fetched
        return [pairs[id] for id in ids]

    def row(self, id: str) -> MemoryRow:
        """One memory by id.

        Raises:
            StoreError: there is none.
        """
        found = self._select(col("id") == lit(id))
        if not found:
            raise StoreError(f"{self._uri}: memory {id} is missing; edit with another --out, or restore the folder")
        return found[0]

    def rows(self, session: str | None = None) -> list[MemoryRow]:
        """All memories, or those of one session, by turn and segment."""
        found = self._select(None if session is None else col("session") == lit(session))
        return sorted(found, key=lambda row: (row.session, row.turn, row.segment))

    def rows_of(self, turn: TurnKey) -> list[MemoryRow]:
        """The memories of one turn, by segment."""
        return sorted(self._select(of_turns([turn])), key=lambda row: row.segment)

    def forget(self, ids: Sequence[str]) -> None:
        """Remove memories; ids that are not there are fine."""
        chosen = col("id").isin(list(ids))
        self._rows.delete(chosen)
        self._latents.delete(chosen)
        with self._lock:
            for id in ids:
                self._cache.pop(id, None)

    def maintain(self) -> None:
        """Merge small fragments, bring the index up to date, drop old versions. Every few dozen commits, by the writer.

        Never `optimize()` on the latents: it rewrites every one of them. And no pylance on a table with an index: its
        core is another one, and writes indices that this LanceDB cannot read.
        """
        if not self._rows.list_indices():
            self._rows.create_index("session", config=BTree())
        self._rows.optimize(cleanup_older_than=KEEP_VERSIONS)
        compact_payloads(self._uri, LATENTS, LATENTS_PER_FRAGMENT)

    def _nearest(self, descriptor: Float[np.ndarray, " size"], allowed: Expr, limit: int) -> list[Candidate]:
        query: Any = self._rows.search(descriptor)  # its stubs know no vector query
        nearest = query.distance_type("cosine").bypass_vector_index().where(allowed, prefilter=True)
        return _ranked(descriptor, nearest.select([*RANKED, "_distance"]).limit(limit).to_arrow())

    def _select(self, predicate: Expr | None) -> list[MemoryRow]:
        query = self._rows.search()
        if predicate is not None:
            query = query.where(predicate)
        return [_from_record(one) for one in query.limit(None).to_list()]

    def _fetch(self, ids: Sequence[str]) -> dict[str, tuple[Latents, Latents]]:
        found = self._latents.search().where(col("id").isin(list(ids))).select(["id"]).with_row_id(True)
        table = found.limit(len(ids)).to_arrow()
        places = dict(zip(table["id"].to_pylist(), table["_rowid"].to_pylist(), strict=True))
        if absent := [id for id in ids if id not in places]:
            raise StoreError(f"{self._uri}: latents of memories are missing: {', '.join(absent)}; restore the folder")
        payloads = self._latents.fetch_blobs("data", [places[id] for id in ids])
        return {id: _unpack(payload.as_py()) for id, payload in zip(ids, payloads, strict=True)}

    def _keep(self, id: str, pair: tuple[Latents, Latents]) -> None:
        """Remember latents in memory, as many as there is room for, the latest used."""
        with self._lock:
            self._cache[id] = pair
            self._cache.move_to_end(id)
            while len(self._cache) > 1 and sum(_size(kept) for kept in self._cache.values()) > self._cache_room:
                self._cache.popitem(last=False)


def of_turns(turns: Sequence[TurnKey]) -> Expr:
    """What the memories of some turns have in common, as a predicate."""
    numbers: dict[str, list[int]] = {}
    for session, number in turns:
        numbers.setdefault(session, []).append(number)
    kept = [(col("session") == lit(session)) & col("turn").isin(those) for session, those in numbers.items()]
    return reduce(or_, kept, lit(False))


def _ranked(query: Float[np.ndarray, " size"], found: pa.Table) -> list[Candidate]:
    """Hits of a query, best first, scored by the method's own arithmetic: no hit's score depends on its company."""
    flat = found["descriptor"].combine_chunks().flatten().to_numpy()
    descriptors = flat.reshape(found.num_rows, len(query))
    scores = rank_by_descriptor(query, descriptors).tolist()
    made = zip(found["turn"].to_pylist(), found["segment"].to_pylist(), strict=True)
    hits = map(Candidate, found["id"].to_pylist(), scores, descriptors, made)
    return sorted(hits, key=lambda hit: hit.precedence)


def _size(pair: tuple[Latents, Latents]) -> int:
    return pair[0].nbytes + pair[1].nbytes


def _unpack(payload: bytes) -> tuple[Latents, Latents]:
    tensors = load(payload)
    return tensors["edited"], tensors["source"]


def row_schema(descriptor_size: int) -> pa.Schema:
    """Columns of memories whose descriptors have this size."""
    text, number = pa.string(), pa.int64()
    columns: dict[str, pa.DataType] = {
        **dict.fromkeys(("session", "video"), text),
        **dict.fromkeys(("turn", "segment", "shot", "start", "stop"), number),
        "instruction": text,
        "seed": number,
        "descriptor": pa.list_(pa.float32(), descriptor_size),
        "descriptor_name": text,
        "recalled": pa.list_(text),
        "scores": pa.list_(pa.float64()),
        "reasons": pa.list_(text),
        "model": text,
        "created": pa.timestamp("us", "UTC"),
    }
    return pa.schema([PRIMARY_KEY, *(pa.field(name, kind) for name, kind in columns.items())])


def latents_schema() -> pa.Schema:
    """Columns of the payloads: safetensors bytes by the id of their memory, of whatever kind."""
    return pa.schema([PRIMARY_KEY, lance.blob_field("data")])


def _to_record(row: MemoryRow) -> dict[str, Any]:
    return {**asdict(row), "descriptor": row.descriptor.astype(np.float32).tolist()}


def _from_record(record: dict[str, Any]) -> MemoryRow:
    tuples = {name: tuple(record[name]) for name in ("recalled", "scores", "reasons")}
    fields: dict[str, Any] = {name: record[name] for name in MemoryRow.__dataclass_fields__}
    fields |= tuples | {"descriptor": np.asarray(record["descriptor"], np.float32)}
    return MemoryRow(**fields)
