"""What memories of every kind have in common: where a segment is from, what it was made with, and the table of them.

A kind adds columns of its own: `storage/memory.py` for text edits, `storage/views.py` for novel views.
"""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
from lancedb.expr import Expr, col, lit
from lancedb.index import BTree

from model.errors import StoreError
from model.types import Reason, Recall
from storage.latents import CACHE_BYTES, Latents, LatentStore
from storage.ledger import TurnKey, of_turns
from storage.tables import KEEP_VERSIONS, PRIMARY_KEY, lasting, open_table, read_all, upsert


@dataclass(frozen=True)
class Remembered:
    """One memory without its latents. `session` and `turn` are the key of its turn (`storage/ledger.py`).

    `recalled`, `scores` and `reasons` say which memories it was made with: with them, any segment can be edited again
    alone.
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
    recalled: tuple[str, ...]
    scores: tuple[float, ...]
    reasons: tuple[Reason, ...]
    model: str
    created: dt.datetime

    @property
    def key(self) -> TurnKey:
        return self.session, self.turn

    @property
    def recalls(self) -> tuple[Recall, ...]:
        """The memories it was made with, best first."""
        return tuple(map(Recall, self.recalled, self.scores, self.reasons))

    @property
    def title(self) -> str:
        """What its turn was asked for, in a few words."""
        return self.instruction

    def made(self, edited: Latents, source: Latents) -> "Remembered":
        """The same, now that its latents are known."""
        return self


@dataclass(frozen=True)
class Reach:
    """What a segment may recall: the session's earlier turns, and these segments of its own turn, as `model` made them.

    Latents of another model are in another code. `passed` are memories that it may not recall.
    """

    turn: int
    segments: Collection[int]
    model: str
    passed: Collection[str] = ()

    @property
    def predicate(self) -> Expr:
        """Of the rows that it holds."""
        count = len(self.segments)
        beginning = self.segments == range(count)
        own = col("segment") < lit(count) if beginning else col("segment").isin(list(self.segments))
        place = (col("turn") < lit(self.turn)) | ((col("turn") == lit(self.turn)) & own)
        within = place & (col("model") == lit(self.model))
        return within & ~col("id").isin(sorted(self.passed)) if self.passed else within

    def holds(self, row: Remembered) -> bool:
        """Whether a row is within it."""
        within = row.turn < self.turn or (row.turn == self.turn and row.segment in self.segments)
        return within and row.model == self.model and row.id not in self.passed


Row = TypeVar("Row", bound=Remembered)


class RememberedStore(ABC, Generic[Row]):
    """The memories of one kind in an output folder. One process writes at a time; threads may share a store.

    Raises:
        StoreError: the store is damaged, or was written by another version.
    """

    def __init__(
        self,
        uri: Path,
        table: str,
        schema: pa.Schema,
        cache_bytes: int = CACHE_BYTES,
        added: Mapping[str, float] | None = None,
    ) -> None:
        self._uri, self._schema = uri, schema
        self._rows = open_table(uri, table, schema, added)
        self._latents = LatentStore(uri, cache_bytes)

    @abstractmethod
    def _to_record(self, row: Row) -> dict[str, Any]:
        """Values by column."""

    @abstractmethod
    def _from_table(self, found: pa.Table) -> list[Row]:
        """The inverse, of many."""

    def remember(self, row: Row, edited: Latents, source: Latents) -> None:
        """Keep a memory: payload first, so that a crash leaves an unused payload and never a row without one.

        Doing it again changes nothing.
        """
        self._latents.put(row.id, edited, source)
        upsert(self._rows, pa.Table.from_pylist([self._to_record(row)], schema=self._schema))

    def latents(self, ids: Sequence[str]) -> list[tuple[Latents, Latents]]:
        """Edited and source latents of memories, in the order of `ids`.

        Raises:
            StoreError: a memory is missing.
        """
        return self._latents.get(ids)

    def row(self, id: str) -> Row:
        """One memory by id.

        Raises:
            StoreError: there is none.
        """
        found = self.find([id])
        if id not in found:
            raise StoreError(f"{self._uri}: memory {id} is missing; edit with another --out, or restore the folder")
        return found[id]

    def find(self, ids: Collection[str]) -> dict[str, Row]:
        """The memories among `ids` that exist, by id."""
        return {row.id: row for row in self._select(col("id").isin(list(ids)))} if ids else {}

    def rows(self, session: str | None = None) -> list[Row]:
        """All memories, or those kept under the name of one session, by turn and segment."""
        found = self._select(None if session is None else col("session") == lit(session))
        return sorted(found, key=lambda row: (row.session, row.turn, row.segment))

    def rows_of(self, turn: TurnKey) -> list[Row]:
        """The memories of one turn, by segment."""
        return sorted(self._select(of_turns([turn])), key=lambda row: row.segment)

    @property
    def fragments(self) -> int:
        """In how many pieces the rows lie, one a commit since the last maintenance; searches slow down with them."""
        stats: Any = self._rows.stats()
        return stats["fragment_stats"]["num_fragments"]

    def maintain(self) -> None:
        """Merge small fragments, bring the index up to date, drop old versions. Every few dozen commits, by the writer.

        No pylance on a table with an index: its core is another one, and writes indices that this LanceDB cannot read.
        """
        if not self._rows.list_indices():
            self._rows.create_index("session", config=BTree())
        with lasting(self._rows):
            self._rows.optimize(cleanup_older_than=KEEP_VERSIONS)
        self._latents.maintain()

    def _select(self, predicate: Expr | None) -> list[Row]:
        query = self._rows.search()
        if predicate is not None:
            query = query.where(predicate)
        return self._from_table(read_all(self._uri, query))


def row_schema(own: dict[str, pa.DataType]) -> pa.Schema:
    """Columns of a table of memories; a kind's `own` stand before what was recalled."""
    text, number = pa.string(), pa.int64()
    columns: dict[str, pa.DataType] = {
        **dict.fromkeys(("session", "video"), text),
        **dict.fromkeys(("turn", "segment", "shot", "start", "stop"), number),
        "instruction": text,
        "seed": number,
        **own,
        "recalled": pa.list_(text),
        "scores": pa.list_(pa.float64()),
        "reasons": pa.list_(text),
        "model": text,
        "created": pa.timestamp("us", "UTC"),
    }
    return pa.schema([PRIMARY_KEY, *(pa.field(name, kind) for name, kind in columns.items())])


def common_fields(found: pa.Table) -> list[dict[str, Any]]:
    """The fields of `Remembered`, row by row."""
    records = found.select(list(Remembered.__dataclass_fields__)).to_pylist()
    tuples = ("recalled", "scores", "reasons")
    return [record | {name: tuple(record[name]) for name in tuples} for record in records]
