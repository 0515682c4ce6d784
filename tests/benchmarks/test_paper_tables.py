"""The paper's tables and figures as commands: every cell has a number of this model, or says what it needs."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import benchmarks.paper as paper
import model.metrics.studies as studies
from tests.edited_folders import brighter, scene, write_edit, write_frames

Run = Callable[..., tuple[dict[str, Any], str]]
CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bundled models in one step a segment: figures of the same form, in a twelfth of the time."""
    folders = {}
    for name in ("demo", "demo-views"):
        folder = shutil.copytree(CHECKPOINTS / name, tmp_path_factory.mktemp("hasty") / name)
        preset = json.loads((folder / "memory_v2v.json").read_text())
        preset["edit"]["sampling"] |= {"steps": 1, "first_guidance": 1.0}
        (folder / "memory_v2v.json").write_text(json.dumps(preset))
        folders[name] = str(folder)
    return folders


@pytest.fixture
def run(
    hasty: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    def run(what: str, weights: str, *words: str) -> tuple[dict[str, Any], str]:
        options = ["--weights", hasty[weights], "--out", str(tmp_path), "--memories", "3", "--json", *words]
        monkeypatch.setattr(sys, "argv", ["paper.py", what, *options])
        paper.main()
        said = capsys.readouterr()
        return json.loads(said.out.splitlines()[-1]), said.err

    return run


def test_table_1_holds_the_first_block_of_each_third_against_later_ones(run: Run) -> None:
    rows, table = run("table1", "demo")
    assert "block 1" in rows
    for row in rows.values():
        assert list(row) == ["pearson", "spearman", "bottom_overlap"]
        assert all(-1 <= spread["mean"] <= 1 and spread["n"] > 0 for spread in row.values())
    assert "[0.608]" in table


def test_fig_8_tells_views_apart_by_block(run: Run, tmp_path: Path) -> None:
    rows, _ = run("fig8", "demo-views")
    assert set(rows) == {"related view", "unrelated view", "user's video"}
    assert len({len(row) for row in rows.values()}) == 1
    with Image.open(tmp_path / "fig8.png") as picture:
        assert min(picture.size) > 100


def test_fig_7_and_fig_9_have_every_way(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "COUNTS", (0, 3))  # the demo has two of the finest
    monkeypatch.setattr(studies, "REPEATS", 1)
    rows, _ = run("fig7", "demo")
    assert set(rows) == {"merge_low", "discard_low", "merge_high"}
    rows, _ = run("fig9", "demo")
    assert rows["uniform"]["3"]["gigaflops"] > rows["dynamic"]["3"]["gigaflops"] > rows["dynamic"]["0"]["gigaflops"]
    assert {path.name for path in tmp_path.glob("*.png")} == {"fig9_gigaflops.png", "fig9_seconds.png"}


def test_a_table_is_filled_from_finished_edits(tmp_path: Path) -> None:
    """Of methods that others made, and of metrics whose weights are not here, it says what they need."""
    original = write_frames(tmp_path / "film.mp4", scene(0))
    options = paper.parse(["table3", "--out", str(tmp_path / "out"), "--weights", "lucy/"])
    ways = ("LucyEdit (Ind)", "Memory-V2V")
    for name in ways:
        write_edit(paper._place(options, name) / "film", original, brighter(scene(0)), copy=scene(0))
    rows = paper._measured(options, ways, paper.TABLE3)
    assert list(rows) == [*ways, "TokenFlow", "RAVE", "CCEdit"]
    for name in ways:
        assert 0.5 < rows[name]["temporal_flickering"]["value"] < 1
        assert "dinov2-base" in rows[name]["dino_f"]["not_measured"]
    table = paper.as_table("table3", rows)
    assert "not measured: needs TokenFlow's own code and weights [0.9191]" in table
    assert table.count("\n") == 1 + len(rows)


def test_what_the_paper_reports_fits_our_columns() -> None:
    columns = {"table1": 3, "table2": len(paper.TABLE2), "table3": len(paper.TABLE3), "table4": len(paper.TABLE4) + 1}
    assert {what: {len(row) for row in rows.values()} for what, rows in paper.PAPER.items()} == {
        what: {count} for what, count in columns.items()
    }


def test_a_model_of_the_other_kind_is_one_clear_line(run: Run) -> None:
    with pytest.raises(SystemExit, match=r"Fig\. 8 is of novel views") as end:
        run("fig8", "demo")
    assert "\n" not in str(end.value)
