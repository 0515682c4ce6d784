"""What is recorded is found again, and turns keep their numbers."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pytest

from model.errors import StoreError
from storage.ledger import Entry, Ledger
from tests.storage.memories import STARTED, enter_turn, make_entry, make_row


def entry(number: int, **changes: Any) -> Entry:
    return replace(make_entry(make_row(number)), **changes)


def test_what_is_recorded_is_found_by_another_reader(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    entries = [entry(0), entry(1, note='{"frames": 3}'), entry(2, path="ünï/'quoted'.mkv")]
    for one in entries:
        ledger.record(one)
    ids = [one.id for one in entries]
    for reader in (ledger, Ledger(tmp_path)):
        assert reader.find([*ids, "unknown"]) == dict(zip(ids, entries, strict=True))
        assert reader.find(ids[1:2]) == {ids[1]: entries[1]}
        assert reader.find(["unknown", "x' OR '1'='1"]) == {}
        assert reader.find([]) == {}


def test_a_row_is_replaced_not_repeated(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record(entry(0))
    ledger.record(entry(0, checksum="new"))
    assert ledger.entries() == [entry(0, checksum="new")]


def test_entries_come_in_the_order_of_recording(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    made = [
        entry(3, recorded=STARTED),
        entry(1, recorded=STARTED + timedelta(microseconds=1), kind="video"),
        entry(2, recorded=STARTED + timedelta(days=1), video="x' OR '1'='1"),
        entry(0, recorded=STARTED + timedelta(days=2), kind="video", video="x' OR '1'='1"),
    ]
    for one in (made[2], made[0], made[3], made[1]):
        ledger.record(one)
    assert ledger.entries() == made
    assert ledger.entries(kind="video") == [made[1], made[3]]
    assert ledger.entries(video="x' OR '1'='1") == made[2:]
    assert ledger.entries(kind="video", video="film") == [made[1]]
    assert ledger.entries(kind="fault") == []
    turn = made[0].session, made[0].turn
    assert ledger.entries(turns=[turn]) == made
    assert ledger.entries(kind="video", video="film", turns=[turn, ("another", 1)]) == [made[1]]
    assert ledger.entries(turns=[("another", turn[1])]) == []


def test_entries_of_any_number_of_sessions_are_found(tmp_path: Path) -> None:
    """Each of other turns, too: a predicate that nested them would overflow the stack."""
    ledger = Ledger(tmp_path)
    made = [entry(number, session=f"s{number}", turn=number) for number in range(3)]
    for one in made:
        ledger.record(one)
    keys = [(f"s{number}", turn) for number in (0, *range(2, 1200)) for turn in {1, number}]
    assert ledger.entries(turns=keys) == [made[0], made[2]]
    assert ledger.entries(turns=[]) == []


def test_many_entries_are_all_there_after_maintenance(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    made = [entry(number) for number in range(25)]
    for one in made:
        ledger.record(one)
        if one.segment % 10 == 9:
            ledger.maintain()
    assert ledger.entries() == made
    assert len(ledger.find([one.id for one in made])) == 25
    assert len(lance.dataset(str(tmp_path / "ledger.lance")).get_fragments()) <= 1 + 25 % 10


def test_a_turn_keeps_its_number(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert [enter_turn(ledger, "holiday", mark) for mark in "abac"] == [1, 2, 1, 3]
    assert [enter_turn(ledger, "x' OR '1'='1", mark) for mark in "cba"] == [1, 2, 3]
    reopened = Ledger(tmp_path)
    assert [enter_turn(reopened, "holiday", mark) for mark in "cbad"] == [3, 2, 1, 4]
    assert [enter_turn(reopened, "wedding", mark) for mark in "aa"] == [1, 1]


def test_a_turn_says_what_was_asked_and_keeps_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    told = {"settings": "s", "kind": "view", "asked": "arc-left", "video": "film.mp4", "source": "f00", "parent": 0}
    enter_turn(ledger, "holiday", "a")
    assert enter_turn(ledger, "holiday", "b", **told) == 2
    assert enter_turn(ledger, "holiday", "b", asked="something else") == 2
    turn = Ledger(tmp_path).turn("holiday", 2)
    assert {name: getattr(turn, name) for name in told} == told
    assert (turn.fingerprint, turn.branch, turn.key) == ("b", "holiday", ("holiday", 2))
    assert [(one.number, one.kind, one.parent) for one in ledger.turns("holiday")] == [(1, "text", 0), (2, "view", 0)]
    with pytest.raises(StoreError, match="session holiday has no turn 3"):
        ledger.turn("holiday", 3)


def test_a_session_has_more_turns_than_a_page_of_rows(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    marks = [f"turn {number}" for number in range(12)]
    assert [enter_turn(ledger, "holiday", mark) for mark in marks] == list(range(1, 13))
    assert [enter_turn(ledger, "holiday", mark) for mark in marks] == list(range(1, 13))


def test_a_damaged_ledger_is_told(tmp_path: Path) -> None:
    Ledger(tmp_path).record(entry(0))
    for manifest in (tmp_path / "ledger.lance" / "_versions").iterdir():
        manifest.write_bytes(b"not a manifest" * 40)
    with pytest.raises(StoreError, match="ledger") as caught:
        Ledger(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
