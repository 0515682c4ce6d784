"""The ledger: what is done. One row a finished unit of work, written last; what has no row was never finished.

Beside it the turns of each session, which get their numbers here, and the lock that keeps two processes from writing
to one folder.
"""

import datetime as dt
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pyarrow as pa
from filelock import FileLock, Timeout
from lancedb.expr import Expr, col, lit
from lancedb.table import Table

from model.errors import StoreBusyError
from storage.content_id import identify
from storage.tables import KEEP_VERSIONS, PRIMARY_KEY, open_table


@dataclass(frozen=True)
class Entry:
    """A finished unit of work. `path` is relative to the output folder; `note` is JSON of what its kind needs."""

    id: str
    kind: Literal["segment", "video", "extension"]
    video: str
    session: str
    turn: int
    segment: int
    path: str
    checksum: str
    seconds: float
    recorded: dt.datetime
    note: str = "{}"


class Ledger:
    """The finished work of one output folder.

    Raises:
        StoreError: it is damaged, or was written by another version.
    """

    def __init__(self, uri: Path) -> None:
        self._entries = open_table(uri, "ledger", _ENTRY_SCHEMA)
        self._turns = open_table(uri, "turns", _TURN_SCHEMA)

    def record(self, entry: Entry) -> None:
        """Write one row: the commit point of that work. Doing it again replaces the row."""
        _upsert(self._entries, asdict(entry), _ENTRY_SCHEMA)

    def find(self, ids: Sequence[str]) -> dict[str, Entry]:
        """The entries among `ids` that exist, by id."""
        if not ids:
            return {}
        return {entry.id: entry for entry in self._select(col("id").isin(list(ids)))}

    def entries(self, kind: str | None = None, video: str | None = None) -> list[Entry]:
        """All entries, of one kind or one source video where named, in the order in which they were recorded."""
        wanted = [col(name) == lit(value) for name, value in (("kind", kind), ("video", video)) if value is not None]
        predicate = wanted[0] & wanted[1] if len(wanted) == 2 else (wanted or [None])[0]
        return sorted(self._select(predicate), key=lambda entry: (entry.recorded, entry.id))

    def turn_number(self, session: str, fingerprint: str) -> int:
        """The number of a turn in its session, from 1. A fingerprint keeps its number; a new one gets the next."""
        known = self._turns.search().where(col("session") == lit(session)).limit(None).to_list()
        for turn in known:
            if turn["fingerprint"] == fingerprint:
                return turn["number"]
        number = max((turn["number"] for turn in known), default=0) + 1
        id = identify({"session": session, "fingerprint": fingerprint})
        record = {"id": id, "session": session, "fingerprint": fingerprint, "number": number}
        _upsert(self._turns, record, _TURN_SCHEMA)
        return number

    def maintain(self) -> None:
        """Merge small fragments and drop old versions. Every few dozen commits, by the writer."""
        self._entries.optimize(cleanup_older_than=KEEP_VERSIONS)

    def _select(self, predicate: Expr | None) -> list[Entry]:
        query = self._entries.search()
        if predicate is not None:
            query = query.where(predicate)
        return [Entry(**record) for record in query.limit(None).to_list()]


class StoreLock:
    """Holds an output folder for one process; the system releases it when the process ends, however it ends.

    Where another process holds it, `say` is told so once, and it is waited for, `wait` seconds at most.

    Raises, on entering:
        StoreBusyError: another process holds it, still.
    """

    def __init__(self, folder: Path, wait: float | int = 0, say: Callable[[str], None] | None = None) -> None:
        self._folder, self._wait, self._say = folder, wait, say
        self._holder = folder / "store.json"
        self._lock = FileLock(folder / "store.lock")

    def __enter__(self) -> "StoreLock":
        if not self._acquired(0):
            held = f"{self._folder}: process {self._holder_pid()} is writing to it"
            if self._wait and self._say:
                self._say(f"{held}; waiting for it, {self._wait:g} s at most")
            if not self._acquired(self._wait):
                raise StoreBusyError(f"{held}; wait for it, or choose another --out")
        self._holder.write_text(json.dumps({"pid": os.getpid()}))
        return self

    def _acquired(self, seconds: float | int) -> bool:
        try:
            self._lock.acquire(timeout=seconds)
        except Timeout:
            return False
        return True

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._holder.unlink(missing_ok=True)
        self._lock.release()

    def _holder_pid(self) -> Any:
        try:
            return json.loads(self._holder.read_text())["pid"]
        except (OSError, ValueError):
            return "unknown"


def _upsert(table: Table, record: dict[str, Any], schema: pa.Schema) -> None:
    merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
    merge.use_index(False).execute(pa.Table.from_pylist([record], schema=schema))


_ENTRY_SCHEMA = pa.schema(
    [
        PRIMARY_KEY,
        pa.field("kind", pa.string()),
        pa.field("video", pa.string()),
        pa.field("session", pa.string()),
        pa.field("turn", pa.int64()),
        pa.field("segment", pa.int64()),
        pa.field("path", pa.string()),
        pa.field("checksum", pa.string()),
        pa.field("seconds", pa.float64()),
        pa.field("recorded", pa.timestamp("us", "UTC")),
        pa.field("note", pa.string()),
    ]
)
_TURN_SCHEMA = pa.schema(
    [
        PRIMARY_KEY,
        pa.field("session", pa.string()),
        pa.field("fingerprint", pa.string()),
        pa.field("number", pa.int64()),
    ]
)
