"""How far something is, for whoever waits at a terminal: lines, and bars where they can be drawn.

It knows nothing of Prefect, which must not be imported before its settings are made (`flows/environment.py`).
"""

import sys
import time
from contextlib import suppress
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

LINE_SECONDS, COPY_LINE_SECONDS = 10.0, 5.0


def say(text: str) -> None:
    """A line for the person who waits. A run goes on where there is nobody any more, as after the end of `serve`."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _go_on_unseen(self: Console) -> None:
    self.quiet = True


Console.on_broken_pipe = _go_on_unseen  # of Prefect's log, too; rich's own ends the program


class Every:
    """Tells when something is due that is done every so many seconds; at once for the first time, unless `later`."""

    def __init__(self, seconds: float, *, later: bool = False) -> None:
        self._seconds, self._next = seconds, time.monotonic() + seconds if later else 0.0

    def due(self, *, last: bool = False) -> bool:
        """Whether it is to be done now, as the `last` time always is."""
        now = time.monotonic()
        if now < self._next and not last:
            return False
        self._next = now + self._seconds
        return True


class Bar:
    """A bar in the terminal. Where there is none, lines are said now and then instead. Use as a context manager.

    Without a total from the start it shows per cent.
    """

    def __init__(self, name: str, total: int | None, lines: Every) -> None:
        self._console, self._lines = Console(stderr=True), lines
        count = TaskProgressColumn() if total is None else MofNCompleteColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._row = self._bar.add_task(name, total=total)

    def show(self, done: float, total: int) -> None:
        """`done` of `total`, whatever is counted."""
        self._bar.update(self._row, completed=done, total=total)

    def wants_line(self, *, last: bool = False) -> bool:
        """Whether a line is due: there is no bar, and it is a while since the one before, or it is the `last`."""
        return not self._console.is_terminal and self._lines.due(last=last)

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        self._console.print(text, highlight=False)

    def __enter__(self) -> "Bar":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()


class Counter:
    """How far a copy is: a bar in the terminal, a line every few seconds elsewhere. Use as a context manager."""

    def __init__(self, name: str) -> None:
        self._name, self._bar = name, Bar(name, None, Every(COPY_LINE_SECONDS, later=True))

    def show(self, done: int, total: int) -> None:
        """`done` of `total` are copied, whatever is counted."""
        self._bar.show(done, total)
        if self._bar.wants_line():
            say(f"{self._name}: {100 * done // max(total, 1)} %")

    def __enter__(self) -> "Counter":
        self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._bar.__exit__(kind, fault, at)
