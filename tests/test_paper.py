"""What pages of `docs/` say of the code is there: every file, function and test that they name; each row has a test."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = {name: (ROOT / "docs" / name).read_text() for name in ("paper.md", "security.md")}
NAMED = re.compile(r"`([\w/]+\.py):([\w.]+)`")
ROWS = {
    name: [line for line in page.splitlines() if line.startswith("| ") and "`" in line] for name, page in PAGES.items()
}


@cache
def names_in(path: Path) -> frozenset[str]:
    """Functions, classes and variables of a module, and members of its classes as `Class.member`."""
    return frozenset(_names(ast.parse(path.read_text()).body, ""))


def _names(body: list[ast.stmt], prefix: str) -> list[str]:
    found = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            found += _names(node.body, f"{prefix}{node.name}.")
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found += [prefix + target.id for target in targets if isinstance(target, ast.Name)]
    return found


@pytest.mark.parametrize(
    ("page", "file", "name"), sorted((page, *each) for page, text in PAGES.items() for each in set(NAMED.findall(text)))
)
def test_what_the_page_names_exists(page: str, file: str, name: str) -> None:
    assert (ROOT / file).is_file(), f"docs/{page} names {file}, which is not there"
    assert name in names_in(ROOT / file), f"docs/{page} names {name}, which {file} does not have"


@pytest.mark.parametrize(
    "row", [*ROWS["paper.md"], *ROWS["security.md"]], ids=lambda row: row.split("|")[1].strip()[:40]
)
def test_every_row_is_implemented_and_proven(row: str) -> None:
    _, implementation, proof, _ = row.strip("|").split("|")
    code, tests = ([f"{file}:{name}" for file, name in NAMED.findall(cell)] for cell in (implementation, proof))
    assert code
    assert all(not each.startswith("tests/") for each in code)
    assert all(each.startswith("tests/") and ":test_" in each for each in tests)
    assert tests


def test_every_equation_algorithm_and_table_has_its_row() -> None:
    told = " ".join(ROWS["paper.md"])
    equations = {int(number) for group in re.findall(r"Eq\. ([\d, -]+)", told) for number in _numbers(group)}
    assert equations == set(range(1, 18))
    assert {"Alg. 1", "Alg. 2", "Table 1", "Table 4", "Fig. 9"} <= set(re.findall(r"(?:Alg\.|Table|Fig\.) \d+", told))


def _numbers(group: str) -> list[int]:
    """`1`, `2, 3` and `11-13` as numbers."""
    spans = [part.split("-") for part in re.findall(r"\d+(?:-\d+)?", group)]
    return [number for span in spans for number in range(int(span[0]), int(span[-1]) + 1)]
