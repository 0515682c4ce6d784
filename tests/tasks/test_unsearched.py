"""Prefect hands arguments on without looking into them."""

from typing import Any

import pytest
from prefect import flow, task

from tasks.edit import edit_segments
from tasks.gate import judge
from tasks.ingest import ingest
from tasks.publish import publish
from tasks.stitch import stitch_video
from tasks.unsearched import unsearched


class Closed(tuple):
    """A tuple that nobody may go through."""

    def __iter__(self):
        raise AssertionError("it was searched")


@task(persist_result=False)
def length(items: tuple, *, more: tuple = ()) -> int:
    return len(items) + len(more)


@flow
def count(searched: bool) -> int:
    counted = length if searched else unsearched(length)
    return counted(Closed((1, 2)), more=Closed((3,)))


def test_arguments_are_handed_on_unsearched(cluster: None) -> None:
    assert count(searched=False) == 3
    with pytest.raises(AssertionError, match="it was searched"):
        count(searched=True)


@pytest.mark.parametrize("step", [ingest, edit_segments, judge, stitch_video, publish])
def test_no_task_of_a_video_is_searched(step: Any) -> None:
    """Of a task itself Prefect would search the arguments."""
    wrapper: Any = unsearched(length)
    assert step.__code__ is wrapper.__code__
