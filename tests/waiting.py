"""Waiting for what another process does, for as long as a busy machine may take."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(found: Callable[[], T], seconds: float = 400) -> T:
    """Ask again and again until there is something, and return it."""
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline, f"nothing happened within {seconds:g} s"
        time.sleep(0.02)
    return result
