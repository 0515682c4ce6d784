"""Commit edited segments in order, one at a time, beside the editing of the next.

The order within a commit is the promise: the segment's file renamed into place, its latents, its row, and last the
ledger row, which is the commit point. A process killed before that edits the segment again, and only that one.
"""

import time
from collections import deque
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np

from storage.content_id import hash_file
from storage.ledger import Entry
from storage.making import Making
from storage.remembered import Remembered
from storage.segment_file import write_segment
from storage.store import Store
from tasks.metrics import count_commit

MOST_FRAGMENTS = 64  # one a commit, whichever turn it was of; LanceDB's searches slow down with their number
RECENT = 8  # rows kept in hand: more than can be edited between a search of the store and its use (tasks/prefetch.py)


@dataclass(frozen=True)
class EditedWork:
    """A segment that was edited and is not committed yet."""

    row: Remembered
    frames: np.ndarray
    edited: np.ndarray
    source: np.ndarray
    seconds: float
    making: Making


class Committer:
    """One writer thread. `commit` waits for the one before, so at most one segment is in flight.

    Threads may share a committer.
    """

    def __init__(self, store: Store[Any]) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")
        self._last: Future[None] | None = None
        self._recent: deque[Remembered] = deque(maxlen=RECENT)
        self._turn = Lock()

    @property
    def recent(self) -> list[Remembered]:
        """The rows handed in last: whoever searched the store a while ago did not see them."""
        return list(self._recent)

    def commit(self, work: EditedWork) -> None:
        """Start to commit `work`. Raises what the previous commit raised."""
        with self._turn:
            self.flush()
            self._last = self._thread.submit(self._write, work)
            self._recent.append(work.row)

    def flush(self) -> None:
        """Wait until everything handed in is committed."""
        if self._last:
            self._last.result()

    def wait_for(self, ids: Collection[str]) -> None:
        """Wait until what was handed in of these is committed. Raises what its commit raised."""
        if self._recent and self._recent[-1].id in ids:  # no other one can be on its way
            self.flush()

    def _write(self, work: EditedWork) -> None:
        row, store, started = work.row, self._store, time.perf_counter()
        path = store.segment_path(row.id)
        write_segment(work.frames, path)
        store.memory.remember(row, work.edited, work.source)
        store.ledger.record(
            Entry(
                id=row.id,
                kind="segment",
                video=row.video,
                session=row.session,
                turn=row.turn,
                segment=row.segment,
                path=str(path.relative_to(store.folder)),
                checksum=hash_file(path),
                seconds=work.seconds,
                note=work.making.note,
                recorded=datetime.now(UTC),
            )
        )
        count_commit(time.perf_counter() - started)
        if store.memory.fragments >= MOST_FRAGMENTS:
            store.memory.maintain()
            store.ledger.maintain()

    def __enter__(self) -> "Committer":
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.flush()
        finally:
            self._thread.shutdown(wait=True)
