"""Tables of scores as files, for people and for programs: CSV, Parquet, Markdown. Each appears whole or not at all."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import RunError
from storage.durable import whole_file
from storage.spreadsheet import Cell, write_csv

Record = Mapping[str, Cell]
"""Cells by column; all records of a table have the same columns."""


def write_table(folder: Path, name: str, records: Sequence[Record]) -> list[Path]:
    """Write records as `<name>.csv` and `<name>.parquet`.

    Raises:
        RunError: a file could not be written.
    """
    columns = list(records[0])
    sheet = write_csv(folder / f"{name}.csv", columns, [[record[column] for column in columns] for record in records])
    table = pa.table({column: pa.array([record[column] for record in records]) for column in columns})
    return [sheet, _write(folder / f"{name}.parquet", lambda path: pq.write_table(table, path))]


def write_scores_page(path: Path, text: str) -> Path:
    """Write a page of Markdown; characters that no encoding takes are shown with `?`.

    Raises:
        RunError: the file could not be written.
    """
    return _write(path, lambda unfinished: unfinished.write_bytes(text.encode("utf-8", "replace")))


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _write(path: Path, write: Callable[[Path], object]) -> Path:
    try:
        with whole_file(path) as unfinished:
            write(unfinished)
    except OSError as fault:
        raise RunError(f"{path}: could not be written ({fault.strerror}); choose another --out") from fault
    return path
