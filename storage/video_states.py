"""The state of a catalog's videos, one row each: what operators look at, during a run and after it.

It tells; it decides nothing. What is done stands in the ledger of each video's folder, and a run goes by that.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import pyarrow as pa
from lancedb.table import Table

from storage.tables import KEEP_VERSIONS, PRIMARY_KEY, open_table, upsert

State = Literal["queued", "editing", "done", "partial", "failed", "skipped"]
ORDER: tuple[State, ...] = ("failed", "partial", "editing", "queued", "done", "skipped")
"""What wants a person comes first."""
STATE = ".catalog"  # the folder, inside that of the results, with the catalog's own state
TENDED = 50  # writes, after which old versions of the table are dropped
CONTENTION = ("commit conflict", "too many concurrent writers")  # what Lance says of writers beside it


@dataclass(frozen=True)
class VideoState:
    """One video of a catalog. Its id is that of the manifest's line, and `line` names what the line asks for.

    `edited` segments were denoised in the last run, `reused` ones found; `faults` are attempts that failed. `seconds`
    are those of Editors, `video_seconds` the video's length, `drift` how far colours change along the edit
    (`model/metrics/drift.py`), in CIELAB units. `flagged` are segments that a person should look at. `error` is the
    last one, in words; empty where there was none. `folder` holds the results, inside the catalog's; empty in
    rows of earlier versions.
    """

    id: str
    line: str
    state: State
    segments: int = 0
    edited: int = 0
    reused: int = 0
    quarantined: int = 0
    faults: int = 0
    seconds: float = 0.0
    video_seconds: float = 0.0
    drift: float = 0.0
    error: str = ""
    output: str = ""
    tags: str = ""
    output_bytes: int = 0
    memory_bytes: int = 0
    updated: dt.datetime | None = None
    flagged: int = 0
    folder: str = ""


class VideoStates:
    """The states in a catalog's folder. Shards write side by side, each those of its own videos; any process may read.

    Raises:
        StoreError: the table is damaged, or was written by another version.
    """

    def __init__(self, folder: Path) -> None:
        self._rows: Table = open_table(folder, "videos", SCHEMA, ADDED)
        self._writes = 0

    def read(self) -> dict[str, VideoState]:
        """All states by id."""
        return {record["id"]: VideoState(**record) for record in self._rows.search().limit(None).to_list()}

    def write(self, states: Sequence[VideoState]) -> None:
        """Replace these rows, all or none."""
        if not states:
            return
        now = dt.datetime.now(dt.UTC)
        records = [asdict(state) | {"updated": now} for state in states]
        upsert(self._rows, pa.Table.from_pylist(records, schema=SCHEMA))
        self._writes += 1
        if self._writes % TENDED == 0:
            self._tend()

    def _tend(self) -> None:
        """Drop old versions; where another shard writes at that moment, the next time will do."""
        try:
            self._rows.optimize(cleanup_older_than=KEEP_VERSIONS)
        except (RuntimeError, OSError) as fault:
            if not any(sign in str(fault).lower() for sign in CONTENTION):
                raise


ADDED: dict[str, int | str] = {"flagged": 0, "folder": ""}
"""Columns that tables of earlier versions lack, and what they are in their rows."""


def _column(name: str, kind: object) -> pa.Field:
    moment = pa.timestamp("us", "UTC")
    kinds: dict[object, pa.DataType] = {int: pa.int64(), float: pa.float64(), dt.datetime | None: moment}
    return pa.field(name, kinds.get(kind, pa.string()))


SCHEMA = pa.schema([PRIMARY_KEY, *(_column(one.name, one.type) for one in fields(VideoState) if one.name != "id")])
