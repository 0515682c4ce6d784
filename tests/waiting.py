"""Waiting for what another process does, for as long as a busy machine may take; having it wait, or end, for us."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import wraps
from itertools import count
from typing import Any, TypeVar

import psutil

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


def dying(owner: Any, name: str, after: int = 0) -> Callable[..., Any]:
    """What to put in the place of `owner.name`: so many calls go through, and the next one is as far as one gets."""
    run, calls = getattr(owner, name), count()

    @wraps(run)
    def run_or_die(*given: Any, **named: Any) -> Any:
        if next(calls) >= after:
            raise KeyboardInterrupt
        return run(*given, **named)

    return run_or_die


def end(actor: Any) -> None:
    """Kill an actor that has `load`, such as an Editor, for good."""
    import ray  # which reads the environment once: a program that imports this file has not set it yet

    ray.kill(actor)
    with suppress(ray.exceptions.RayActorError):
        while True:  # its last process may still answer for a moment
            ray.get(actor.load.remote())


def names_of(processes: Iterable[psutil.Process]) -> set[str]:
    """What those are called that have not ended meanwhile."""
    names = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            names.add(process.name())
    return names
