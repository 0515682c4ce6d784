"""Notes of segments, as they are and as they were."""

import json

import pytest

from model.types import Merge
from storage.making import Making


@pytest.mark.parametrize(
    "making",
    [
        Making(),
        Making(256),
        Making(None, ()),
        Making(64, (Merge(0, 2, (1, 3)), Merge(1, 4, (0,)))),
        Making(attempt=2),
    ],
)
def test_a_note_is_read_as_it_was_written(making: Making) -> None:
    assert Making.read(making.note) == making


def test_notes_from_before_merges_were_kept_say_that_nobody_told() -> None:
    assert Making.read("{}").merges is None
    assert Making.read('{"tile": 256}') == Making(256)
    assert json.loads(Making(256).note) == {"tile": 256}


def test_another_attempt_says_so_and_is_not_kept_yet() -> None:
    assert json.loads(Making(256, attempt=2).note) == {"tile": 256, "attempt": 2, "kept": False}
