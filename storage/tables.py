"""Opening and tending LanceDB tables the one way that holds (docs/decisions/0004)."""

import datetime as dt
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import lance
import lancedb
import pyarrow as pa
from lancedb import DBConnection
from lancedb.expr import col
from lancedb.table import Table

from model.errors import StoreError, first_line
from storage.durable import synced
from storage.redaction import redact
from storage.table_place import is_elsewhere, place_of

PRIMARY_KEY = pa.field("id", pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"})
"""Without it concurrent upserts of one id leave two rows."""

warnings.filterwarnings("ignore", "lance is not fork-safe")  # they mean multiprocessing; we only start programs
warnings.filterwarnings("ignore", "lancedb fork support is experimental")

CACHES = lancedb.Session(index_cache_size_bytes=4 * 2**20, metadata_cache_size_bytes=4 * 2**20)
"""Shared by all tables. Left to itself Lance keeps the metadata of every version that a process wrote, without end."""

PAGE = 1000  # names of tables in one answer
KEEP_VERSIONS = dt.timedelta(hours=1)
KEEP_ELSEWHERE = dt.timedelta(days=1)
"""Of tables in a bucket, where another copy of the folder may be at work: its lock is another one."""

Filling = float | int | str
"""What a column that came later holds in earlier rows; text without quotes in it."""
IN_SQL = {float: "double", int: "bigint", str: "string"}


def open_table(uri: Path, name: str, schema: pa.Schema, added: Mapping[str, Filling] | None = None) -> Table:
    """Open a table, or create it.

    `added` are the last columns, which came with a later version: each with what it is in rows of old.

    Raises:
        StoreError: what is there is no table, or one with other columns.
    """
    try:
        database = _connect(uri)
        there = name in _names(database) and not place_of(uri).is_begun(name)
        if there and not _has_columns(database.open_table(name), schema.names, added or {}):
            raise StoreError(f"{uri}: table {name} was written by another version; choose another folder")
        if there and added:
            return database.open_table(name)  # its added columns may say that they are never empty
        with synced(Path(place_of(uri).table(name))):
            return database.create_table(name, schema=schema, exist_ok=True)
    except (RuntimeError, ValueError, OSError) as fault:
        raise StoreError(
            f"{uri}: table {name} cannot be read ({_reason(fault)}); restore the folder or choose another"
        ) from fault


def lasting(table: Table) -> AbstractContextManager[None]:
    """What is written to a table in such a block survives a power cut: LanceDB leaves that to the system."""
    local: Any = table  # its stubs know no address
    return synced(Path(local.uri))


def upsert(table: Table, rows: pa.Table) -> None:
    """Write rows by id, all or none; those that are there are replaced. Done, they survive a power cut.

    By no index: with one, concurrent writers of an id leave two rows.
    """
    merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
    with lasting(table):
        merge.use_index(False).execute(rows)


def insert_missing(table: Table, rows: pa.Table) -> int:
    """Write the rows whose ids are not there yet, all or none; returns how many. Done, they survive a power cut."""
    merge = table.merge_insert("id").when_not_matched_insert_all()
    with lasting(table):
        return merge.use_index(False).execute(rows).num_inserted_rows


def delete(table: Table, ids: Sequence[str]) -> None:
    """Remove rows, all or none; ids that are not there are fine. Done, it survives a power cut."""
    with lasting(table):
        table.delete(col("id").isin(list(ids)))


def read_all(uri: Path, query: Any) -> pa.Table:
    """All rows of a query of a table of `uri`.

    Raises:
        StoreError: they are damaged.
    """
    with readable(uri):
        return query.limit(None).to_arrow()


@contextmanager
def readable(uri: Path) -> Iterator[None]:
    """Damage that is found while rows of `uri` are read, as one error. What a server says is left as it is."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as fault:
        if is_elsewhere(uri):
            raise
        raise StoreError(f"{uri}: cannot be read ({_reason(fault)}); restore the folder") from fault


def _has_columns(table: Table, names: Sequence[str], added: Mapping[str, Filling]) -> bool:
    """Whether a table has these columns, once those that a later version added have been."""
    missing = names[len(table.schema.names) :]
    if not missing or [*table.schema.names, *missing] != names or not added.keys() >= set(missing):
        return table.schema.names == names
    table.add_columns({name: _in_sql(added[name]) for name in missing})
    return True


def _in_sql(filling: Filling) -> str:
    return f"cast({filling!r} as {IN_SQL[type(filling)]})"


def open_tables(uri: Path) -> dict[str, Table]:
    """All tables that are there, by name, whatever their columns.

    Raises:
        StoreError: one of them is damaged.
    """
    try:
        database = _connect(uri)
        return {name: database.open_table(name) for name in sorted(_names(database))}
    except (RuntimeError, ValueError, OSError) as fault:
        raise StoreError(f"{uri}: cannot be read ({_reason(fault)}); restore the folder") from fault


def _names(database: DBConnection) -> list[str]:
    """Of all tables, however many there are."""
    page = database.list_tables(limit=PAGE)
    names = list(page.tables)
    while page.page_token:
        page = database.list_tables(page_token=page.page_token, limit=PAGE)
        names += page.tables
    return names


def _connect(uri: Path) -> DBConnection:
    place = place_of(uri)
    options: dict[str, Any] = {"storage_options": {**place.options, "new_table_enable_stable_row_ids": "true"}}
    return lancedb.connect(place.address, **options, read_consistency_interval=dt.timedelta(0), session=CACHES)


def reclaim(uri: Path, payloads: str, rows_per_fragment: int) -> None:
    """Give back what deleted rows and old versions of all tables occupy, those of `payloads` without rewriting others.

    Nobody else may be reading or writing; where the tables are elsewhere, versions of a day and what may be a commit
    under way are left.
    """
    elsewhere = is_elsewhere(uri)
    kept = KEEP_ELSEWHERE if elsewhere else dt.timedelta(0)
    for name, table in open_tables(uri).items():
        if name != payloads:
            with lasting(table):  # before what it replaces goes
                table.optimize(cleanup_older_than=KEEP_ELSEWHERE)
            with warnings.catch_warnings(action="ignore"):  # that readers would fail
                table.optimize(cleanup_older_than=kept, delete_unverified=not elsewhere)
        else:
            dataset = _open_dataset(uri, name)
            with synced(Path(dataset.uri)):
                dataset.optimize.compact_files(
                    target_rows_per_fragment=rows_per_fragment, materialize_deletions_threshold=0.0
                )
            dataset.cleanup_old_versions(
                older_than=kept, delete_unverified=not elsewhere, error_if_tagged_old_versions=False
            )


def compact_payloads(uri: Path, name: str, rows_per_fragment: int) -> None:
    """Merge fragments smaller than `rows_per_fragment` and drop old versions of a table without indices."""
    dataset = _open_dataset(uri, name)
    with synced(Path(dataset.uri)):
        dataset.optimize.compact_files(target_rows_per_fragment=rows_per_fragment)
    dataset.cleanup_old_versions(older_than=KEEP_VERSIONS, error_if_tagged_old_versions=False)


def _open_dataset(uri: Path, name: str) -> lance.LanceDataset:
    place = place_of(uri)
    return lance.dataset(place.table(name), storage_options=place.options)


def _reason(fault: Exception) -> str:
    return redact(first_line(fault, 200))
