"""A search finds what all scores say, and grows with its session alone; a commit hardly grows with what is there."""

import pytest

from benchmarks.bench import ANYWHERE
from benchmarks.memory import SESSION, _options, exponent, measure_commit, measure_search


@pytest.fixture(scope="module")
def found() -> dict[tuple[int, int], dict]:
    return {(rows, rows_of): measure_search(rows, rows_of) for rows, rows_of in ((1000, 1000), (10_000, 10_000))}


def test_searches_miss_nothing(found: dict) -> None:
    assert [each["recall"] for each in found.values()] == [1, 1]


def test_a_session_ten_times_as_long_costs_less_than_twenty_times_as_much(found: dict) -> None:
    short, long = found.values()
    assert short["kept"]["low"] < long["kept"]["high"] < 20 * short["kept"]["high"]


def test_other_sessions_cost_little(found: dict) -> None:
    """A thousand memories among nine thousand of other sessions are searched far sooner than ten thousand of one."""
    among_others = measure_search(10_000, SESSION)
    assert among_others["recall"] == 1
    assert among_others["kept"]["median"] < 0.7 * found[10_000, 10_000]["kept"]["median"]


def test_a_commit_hardly_grows() -> None:
    few, many = (measure_commit(rows) for rows in (1000, 10_000))
    for part in ("memory and latents", "ledger"):
        assert many[part]["processor"]["low"] < 4 * few[part]["processor"]["high"]


def test_exponents() -> None:
    assert exponent({10: 3.0, 1000: 30.0}) == 0.5
    assert exponent({1: 2.0, 100: 200.0, 10: 7.0}) == 1


def test_growth_is_measured_between_two_sizes_at_least(capsys: pytest.CaptureFixture[str]) -> None:
    assert _options(ANYWHERE["memory"]).commit_rows == [1000, 10_000]
    with pytest.raises(SystemExit):
        _options(["--commit-rows", "1000"])
    assert "--commit-rows [1000]: expected two sizes" in capsys.readouterr().err
