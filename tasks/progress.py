"""How far a turn is, told to Prefect as an artifact and to the terminal as a bar."""

import logging
from collections.abc import Callable
from threading import Lock
from types import TracebackType
from typing import Any
from uuid import UUID

from httpx import HTTPError
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from tasks.terminal import LINE_SECONDS, Bar, Every, say

ARTIFACT_SECONDS = 5.0  # an update costs the server some 20 ms


def show(create: Callable[..., Any], content: Any, **named: Any) -> Any:
    """Create an artifact in Prefect, or do without: a server that does not answer stops no edit."""
    try:
        return create(content, **named)
    except (HTTPError, PrefectException) as fault:
        logging.getLogger(__name__).warning("the Prefect server took no artifact: %s", fault)
        return None


class ProgressArtifact:
    """A progress artifact in Prefect, created when it is first shown."""

    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = key, description
        self._id: UUID | None = None

    def show(self, percent: float) -> None:
        """`percent` (0 to 100) is done."""
        if self._id is None:
            self._id = show(create_progress_artifact, percent, key=self._key, description=self._description)
        else:
            show(update_progress_artifact, self._id, progress=percent)


class QuietProgress:
    """Tells `told` how many segments are done, and of how many, and shows nothing by itself."""

    def __init__(self, total: int, told: Callable[[int, int], None]) -> None:
        self._total, self._told = total, told

    def show(self, done: int, share: float = 0.0) -> None:
        """See `CountedProgress`."""
        self._told(done, self._total)

    def __enter__(self) -> "QuietProgress":
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        pass


class CountedProgress:
    """Shows segments, or whatever is counted, done; use as a context manager. Threads may share one.

    `show` is cheap: what is slow is done every few seconds.
    """

    def __init__(self, name: str, total: int, artifact_key: str, unit: str = "segments") -> None:
        self._name, self._total, self._unit = name, total, unit
        self._bar = Bar(unit, total, Every(LINE_SECONDS))
        self._artifact, self._renewal = ProgressArtifact(artifact_key, name), Every(ARTIFACT_SECONDS)
        self._lock = Lock()

    def show(self, done: int, share: float = 0.0) -> None:
        """`done` segments are edited, and `share` (0 to 1) of the one at hand."""
        with self._lock:
            self._show(done, share)

    def _show(self, done: int, share: float) -> None:
        last = done == self._total
        self._bar.show(done + share if share else done, self._total)
        if self._renewal.due(last=last):
            self._artifact.show(100.0 * (done + share) / max(self._total, 1))
        if self._bar.wants_line(last=last):
            say(f"{self._name}: {done} of {self._total} {self._unit}")

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        self._bar.say(text)

    def __enter__(self) -> "CountedProgress":
        self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._bar.__exit__(kind, fault, at)
