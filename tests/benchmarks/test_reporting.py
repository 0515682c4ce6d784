"""Times are taken in turn, ratios pair what was measured together, and pages and figures are written down."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import bench
import reporting


def test_candidates_take_turns_there_and_back() -> None:
    calls: list[str] = []
    runs = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = reporting.take_turns(runs, repetitions=3, warm_ups=1)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3}


def test_ratios_are_of_the_same_repetition() -> None:
    """A machine that is twice as slow in one of them changes nothing."""
    found = reporting.ratio([2.0, 4.0, 2.0], [1.0, 2.0, 1.0])
    assert found == {"median": 2.0, "low": 2.0, "high": 2.0, "n": 3}
    assert reporting.told(found, "x") == "2.0x (2.0-2.0)"


def test_a_machine_has_a_name_that_a_file_may_have() -> None:
    assert reporting.machine_name().replace("-", "").isalnum()
    assert {"processor", "memory", "system", "torch"} <= set(reporting.machine())


def test_all_benchmarks_go_to_one_page_and_one_file_of_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that fails is named, and does not stop the next."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "good.py").write_text(
        'print("# Good\\n\\n## Table"); print(\'{"machine": {}, "ratio": 1}\')'
    )
    (tmp_path / "benchmarks" / "bad.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "ANYWHERE", {"bad": (), "good": ()})
    with pytest.raises(SystemExit) as ended:
        bench.main(["--json", "--out", str(tmp_path)])
    assert ended.value.code == 1
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["bad"]["failed"] == 3
    assert printed["good"]["ratio"] == 1
    [page], [figures] = tmp_path.glob("*.md"), tmp_path.glob("*.json")
    assert "## Good\n\n### Table" in page.read_text()
    assert "Failed with exit code 3" in page.read_text()
    assert json.loads(figures.read_text()) == printed


def test_what_was_measured_stays_where_the_rest_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(name: str, options: Sequence[str]) -> tuple[str, dict[str, int]]:
        if name == "second":
            raise KeyboardInterrupt
        return "# First\n", {"ratio": 1}

    monkeypatch.setattr(bench, "run", measured)
    monkeypatch.setattr(bench, "ANYWHERE", {"first": (), "second": ()})
    with pytest.raises(KeyboardInterrupt):
        bench.main(["--out", str(tmp_path)])
    [figures] = tmp_path.glob("*.json")
    assert json.loads(figures.read_text())["first"] == {"ratio": 1}


def test_some_benchmarks_leave_the_page_of_all_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "run", lambda name, options: (f"# {name}\n", {"ratio": 1}))
    monkeypatch.setattr(bench, "ANYWHERE", {"first": (), "second": ()})
    bench.main(["--out", str(tmp_path)])
    [whole] = tmp_path.glob("*.json")
    bench.main(["--only", "second", "--out", str(tmp_path)])
    assert set(json.loads(whole.read_text())) == {"machine", "first", "second"}
    assert {path.stem for path in tmp_path.glob("*.json")} == {whole.stem, f"{whole.stem}-second"}
