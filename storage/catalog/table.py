"""A manifest as a table (CSV): one video a row, the names of its columns in the first line.

Cells are text; an empty one is not given. Numbers and yes-or-no are read here, by the column; what they may be is said
by `model/config/catalog.py`. A `prompt` is one turn; further turns are `prompt_2`, `seed_2`, `on_2`, and so on.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from storage.catalog.faults import Place
from storage.catalog.text_file import MAX_LINE, Line

TEXTS = ("video_id", "uri", "sha256", "output", "memory_scope", "schedule")
SETTINGS: dict[str, Place] = {
    **{name: (name,) for name in (*TEXTS, "priority", "tags", "skip")},
    **{name: ("segment", name) for name in ("frames", "overlap", "height", "width")},
    **{name: ("params", name) for name in ("top_k", "steps", "guidance")},
    **{name: ("deliver", name) for name in ("codec", "tone_map", "transfer")},
    **{name: ("deliver", "region", name) for name in ("mask", "feather", "keep_unchanged")},
    "gate": ("gate", "mode"),
}
"""Where the cells of a column belong in a line of JSON."""
_TURN = re.compile(r"(prompt|seed|on)(?:_([2-9]|[1-9][0-9]|100))?")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")


@dataclass(frozen=True)
class Row:
    """One row as fields; `names` are the columns by place, for telling faults; `wrong` those of the row itself, which
    names a video unless it is the `header`.
    """

    number: int
    fields: dict[str, Any]
    names: dict[Place, str]
    wrong: list[tuple[Place, str]]
    header: bool = False


def read_rows(lines: Iterable[Line]) -> Iterator[Row]:
    """The rows of a table; a row whose fields are of no use has only faults.

    A table that cannot be read to its end closes with a row that says where and why.
    """
    columns: list[str] | None = None
    places: dict[str, Place] = {}
    for number, cells, broken in _Cells(lines):
        if broken is not None:
            yield Row(number, {}, {}, [((), broken)])
            if columns is None:
                return
        elif columns is None:
            columns = [cell.strip() for cell in cells]
            places = {name: place for name in columns if (place := _place(name)) is not None}
            wrong = _wrong_columns(columns)
            if wrong:
                yield Row(number, {}, {}, wrong, header=True)
        elif any(cell.strip() for cell in cells):
            yield _row(number, columns, places, cells)


class _Cells:
    """The cells of each row with the line that it begins on, or what makes it unreadable."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines, self.read, self.size = lines, 0, 0
        self.fault: str | None = None

    def __iter__(self) -> Iterator[tuple[int, list[str], str | None]]:
        rows = csv.reader(self._texts(), strict=True)
        while True:
            begin, self.size = self.read + 1, 0
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as fault:
                yield begin, [], f"not CSV: {fault}; what follows was not read"
                return
            broken, self.fault = self.fault, None
            yield begin, cells, broken

    def _texts(self) -> Iterator[str]:
        for line in self.lines:
            self.read, self.size = line.number, self.size + len(line.text)
            self.fault = self.fault or line.fault
            if self.size > MAX_LINE:
                raise csv.Error(f"a row of more than {MAX_LINE:,} letters; is a quote missing?")
            yield line.text or "\n"


def _place(column: str) -> Place | None:
    """Where a column's cells belong; None where there is no such column."""
    if column in SETTINGS:
        return SETTINGS[column]
    turn = _TURN.fullmatch(column)
    return ("turns", int(turn[2] or 1) - 1, turn[1]) if turn else None


def _wrong_columns(columns: list[str]) -> list[tuple[Place, str]]:
    known = f"expected some of {', '.join(SETTINGS)}, prompt, seed, on, prompt_2, seed_2, on_2, ..."
    wrong: list[tuple[Place, str]] = []
    for index, name in enumerate(columns):
        if _place(name) is None:
            wrong.append(((name or f"column {index + 1}",), f"is no column; {known}"))
        elif name in columns[:index]:
            wrong.append(((name,), "is a column twice"))
    return wrong + [((name,), "is a column that must be there") for name in ("video_id", "uri") if name not in columns]


def _row(number: int, columns: list[str], places: dict[str, Place], cells: list[str]) -> Row:
    names = {place: column for column, place in places.items()}
    if len(cells) != len(columns):
        return Row(number, {}, names, [((), f"has {len(cells)} cells, expected {len(columns)}, one for each column")])
    given = {name: cell for name, cell in zip(columns, cells, strict=True) if cell.strip() and name in places}
    fields: dict[str, Any] = {}
    turns: dict[int, dict[str, Any]] = {}
    for column, cell in given.items():
        place = places[column]
        if place[0] == "turns":
            turns.setdefault(int(place[1]), {})[str(place[2])] = _read(str(place[2]), cell)
        else:
            _put(fields, place, _read(column, cell))
    if turns:
        fields["turns"] = [turns.get(index, {}) for index in range(max(turns) + 1)]
    return Row(number, fields, names, [])


def _put(fields: dict[str, Any], place: Place, value: Any) -> None:
    """Set a field, which may lie in others."""
    *outer, name = map(str, place)
    for part in outer:
        fields = fields.setdefault(part, {})
    fields[name] = value


def _read(column: str, cell: str) -> Any:
    """A cell as JSON would have it; what cannot be read stays text, which the settings then refuse."""
    text = cell.strip()
    if column in ("prompt", "mask", *TEXTS):
        return cell if column == "prompt" else text
    if column == "tags":
        return text.split()
    if column in ("skip", "tone_map", "keep_unchanged"):
        return {"true": True, "false": False}.get(text.lower(), text)
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if column in ("guidance", "feather") and _NUMBER.fullmatch(text) else text
