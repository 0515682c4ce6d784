"""The benchmark of novel views: what it measures of each method, and how it is told."""

import json

import pytest

from benchmarks.views import ERRORS, THREE, as_json, as_table, judge, saved
from model.config import Preset, WindowConfig
from model.metrics.agreement import summarise
from tests.tasks.proof.test_views import LENGTH, SIZE, Painter

PRESET = Preset(name="by hand", window=WindowConfig(frames=LENGTH, overlap=1, height=SIZE, width=SIZE))


@pytest.fixture(scope="module")
def figures() -> dict:
    rows = judge(Painter(remembers=True), PRESET, 0)
    return {method: {name: summarise([tally], ["0"]) for name, tally in row.items()} for method, row in rows.items()}


def test_every_method_has_every_error(figures: dict) -> None:
    told = json.loads(as_json(figures))
    assert set(told) == {"ind", "ar", "memory", "recency", "random", "floor", "retrieval_top1"}
    rows = [row for name, row in told.items() if name != "retrieval_top1"]
    assert all(set(row[name]) == {"value", "low", "high", "n"} for row in rows for name in ERRORS)


def test_the_floor_is_low_and_memory_saves_most_of_what_is_above_it(figures: dict) -> None:
    alone, floor = ([figures[method][name].value for name in ERRORS] for method in ("ind", "floor"))
    assert all(mine > 3 * least for mine, least in zip(alone, floor, strict=True))
    assert saved(figures, "ind", THREE) > 0.3
    assert saved(figures, "recency", ("error_1_5",)) > 0.3


def test_the_table_has_a_row_a_method(figures: dict) -> None:
    head, _, *rows = as_table(figures).splitlines()
    assert len(rows) == len(figures)
    assert all(row.count("|") == head.count("|") for row in rows)
