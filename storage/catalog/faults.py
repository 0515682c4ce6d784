"""What is wrong with a manifest: each fault with its file, line and field, in words for the person who wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model.errors import RequestError
from storage.redaction import redact

SHOWN = 80  # letters of a value in a message


@dataclass(frozen=True)
class Fault:
    """One fault: `field` is empty where the whole line, or the whole file, is meant."""

    line: int
    field: str
    message: str
    file: Path

    def __str__(self) -> str:
        where = f"{self.file}: line {self.line}: "
        return f"{where}{self.field}: {self.message}" if self.field else f"{where}{self.message}"


Place = tuple[str | int, ...]
"""Where in a line a value stands: ("turns", 0, "prompt")."""


def name_place(place: Place, names: Mapping[Place, str]) -> str:
    """A place as it is written: `turns.0.prompt`, or what `names` calls it or the nearest thing around it."""
    for length in range(len(place), 0, -1):
        if (name := names.get(place[:length])) is not None:
            return name
    return ".".join(_show_name(str(part)) for part in place)


def explain_all(error: ValidationError) -> list[tuple[Place, str]]:
    """Every mistake that pydantic found: its place, and what is wrong with it. A field has at most one."""
    told: dict[Place, str] = {}
    for mistake in error.errors(include_url=False):
        place, given = mistake["loc"], mistake["input"]
        if len(place) > 1 and place[-2] == "on":  # pydantic names each kind that it tried, which nobody wrote
            told[place[:-1]] = f"expected 0 (the video), the number of a turn, or 'last', got {show(given)}"
        else:
            told[place] = _explain(mistake["type"], mistake["msg"], given)
    return list(told.items())


def show(value: Any) -> str:
    """A value in a message: short, on one line, without credentials."""
    text = redact(repr(value))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _show_name(name: str) -> str:
    """A name that somebody made up may have lines, or be a book."""
    return name if name.isprintable() and len(name) <= SHOWN and name else show(name)


def too_many(faults: int, first: Fault) -> RequestError:
    """The one error for all faults of a manifest."""
    rest = "" if faults == 1 else f" ({faults} faults in all; `memory-v2v catalog validate` shows each)"
    return RequestError(f"{first}{rest}")


def _explain(kind: str, message: str, given: Any) -> str:
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is no setting; check its spelling"
    said = message.removeprefix("Value error, ")
    return said if isinstance(given, dict | list | tuple) else f"{said}, got {show(given)}"
