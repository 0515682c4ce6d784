"""Remembered segments of every kind, without what is peculiar to a kind: text edits, new views, what may come.

Each kind has tables of its own, with the columns of `Remembered` among others; payloads of all kinds lie in `latents`,
by the same ids. Reads whatever tables an output folder has, and creates none.
"""

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
from lancedb.expr import col
from lancedb.table import Table

from model.errors import StoreError
from storage.ledger import TurnKey
from storage.memory import LATENTS, ROWS_PREFIX, of_turns, row_schema
from storage.tables import open_tables

IDS_AT_ONCE = 1000  # in one predicate


@dataclass(frozen=True)
class Remembered:
    """One memory as every kind has it; `session` and `turn` are the key of its turn (`storage/ledger.py`)."""

    id: str
    session: str
    turn: int
    segment: int
    recalled: tuple[str, ...]
    scores: tuple[float, ...]
    reasons: tuple[str, ...]
    created: dt.datetime

    @property
    def key(self) -> TurnKey:
        return self.session, self.turn


COLUMNS = [field.name for field in fields(Remembered)]


SCHEMAS: dict[str, Callable[[int], pa.Schema]] = {ROWS_PREFIX: row_schema}
"""Columns of a kind's tables by the beginning of their names, given its end, the size of their vectors."""


def schema_of(table: str) -> pa.Schema:
    """Columns of a table of remembered segments by its name.

    Raises:
        StoreError: no kind has tables of this name.
    """
    for prefix, schema in SCHEMAS.items():
        if table.startswith(prefix) and table.removeprefix(prefix).isdecimal():
            return schema(int(table.removeprefix(prefix)))
    raise StoreError(f"{table}: no table of remembered segments that this version knows")


def segment_tables(uri: Path) -> dict[str, Table]:
    """The tables of remembered segments, by name: those that have all the columns."""
    return {name: table for name, table in open_tables(uri).items() if set(COLUMNS) <= set(table.schema.names)}


def remembered(uri: Path, turns: Sequence[TurnKey] | None = None) -> list[Remembered]:
    """All memories, or those of some turns, by turn and segment."""
    found: list[Remembered] = []
    for table in segment_tables(uri).values():
        query = table.search().select(COLUMNS)
        if turns is not None:
            query = query.where(of_turns(turns))
        found += [_from_record(record) for record in query.limit(None).to_list()]
    return sorted(found, key=lambda memory: (memory.session, memory.turn, memory.segment, memory.created))


def payload_sizes(uri: Path) -> dict[str, int]:
    """Bytes of every payload by id; the payloads themselves are not read."""
    table = open_tables(uri).get(LATENTS)
    if table is None:
        return {}
    found = table.search().select(["id", "data"]).limit(None).to_arrow()
    return dict(zip(found["id"].to_pylist(), (blob["size"] for blob in found["data"].to_pylist()), strict=True))


def forget(uri: Path, rows: Collection[str], payloads: Collection[str]) -> None:
    """Remove memories, then payloads: no row is ever there without its payload. Ids that are not there are fine."""
    for table in segment_tables(uri).values():
        _delete(table, rows)
    if table := open_tables(uri).get(LATENTS):
        _delete(table, payloads)


def _delete(table: Table, ids: Collection[str]) -> None:
    ordered = sorted(ids)
    for start in range(0, len(ordered), IDS_AT_ONCE):
        table.delete(col("id").isin(ordered[start : start + IDS_AT_ONCE]))


def _from_record(record: dict[str, Any]) -> Remembered:
    fields: dict[str, Any] = {name: tuple(told) if isinstance(told, list) else told for name, told in record.items()}
    return Remembered(**fields)
