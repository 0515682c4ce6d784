"""How Judges share out jobs, and what an error of one ends."""

import time
from collections.abc import Callable

import pytest
import ray

from model.errors import MemoryV2VError, VideoError, WeightsError
from tasks.actors.judge import _share_out


@ray.remote(num_cpus=0)
def do(job: str) -> str:
    """A job that is called after what it raises, or takes a second."""
    if job == "video":
        raise VideoError("film.mp4: is damaged")
    if job == "weights":
        raise WeightsError("no such weights")
    time.sleep(1.0)
    return job.upper()


def share_out(*jobs: str, is_its_own: Callable[[MemoryV2VError], bool], given: list[str]) -> dict[str, object]:
    def give(judge: object, job: str) -> object:
        given.append(job)
        return do.remote(job)

    found: dict[str, object] = {}
    try:
        for job, gave in _share_out(jobs, 2, "CPU", give, is_its_own):
            found[job] = gave
    except MemoryV2VError as fault:
        found["raised"] = fault
    return found


@pytest.fixture
def two_cores(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})


def test_an_error_of_one_job_is_what_that_job_gave(two_cores: None) -> None:
    given: list[str] = []
    found = share_out("a", "video", "b", is_its_own=lambda fault: isinstance(fault, VideoError), given=given)
    assert given == ["a", "video", "b"]
    assert isinstance(found.pop("video"), VideoError)
    assert found == {"a": "A", "b": "B"}


def test_an_error_of_all_is_raised_once_what_is_at_hand_is_done(two_cores: None) -> None:
    given: list[str] = []
    found = share_out("a", "weights", "b", is_its_own=lambda fault: isinstance(fault, VideoError), given=given)
    assert given == ["a", "weights"]
    assert isinstance(found.pop("raised"), WeightsError)
    assert found == {"a": "A"}
