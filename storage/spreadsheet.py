"""Tables as CSV, for people who open them in a spreadsheet: no cell that somebody else wrote becomes a formula.

A spreadsheet takes text that begins with `=`, `+`, `-`, `@`, a tab or a carriage return for a formula, which may read
files and ask servers (CWE-1236). Such text gets an apostrophe in front, which spreadsheets do not show.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from model.errors import RunError
from storage.durable import whole_file

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")

Cell = str | int | float | None
"""Text, a number, or nothing."""


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Path:
    """Write a heading and rows as UTF-8, row by row; the file appears whole or not at all.

    Text that no encoding takes is shown with `?`; numbers stay numbers, minus sign and all.

    Raises:
        RunError: the file could not be written.
    """
    try:
        with (
            whole_file(path) as unfinished,
            unfinished.open("w", encoding="utf-8", errors="replace", newline="") as file,
        ):
            table = csv.writer(file)  # its line ends are CR LF: with others it would leave a CR in a cell bare
            table.writerow([defuse(name) for name in columns])
            for row in rows:
                assert len(row) == len(columns), f"{len(row)} cells under {len(columns)} columns"
                table.writerow([defuse(cell) for cell in row])
    except OSError as fault:
        raise RunError(f"{path}: could not be written ({fault.strerror}); choose another file") from fault
    return path


def defuse(cell: Cell) -> Cell:
    """The cell as it may be written: text that would be a formula gets an apostrophe, all else stays."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_SIGNS) else cell
