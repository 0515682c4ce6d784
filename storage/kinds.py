"""Remembered segments whatever their kind: text edits and novel views, for what treats all turns of a session alike.

Each kind has tables of its own, with the columns of `Remembered` among others; payloads of all kinds lie in one table,
by the same ids. Reads whatever tables an output folder has, and creates none.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from lancedb.table import Table

from model.errors import StoreError
from storage import latents, memory, views
from storage.ledger import TurnKey, of_turns
from storage.memory import MemoryRow, MemoryStore, memory_schema
from storage.remembered import Remembered, common_fields
from storage.tables import delete, open_tables, read_all
from storage.views import view_schema

COLUMNS = list(Remembered.__dataclass_fields__)
IDS_AT_ONCE = 1000  # in one predicate


def schema_of(table: str) -> pa.Schema:
    """Columns of a table of remembered segments, by its name.

    Raises:
        StoreError: no kind has tables of this name.
    """
    if table == views.TABLE:
        return view_schema()
    size = table.removeprefix(memory.TABLE)
    if table.startswith(memory.TABLE) and size.isdecimal() and size == str(int(size)):
        return memory_schema(int(size))
    raise StoreError(f"{table}: no table of remembered segments that this version knows")


def added_to(table: str) -> Mapping[str, float]:
    """Columns of such a table that came with a later version, with what they are in rows of an earlier one."""
    return memory.ADDED if table.startswith(memory.TABLE) else {}


def complete(table: str, rows: pa.Table) -> pa.Table:
    """Rows of such a table with all columns, also where an earlier version kept them."""
    for name, value in added_to(table).items():
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
    return rows.cast(schema_of(table))


def segment_tables(uri: Path) -> dict[str, Table]:
    """The tables of remembered segments, by name: those that have all the columns.

    Raises:
        StoreError: one of a known kind lacks some; were it passed over, all that it names would be garbage.
    """
    tables = open_tables(uri)
    found = {name: table for name, table in tables.items() if set(COLUMNS) <= set(table.schema.names)}
    for name in tables.keys() - found.keys():
        if name == views.TABLE or name.startswith(memory.TABLE):
            raise StoreError(f"{uri}: table {name} was written by another version; choose another folder")
    return found


def remembered(uri: Path, turns: Sequence[TurnKey] | None = None) -> list[Remembered]:
    """All memories, or those of some turns, by turn and segment."""
    found: list[Remembered] = []
    for table in segment_tables(uri).values():
        query = table.search().select(COLUMNS)
        if turns is not None:
            query = query.where(of_turns(turns))
        found += [Remembered(**fields) for fields in common_fields(read_all(uri, query))]
    return sorted(found, key=lambda memory: (memory.session, memory.turn, memory.segment, memory.created))


def text_memories(uri: Path, turn: TurnKey) -> list[MemoryRow]:
    """The memories of a text turn, whatever the size of their descriptors; those made last come last."""
    sizes = [int(name.removeprefix(memory.TABLE)) for name in segment_tables(uri) if name.startswith(memory.TABLE)]
    rows = [row for size in sizes for row in MemoryStore(uri, size).rows_of(turn)]
    return sorted(rows, key=lambda row: row.created)


def payload_sizes(uri: Path) -> dict[str, int]:
    """Bytes of every payload by id; the payloads themselves are not read."""
    table = open_tables(uri).get(latents.TABLE)
    if table is None:
        return {}
    found = read_all(uri, table.search().select(["id", "data"]))
    return dict(zip(found["id"].to_pylist(), (blob["size"] for blob in found["data"].to_pylist()), strict=True))


def forget(uri: Path, rows: Collection[str], payloads: Collection[str]) -> None:
    """Remove memories, then payloads: no row is ever there without its payload. Ids that are not there are fine."""
    for table in segment_tables(uri).values():
        _delete(table, rows)
    if table := open_tables(uri).get(latents.TABLE):
        _delete(table, payloads)


def _delete(table: Table, ids: Collection[str]) -> None:
    ordered = sorted(ids)
    for start in range(0, len(ordered), IDS_AT_ONCE):
        delete(table, ordered[start : start + IDS_AT_ONCE])
