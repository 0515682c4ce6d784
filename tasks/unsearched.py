"""Prefect tasks whose arguments are handed on as they are.

Left to itself Prefect walks through all that an argument holds, twice a call, in search of futures and states. A plan
holds a time stamp a frame and a record a segment, and none of them is a future: for an hour of video that is a million
steps, in which no other thread of the driver runs Python.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.utilities.annotations import opaque

Given = ParamSpec("Given")
Made = TypeVar("Made")


def unsearched(run: Task[Given, Made]) -> Callable[Given, Made]:
    """The task, called without a search of its arguments. None of them may be a future; `__wrapped__` is its body."""

    @wraps(run.fn)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        plain: Any = run  # its arguments are annotated, which Prefect takes off again
        return plain(*map(opaque, args), **{name: opaque(value) for name, value in kwargs.items()})

    return call
