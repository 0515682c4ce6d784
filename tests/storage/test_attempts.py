"""Which attempt at a segment is recalled, and which a video is made of."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lancedb.expr import Expr

from storage.attempts import attempt_of, is_shown, note_attempt, passed_over, settle_attempts
from storage.ledger import Entry, Ledger, TurnPlace

KEYS = {1: ("film", 1), 2: ("film", 2)}


def entry(id: str, turn: int, segment: int) -> Entry:
    return Entry(
        id, "segment", "v", "film", turn, segment, f"segments/{id}.mkv", "", 1.0, datetime.now(UTC), '{"tile": 64}'
    )


def filled(folder: Path) -> Ledger:
    """Two turns; of segment 1 of the first there are three attempts, the second of which is kept."""
    ledger = Ledger(folder)
    for one in (entry("a", 1, 0), entry("b", 1, 1), entry("b2", 1, 1), entry("b3", 1, 1), entry("c", 2, 0)):
        ledger.record(one)
    for attempt, id in enumerate(("b2", "b3"), 1):
        note_attempt(ledger, ledger.find([id])[id], attempt)
    return ledger


def test_later_turns_recall_what_was_kept_and_the_turn_itself_its_first_attempts(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    assert passed_over(ledger, TurnPlace(2, KEYS)) == {"b2", "b3"}, "until one is kept"
    settle_attempts(ledger, KEYS[1], {"b2"})
    assert passed_over(ledger, TurnPlace(2, KEYS)) == {"b", "b3"}
    assert passed_over(ledger, TurnPlace(1, KEYS)) == {"b2", "b3"}
    settle_attempts(ledger, KEYS[1], set())
    assert passed_over(ledger, TurnPlace(2, KEYS)) == {"b2", "b3"}
    assert passed_over(ledger, TurnPlace(2, {2: KEYS[2]})) == frozenset()


def test_a_note_of_an_attempt_keeps_what_was_noted(tmp_path: Path) -> None:
    found = filled(tmp_path).find(["a", "b3"])
    assert [attempt_of(found[id]) for id in ("a", "b3")] == [0, 2]
    assert '"tile": 64' in found["b3"].note


def test_a_video_is_made_of_first_attempts_but_for_those_it_names(tmp_path: Path) -> None:
    entries = filled(tmp_path).find(["a", "b", "b2", "b3"])
    assert {id for id, one in entries.items() if is_shown(one, {})} == {"a", "b"}
    assert {id for id, one in entries.items() if is_shown(one, {"1": "b3"})} == {"a", "b3"}
    assert not is_shown(replace(entries["b3"], segment=2), {"1": "b3"})


def test_the_entries_of_other_sessions_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may hold many: what a turn looks at does not grow with them."""
    ledger = filled(tmp_path)
    for number in range(5):
        ledger.record(replace(entry(f"other {number}", 1, number), session="other"))
    read: list[Entry] = []
    select = Ledger._select

    def watched(self: Ledger, predicate: Expr | None) -> list[Entry]:
        found = select(self, predicate)
        read.extend(found)
        return found

    monkeypatch.setattr(Ledger, "_select", watched)
    assert passed_over(ledger, TurnPlace(2, KEYS)) == {"b2", "b3"}
    settle_attempts(ledger, KEYS[1], {"b2"})
    assert {one.session for one in read} == {"film"}
