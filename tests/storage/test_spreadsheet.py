"""What others wrote stays text in a spreadsheet; numbers stay numbers."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import RunError
from storage.spreadsheet import FORMULA_SIGNS, Cell, defuse, write_csv

FORMULAS = ('=HYPERLINK("http://x.test")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "=", "-1.5")


def read_back(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_text(text: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "report.csv", [text], [[text]])
    assert read_back(path) == [[f"'{text}"]] * 2


def test_without_the_apostrophe_the_formula_would_be_there(tmp_path: Path) -> None:
    """The control: neither quoting nor the csv module does anything about it."""
    with (tmp_path / "plain.csv").open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerow(FORMULAS)
    assert read_back(tmp_path / "plain.csv") == [list(FORMULAS)]


def test_numbers_and_plain_text_stay_as_they_are(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["clip.mp4", -3, -0.5, None], ['a "b", c\nd', 10**20, 1e-7, "x=1"]]
    path = write_csv(tmp_path / "report.csv", ["video", "turns", "drift", "note"], rows)
    assert read_back(path)[1:] == [
        ["clip.mp4", "-3", "-0.5", ""],
        ['a "b", c\nd', "100000000000000000000", "1e-07", "x=1"],
    ]


@pytest.mark.parametrize("text", ["a\r=1", "a\n=1", "a\r\n=1", 'a",=1', "a,=1"])
def test_no_text_breaks_out_of_its_cell(text: str, tmp_path: Path) -> None:
    assert read_back(write_csv(tmp_path / "report.csv", ["note"], [[text]])) == [["note"], [text]]


@given(st.one_of(st.text(), st.integers(), st.floats(allow_nan=False), st.none()))
def test_no_text_begins_with_a_sign_and_nothing_else_changes(cell: Cell) -> None:
    shown = defuse(cell)
    assert not (isinstance(shown, str) and shown.startswith(FORMULA_SIGNS))
    assert shown in (cell, f"'{cell}")


def test_names_in_no_encoding_are_shown_all_the_same(tmp_path: Path) -> None:
    assert read_back(write_csv(tmp_path / "report.csv", ["video"], [["clip \udce9.mp4"]]))[1] == ["clip ?.mp4"]


def test_the_table_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def rows() -> Iterator[Sequence[Cell]]:
        yield ["one"]
        raise KeyboardInterrupt

    path = write_csv(tmp_path / "report.csv", ["video"], [["older"]])
    with pytest.raises(KeyboardInterrupt):
        write_csv(path, ["video"], rows())
    assert read_back(path)[1] == ["older"]
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(RunError, match=r"absent/report\.csv: could not be written"):
        write_csv(tmp_path / "absent" / "report.csv", ["video"], [])
