"""Segments that were edited again because the first attempt was flagged: which attempt is kept, told in the ledger.

Every attempt is a segment with a name, a file and a memory of its own. The note of each but the first has its number,
and whether it is the one that is kept: later turns recall that one alone, the turn itself its first attempts. The note
of a stitched video has the attempts that it is made of.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from storage.ledger import Entry, Ledger, TurnKey, TurnPlace
from storage.making import Making

Place = tuple[str, int, int]
"""Session and number of a turn, and the index of a segment."""


@dataclass(frozen=True)
class Attempt:
    """Which attempt at a segment it is, from 1, and whether it is the one that is kept."""

    number: int = 1
    kept: bool = True


def attempt_of(entry: Entry) -> int:
    """How often the segment had been edited before; 0 is the first attempt."""
    return Making.read(entry).attempt


def note_attempt(ledger: Ledger, entry: Entry, attempt: int, kept: bool = False) -> None:
    """Say that a committed segment is no first attempt, and whether it is the one that is kept."""
    before = Making.read(entry)
    making = replace(before, attempt=attempt, kept=kept)
    if making != before:
        ledger.record(replace(entry, note=making.note))


def settle_attempts(ledger: Ledger, turn: TurnKey, kept: Collection[str]) -> None:
    """Keep those attempts at the segments of a turn, and no others."""
    for entry in ledger.entries(kind="segment", turns=[turn]):
        if attempt := attempt_of(entry):
            note_attempt(ledger, entry, attempt, entry.id in kept)


def passed_over(ledger: Ledger, place: TurnPlace) -> frozenset[str]:
    """The memories that a turn must not recall: attempts that were not kept, and of its own turn all but the first."""
    entries = ledger.entries(kind="segment", turns=list(place.keys.values()))
    return frozenset(
        entry.id
        for (session, turn, _), attempts in _edited_again(entries).items()
        for entry in attempts
        if entry.id != _recalled(attempts, own=(session, turn) == place.key)
    )


def name_attempts(entries: Sequence[Entry]) -> dict[str, Attempt]:
    """The attempts at segments that have several, by id."""
    return {
        entry.id: Attempt(attempt_of(entry) + 1, entry.id == _recalled(attempts, own=False))
        for attempts in _edited_again(entries).values()
        for entry in attempts
    }


def _edited_again(entries: Sequence[Entry]) -> dict[Place, list[Entry]]:
    """All attempts at the segments that have several."""
    again = {_place(entry) for entry in entries if attempt_of(entry)}
    attempts: dict[Place, list[Entry]] = defaultdict(list)
    for entry in entries:
        if _place(entry) in again:
            attempts[_place(entry)].append(entry)
    return attempts


def _place(entry: Entry) -> Place:
    return entry.session, entry.turn, entry.segment


def _recalled(attempts: Iterable[Entry], own: bool) -> str | None:
    """The one of a segment's attempts that may be recalled."""
    kept = [entry.id for entry in attempts if not own and Making.read(entry).kept]
    return next(iter(kept), None) or next((entry.id for entry in attempts if attempt_of(entry) == 0), None)


def is_shown(entry: Entry, redone: Mapping[str, str]) -> bool:
    """Whether a video is made of a segment; `redone` is in the video's note: ids of other attempts than the first."""
    return entry.id == redone[key] if (key := str(entry.segment)) in redone else attempt_of(entry) == 0
