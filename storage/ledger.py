"""The ledger: what is done. One row a finished unit of work, written last; what has no row was never finished.

Beside it the turns of each session, which get their numbers here. A turn's row is there before anything of the turn is
and goes after all of it: what belongs to no turn is garbage (`storage/garbage.py`).
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import and_, or_
from pathlib import Path
from typing import Literal

import pyarrow as pa
from lancedb.expr import Expr, col, lit

from model.errors import StoreError
from storage.content_id import identify
from storage.tables import KEEP_VERSIONS, PRIMARY_KEY, delete, lasting, open_table, read_all, upsert

TurnKey = tuple[str, int]
"""The session and the number under which the memories and files of a turn are kept."""


@dataclass(frozen=True)
class Entry:
    """A finished unit of work, or an attempt that failed (`storage/faults.py`).

    `path` is relative to the output folder; `note` is JSON of what its kind needs.
    """

    id: str
    kind: Literal["segment", "video", "fault"]
    video: str
    session: str
    turn: int
    segment: int
    path: str
    checksum: str
    seconds: float
    recorded: dt.datetime
    note: str = "{}"

    @property
    def key(self) -> TurnKey:
        """Of the turn that it belongs to."""
        return self.session, self.turn


TurnKind = Literal["text", "view"]
USERS_VIDEO = 0  # the parent of a turn that edits the video itself


@dataclass(frozen=True)
class TurnRow:
    """One turn of a session.

    `fingerprint` names the turn and `settings` what was asked, whatever the session. `asked` is the instruction or the
    camera, `video` the source's name and `source` its content id, `parent` the number of the turn whose result was
    edited. `branch` is the session in which the turn was made: another one where `session` branched off later.
    """

    id: str
    session: str
    number: int
    fingerprint: str
    settings: str
    kind: TurnKind
    asked: str
    video: str
    source: str
    parent: int
    branch: str
    created: dt.datetime

    @property
    def key(self) -> TurnKey:
        return self.branch, self.number


@dataclass(frozen=True)
class TurnPlace:
    """Where a turn stands in its session: its number, and the keys of all the session's turns by their numbers.

    `passed` are memories of the session that are not to be recalled (`storage/attempts.py`).
    """

    number: int
    keys: Mapping[int, TurnKey]
    passed: frozenset[str] = frozenset()

    @property
    def key(self) -> TurnKey:
        """Of the turn itself."""
        return self.keys[self.number]


def of_turns(turns: Sequence[TurnKey]) -> Expr:
    """Predicate: of one of these turns.

    Sessions of the same numbers are one condition, and conditions are joined in pairs: nested one in the other, they
    would overflow the stack at some hundreds.
    """
    numbers, sessions = defaultdict[str, set[int]](set), defaultdict[tuple[int, ...], list[str]](list)
    for session, number in turns:
        numbers[session].add(number)
    for session, those in numbers.items():
        sessions[tuple(sorted(those))].append(session)
    kept = [col("session").isin(named) & col("turn").isin(list(those)) for those, named in sessions.items()]
    while len(kept) > 1:
        kept = [reduce(or_, kept[start : start + 2]) for start in range(0, len(kept), 2)]
    return kept[0] if kept else lit(False)


def turn_id(session: str, fingerprint: str) -> str:
    """The id of a turn's row: a session has a turn once."""
    return identify({"session": session, "fingerprint": fingerprint})


class Ledger:
    """The finished work of one output folder.

    Raises:
        StoreError: it is damaged, or was written by another version.
    """

    def __init__(self, uri: Path) -> None:
        self._uri = uri
        self._entries = open_table(uri, "ledger", ENTRY_SCHEMA)
        self._turns = open_table(uri, "turns", TURN_SCHEMA)

    def record(self, entry: Entry) -> None:
        """Write one row: the commit point of that work. Doing it again replaces the row."""
        upsert(self._entries, pa.Table.from_pylist([asdict(entry)], schema=ENTRY_SCHEMA))

    def find(self, ids: Sequence[str]) -> dict[str, Entry]:
        """The entries among `ids` that exist, by id."""
        if not ids:
            return {}
        return {entry.id: entry for entry in self._select(col("id").isin(list(ids)))}

    def entries(
        self, kind: str | None = None, video: str | None = None, turns: Sequence[TurnKey] | None = None
    ) -> list[Entry]:
        """All entries, of one kind, one source video or some turns where named, in the order in which they were
        recorded."""
        wanted = [col(name) == lit(value) for name, value in (("kind", kind), ("video", video)) if value is not None]
        wanted += [] if turns is None else [of_turns(turns)]
        found = self._select(reduce(and_, wanted) if wanted else None)
        return sorted(found, key=lambda entry: (entry.recorded, entry.id))

    def remove(self, ids: Sequence[str]) -> None:
        """Remove entries; ids that are not there are fine."""
        delete(self._entries, ids)

    def enter_turn(
        self,
        session: str,
        fingerprint: str,
        *,
        settings: str,
        kind: TurnKind,
        asked: str,
        video: str,
        source: str,
        parent: int,
    ) -> int:
        """Enter a turn in its session, and return its number there, from 1; one that is entered stays as it is.

        A new one gets the next number. Numbers under which another session's turns are kept are not given again.
        """
        everywhere = self.turns()
        for turn in everywhere:
            if (turn.session, turn.fingerprint) == (session, fingerprint):
                return turn.number
        taken = [turn.number for turn in everywhere if session in (turn.session, turn.branch)]
        turn = TurnRow(
            id=turn_id(session, fingerprint),
            session=session,
            number=max(taken, default=0) + 1,
            fingerprint=fingerprint,
            settings=settings,
            kind=kind,
            asked=asked,
            video=video,
            source=source,
            parent=parent,
            branch=session,
            created=dt.datetime.now(dt.UTC),
        )
        self.add_turns([turn])
        return turn.number

    def turns(self, session: str | None = None) -> list[TurnRow]:
        """All turns, or those of one session, by session and number."""
        query = self._turns.search()
        if session is not None:
            query = query.where(col("session") == lit(session))
        rows = [TurnRow(**record) for record in read_all(self._uri, query).to_pylist()]
        return sorted(rows, key=lambda turn: (turn.session, turn.number))

    def turn(self, session: str, number: int) -> TurnRow:
        """One turn of a session.

        Raises:
            StoreError: it has none of this number.
        """
        found = [turn for turn in self.turns(session) if turn.number == number]
        if not found:
            raise StoreError(f"session {session} has no turn {number}; restore the folder, or choose another --out")
        return found[0]

    def place(self, session: str, number: int) -> TurnPlace:
        """Where turn `number` of a session stands."""
        return TurnPlace(number, {turn.number: turn.key for turn in self.turns(session)})

    def add_turns(self, turns: Sequence[TurnRow]) -> None:
        """Write turns, all or none."""
        upsert(self._turns, pa.Table.from_pylist([asdict(turn) for turn in turns], schema=TURN_SCHEMA))

    def remove_turns(self, turns: Sequence[TurnRow]) -> None:
        """Remove turns, all or none; those that are not there are fine."""
        delete(self._turns, [turn.id for turn in turns])

    def maintain(self) -> None:
        """Merge small fragments and drop old versions. Every few dozen commits, by the writer."""
        with lasting(self._entries):
            self._entries.optimize(cleanup_older_than=KEEP_VERSIONS)

    def _select(self, predicate: Expr | None) -> list[Entry]:
        query = self._entries.search()
        if predicate is not None:
            query = query.where(predicate)
        return [Entry(**record) for record in read_all(self._uri, query).to_pylist()]


ENTRY_SCHEMA = pa.schema(
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
TURN_SCHEMA = pa.schema(
    [
        PRIMARY_KEY,
        pa.field("session", pa.string()),
        pa.field("number", pa.int64()),
        pa.field("fingerprint", pa.string()),
        pa.field("settings", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("asked", pa.string()),
        pa.field("video", pa.string()),
        pa.field("source", pa.string()),
        pa.field("parent", pa.int64()),
        pa.field("branch", pa.string()),
        pa.field("created", pa.timestamp("us", "UTC")),
    ]
)
