"""Attempts at segments that failed, kept in the ledger: who tries too often is found out, also by the next run."""

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Literal

from storage.content_id import identify
from storage.ledger import Entry, Ledger
from storage.remembered import Remembered

FaultKind = Literal["error", "death", "memory"]


@dataclass(frozen=True)
class Fault:
    """One attempt: an error, the death of the Editor, or want of memory; `reason` in words."""

    kind: FaultKind
    reason: str


class Docket:
    """The faults of one video, by the id of the segment; those before `since` are forgotten. Threads may share it.

    `added` counts those of this run.
    """

    def __init__(self, ledger: Ledger, video: str, since: datetime | None = None) -> None:
        self._ledger, self._lock, self.added = ledger, Lock(), 0
        self._faults: dict[str, list[Fault]] = defaultdict(list)
        for entry in ledger.entries(kind="fault", video=video):
            if since is None or entry.recorded >= since:
                note = json.loads(entry.note)
                self._faults[note["id"]].append(Fault(note["kind"], note["reason"]))

    def of(self, id: str) -> tuple[Fault, ...]:
        """The faults of a segment, in their order."""
        return tuple(self._faults[id])

    def add(self, row: Remembered, fault: Fault) -> None:
        """Keep one, before anything else is tried."""
        with self._lock:
            self._faults[row.id].append(fault)
            number = len(self._faults[row.id])
            self.added += 1
        now = datetime.now(UTC)
        entry = Entry(
            id=identify({"fault": row.id, "number": number, "at": now.isoformat()}),
            kind="fault",
            video=row.video,
            session=row.session,
            turn=row.turn,
            segment=row.segment,
            path="",
            checksum="",
            seconds=0.0,
            note=json.dumps({"id": row.id, **asdict(fault)}),
            recorded=now,
        )
        self._ledger.record(entry)


def forgive(ledger: Ledger) -> int:
    """Forget all faults of an output folder, so that its segments are tried again; returns how many there were."""
    faults = ledger.entries(kind="fault")
    if faults:
        ledger.remove([entry.id for entry in faults])
    return len(faults)
