"""Notes of segments, as they are and as they were."""

import json
from dataclasses import replace

import pytest

from model.errors import StoreError
from model.types import Merge
from storage.ledger import Entry
from storage.making import Making
from tests.storage.memories import make_entry, make_row


def noted(note: str) -> Entry:
    return replace(make_entry(make_row(0)), note=note)


@pytest.mark.parametrize(
    "making",
    [
        Making(),
        Making(256),
        Making(None, ()),
        Making(64, (Merge(0, 2, (1, 3)), Merge(1, 4, (0,)))),
        Making(attempt=2),
        Making(attempt=1, kept=True),
    ],
)
def test_a_note_is_read_as_it_was_written(making: Making) -> None:
    assert Making.read(noted(making.note)) == making


def test_notes_from_before_merges_were_kept_say_that_nobody_told() -> None:
    assert Making.read(noted("{}")).merges is None
    assert Making.read(noted('{"tile": 256}')) == Making(256)
    assert json.loads(Making(256).note) == {"tile": 256}


def test_another_attempt_says_so_and_is_not_kept_yet() -> None:
    assert json.loads(Making(256, attempt=2).note) == {"tile": 256, "attempt": 2, "kept": False}


@pytest.mark.parametrize(
    "note", ["", "[]", '{"tile": "256"}', '{"merges": [[0, 1]]}', '{"attempt": -1}', '{"attempt": true}', "[" * 100_000]
)
def test_a_damaged_note_is_one_line(note: str) -> None:
    with pytest.raises(StoreError, match=r"note of it is damaged .*; delete its turn") as caught:
        Making.read(noted(note))
    assert "\n" not in str(caught.value)
