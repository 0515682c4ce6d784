"""Waiting for what another process does, for as long as a busy machine may take, and having it wait for us."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

T = TypeVar("T")


def wait_for(found: Callable[[], T], seconds: float = 400) -> T:
    """Ask again and again until there is something, and return it."""
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline, f"nothing happened within {seconds:g} s"
        time.sleep(0.02)
    return result


def stand_still_after(owner: Any, name: str) -> None:
    """For a process that is to be killed: it gets no further than the first end of `owner.name`."""
    run = getattr(owner, name)

    @wraps(run)
    def run_and_wait(*given: Any, **named: Any) -> None:
        run(*given, **named)
        time.sleep(600)

    setattr(owner, name, run_and_wait)
