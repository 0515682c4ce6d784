"""What is recorded is found again, turns keep their numbers, and a folder has one writer."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pytest

from model.errors import StoreBusyError, StoreError
from storage.ledger import Entry, Ledger, StoreLock
from tests.storage.memories import STARTED, make_entry, make_row

HOLD = (
    "import sys; from pathlib import Path; from storage.ledger import StoreLock\nwith StoreLock(Path(sys.argv[1])):\n"
)
HOLD += "    print('held', flush=True); sys.stdin.read()"


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


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
    assert ledger.entries(kind="extension") == []
    turn = made[0].session, made[0].turn
    assert ledger.entries(turns=[turn]) == made
    assert ledger.entries(kind="video", video="film", turns=[turn, ("another", 1)]) == [made[1]]
    assert ledger.entries(turns=[("another", turn[1])]) == []


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
    assert [ledger.turn_number("holiday", mark) for mark in "abac"] == [1, 2, 1, 3]
    assert [ledger.turn_number("x' OR '1'='1", mark) for mark in "cba"] == [1, 2, 3]
    reopened = Ledger(tmp_path)
    assert [reopened.turn_number("holiday", mark) for mark in "cbad"] == [3, 2, 1, 4]
    assert [reopened.turn_number("wedding", mark) for mark in "aa"] == [1, 1]


def test_a_turn_says_what_was_asked_and_keeps_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    told = {"settings": "s", "kind": "view", "asked": "arc-left", "video": "film.mp4", "source": "f00", "parent": 0}
    ledger.turn_number("holiday", "a")
    assert ledger.turn_number("holiday", "b", **told) == 2
    assert ledger.turn_number("holiday", "b", asked="something else") == 2
    turn = Ledger(tmp_path).turn("holiday", 2)
    assert {name: getattr(turn, name) for name in told} == told
    assert (turn.fingerprint, turn.branch, turn.key) == ("b", "holiday", ("holiday", 2))
    assert [(one.number, one.kind, one.parent) for one in ledger.turns("holiday")] == [(1, "text", 0), (2, "view", 0)]
    with pytest.raises(StoreError, match="session holiday has no turn 3"):
        ledger.turn("holiday", 3)


def test_a_session_has_more_turns_than_a_page_of_rows(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    marks = [f"turn {number}" for number in range(12)]
    assert [ledger.turn_number("holiday", mark) for mark in marks] == list(range(1, 13))
    assert [ledger.turn_number("holiday", mark) for mark in marks] == list(range(1, 13))


def test_a_damaged_ledger_is_told(tmp_path: Path) -> None:
    Ledger(tmp_path).record(entry(0))
    for manifest in (tmp_path / "ledger.lance" / "_versions").iterdir():
        manifest.write_bytes(b"not a manifest" * 40)
    with pytest.raises(StoreError, match="ledger") as caught:
        Ledger(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(StoreBusyError) as caught, StoreLock(tmp_path):
            pass
        assert str(tmp_path) in str(caught.value)
        assert str(process.pid) in str(caught.value).split()


def test_a_second_lock_in_this_process_is_refused_too(tmp_path: Path) -> None:
    with StoreLock(tmp_path):
        with pytest.raises(StoreBusyError, match=str(os.getpid())), StoreLock(tmp_path):
            pass
        assert "pid" in (tmp_path / "store.json").read_text(), "the holder is still named"


def test_the_lock_is_free_after_its_holder_was_killed(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
        with StoreLock(tmp_path):
            assert str(os.getpid()) in (tmp_path / "store.json").read_text()


def test_the_lock_is_free_after_use_and_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError), StoreLock(tmp_path):
        raise ArithmeticError("the model failed")
    for _ in range(2):
        with StoreLock(tmp_path):
            pass
    assert not (tmp_path / "store.json").exists()


@pytest.mark.parametrize("name", ["store.lock", "store.json"])
def test_a_folder_that_cannot_be_locked_is_one_line_and_left_free(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(StoreError, match=f"{tmp_path}: cannot be locked"), StoreLock(tmp_path):
        pass
    (tmp_path / name).rmdir()
    with StoreLock(tmp_path):
        pass


@pytest.mark.parametrize("text", [None, "", "{"])
def test_a_holder_without_a_name_is_still_noticed(tmp_path: Path, text: str | None) -> None:
    with holder(tmp_path):
        if text is None:
            (tmp_path / "store.json").unlink()
        else:
            (tmp_path / "store.json").write_text(text)
        with pytest.raises(StoreBusyError, match="unknown"), StoreLock(tmp_path):
            pass


def test_a_held_folder_is_waited_for_and_that_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    with holder(tmp_path) as process, ThreadPoolExecutor(1) as pool:

        def release(text: str) -> None:
            said.append(text)
            pool.submit(process.kill)

        @contextmanager
        def resting() -> Iterator[None]:
            yield said.append("others go on")
            said.append("we go on")

        with StoreLock(tmp_path, 60, release, resting):
            assert str(os.getpid()) in (tmp_path / "store.json").read_text()
        with StoreLock(tmp_path, 60, release, resting):
            pass
    assert said[1:] == ["others go on", "we go on"]
    assert f"process {process.pid} is writing to it; waiting for it, 60 s at most" in said[0]


def test_waiting_has_an_end(tmp_path: Path) -> None:
    with (
        holder(tmp_path) as process,
        pytest.raises(StoreBusyError, match=f"process {process.pid} is"),
        StoreLock(tmp_path, 0.2),
    ):
        pass
