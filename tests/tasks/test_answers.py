"""However Ray tells that an actor died, a person reads one line."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from model.errors import LostActorError, WeightsError
from tasks.actors import answers
from tasks.actors.answers import DIED, result_of

KILLED = OutOfMemoryError("1 worker(s) were killed due to the node running low on memory.\nMemory on the node ...")


def answering(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def get(_: object) -> None:
        raise fault

    monkeypatch.setattr(answers, "ray", SimpleNamespace(wait=lambda given, timeout: (given, []), get=get))


@pytest.mark.parametrize("death", [RayActorError(), KILLED], ids=["died", "killed for want of memory"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["its own", "of another one that it waited for"])
def test_an_actor_that_died_is_one_line(monkeypatch: pytest.MonkeyPatch, death: Exception, wrapped: bool) -> None:
    fault: Any = RayTaskError("train", "Traceback ...", death, "ray", 1, "::1") if wrapped else death
    for raised in (fault, fault.as_instanceof_cause()) if wrapped else (fault,):
        answering(monkeypatch, raised)
        with pytest.raises(LostActorError) as told:
            result_of("train")
        assert str(told.value) == DIED


def test_what_an_actor_raised_is_told_as_it_raised_it(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = WeightsError("it is gone")
    answering(monkeypatch, RayTaskError("load", "Traceback ...", raised, "ray", 1, "::1").as_instanceof_cause())
    with pytest.raises(WeightsError) as told:
        result_of("load")
    assert told.value is raised
