"""How far a turn is: a bar in the terminal, lines where there is none, and a progress artifact in Prefect."""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from types import TracebackType
from typing import Any
from uuid import UUID

from httpx import HTTPError
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ARTIFACT_SECONDS = 5.0  # an update costs the server some 20 ms
LINE_SECONDS = 10.0


def say(text: str) -> None:
    """A line for the person who waits. A run goes on where there is nobody any more, as after the end of `serve`."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _go_on_unseen(self: Console) -> None:
    self.quiet = True


Console.on_broken_pipe = _go_on_unseen  # of Prefect's log, too; rich's own ends the program


def show(create: Callable[..., Any], content: Any, **named: Any) -> Any:
    """Create an artifact in Prefect, or do without: a server that does not answer stops no edit."""
    try:
        return create(content, **named)
    except (HTTPError, PrefectException) as fault:
        logging.getLogger(__name__).warning("the Prefect server took no artifact: %s", fault)
        return None


class QuietProgress:
    """Tells `told` how many segments are done, and of how many, and shows nothing by itself."""

    def __init__(self, total: int, told: Callable[[int, int], None]) -> None:
        self._total, self._told = total, told

    def show(self, done: int, share: float = 0.0) -> None:
        """See `EditProgress`."""
        self._told(done, self._total)

    def __enter__(self) -> "QuietProgress":
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        pass


class EditProgress:
    """Shows segments, or whatever is counted, done; use as a context manager. Threads may share one.

    `show` is cheap: what is slow is done every few seconds.
    """

    def __init__(self, name: str, total: int, artifact_key: str, unit: str = "segments") -> None:
        self._name, self._total, self._key, self._unit = name, total, artifact_key, unit
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._row = self._bar.add_task(unit, total=total)
        self._artifact: UUID | None = None
        self._last_artifact = self._last_line = 0.0
        self._lock = Lock()

    def show(self, done: int, share: float = 0.0) -> None:
        """`done` segments are edited, and `share` (0 to 1) of the one at hand."""
        with self._lock:
            self._show(done, share)

    def _show(self, done: int, share: float) -> None:
        self._bar.update(self._row, completed=done + share if share else done)
        now = time.monotonic()
        if now - self._last_artifact > ARTIFACT_SECONDS or done == self._total:
            self._last_artifact = now
            self._update_artifact(100.0 * (done + share) / max(self._total, 1))
        if not self._console.is_terminal and (now - self._last_line > LINE_SECONDS or done == self._total):
            self._last_line = now
            say(f"{self._name}: {done} of {self._total} {self._unit}")

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        self._console.print(text, highlight=False)

    def _update_artifact(self, percent: float) -> None:
        if self._artifact is None:
            self._artifact = show(create_progress_artifact, percent, key=self._key, description=self._name)
        else:
            show(update_progress_artifact, self._artifact, progress=percent)

    def __enter__(self) -> "EditProgress":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
