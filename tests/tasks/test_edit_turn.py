"""A turn that comes to no good end says so in one line."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import OutOfMemoryError, RayActorError

from model.errors import EditError
from model.types import Segment, Span
from tasks import edit
from tasks.edit import edit_turn
from tasks.turn import Quarantined, TurnRecord

TURN: Any = SimpleNamespace(plan=SimpleNamespace(work=SimpleNamespace(name="film.mp4")))
NONE: Any = None  # neither a store nor Editors: nothing is edited here


DEATH = "The actor died: out of memory.\nIts log:\n..."


@pytest.mark.parametrize("death", [RayActorError(error_msg=DEATH), OutOfMemoryError(DEATH)])
def test_a_process_that_dies_at_every_attempt_is_one_line(monkeypatch: pytest.MonkeyPatch, death: Exception) -> None:
    def die(*_: object) -> None:
        raise death

    monkeypatch.setattr(edit, "edit_segments", die)
    with pytest.raises(EditError) as told:
        edit_turn(TURN, NONE, NONE)
    assert str(told.value) == (
        "film.mp4: a process of the run died at every one of 4 attempts (The actor died: out of memory.); "
        "free memory, then run the same command again"
    )


def test_segments_that_were_given_up_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = tuple(Quarantined(Segment(index, 0, Span(0, 5), 5), 3, "ValueError: no") for index in (4, 7))
    record = TurnRecord(1, (), quarantined=lost)
    monkeypatch.setattr(edit, "edit_segments", lambda *_: record)
    with pytest.raises(EditError) as told:
        edit_turn(TURN, NONE, NONE)
    assert str(told.value) == (
        "film.mp4: 2 segments failed, such as segment 4 after 3 attempts (ValueError: no); "
        "the same command tries them again"
    )
