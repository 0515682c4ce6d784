"""The command that proves the claim: its contract, and the pages that it writes."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

import benchmarks.consistency as consistency
from model.metrics.agreement import Figure

CONTRACT = {
    "agreement", "agreement_after_gap", "edit_rate", "wrongly_changed", "instruction_followed", "psnr_outside",
    "seconds_per_segment",
}  # fmt: skip
NINE = ("ind", "fifo", "memory", "memory_merging", "discard", "recency", "random", "cached", "shuffled")
SMALL = ["--videos", "2", "--segments", "10", "--least-gap", "4", "--looks", "0", "--methods", "ind", "memory"]


DEMO = Path(__file__).resolve().parents[2] / "checkpoints" / "demo"


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The shipped model in 2 steps a segment: figures of the same form, in a sixth of the time."""
    folder = shutil.copytree(DEMO, tmp_path_factory.mktemp("hasty") / "demo")
    preset = json.loads((folder / "memory_v2v.json").read_text())
    preset["edit"]["sampling"]["steps"] = 2
    (folder / "memory_v2v.json").write_text(json.dumps(preset))
    return str(folder)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["consistency.py", "--here", *SMALL, *arguments])
    consistency.main()


def test_by_default_all_methods_and_enough_videos() -> None:
    config, _ = consistency.parse([])
    assert config.methods == NINE
    assert config.videos >= 60
    assert config.segments >= 10


def test_every_figure_has_its_interval(
    hasty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = tmp_path / "records.jsonl"
    run(monkeypatch, "--weights", hasty, "--records", str(records), "--json")
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(figures) == {"ind", "memory"}
    for row in figures.values():
        assert set(row) >= CONTRACT
        assert all(set(figure) == {"value", "low", "high", "n"} for figure in row.values())
    assert figures["memory"]["psnr_outside"]["value"] > 25
    before = records.read_bytes()
    run(monkeypatch, "--weights", hasty, "--records", str(records), "--json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == figures
    assert records.read_bytes() == before, "what was judged is not judged again"


def test_the_pages_are_made_from_the_figures(hasty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{consistency.BEGIN}\nold\n{consistency.END}\nafter\n")
    monkeypatch.setattr(consistency, "ROOT", tmp_path)
    monkeypatch.setattr(consistency, "SHOWN_VIDEOS", 1)
    for name in ("PROOF", "PLOT", "SHEET"):
        monkeypatch.setattr(consistency, name, tmp_path / name)
    config, _ = consistency.parse([*SMALL[:-3], "--weights", hasty, "--records", str(tmp_path / "records")])
    row = {name: Figure(0.5, 0.25, 0.75, 2) for name in consistency.COLUMNS}
    consistency.write_proof(config, dict.fromkeys(NINE, row))
    page, text = (tmp_path / "PROOF").read_text(), readme.read_text()
    assert "| agreement after gaps: memory | at least 0.95 | 0.50 | **no** |" in page
    assert "| agreement after gaps: every segment alone | at most 0.35 | 0.50 | **no** |" in page
    assert "| `memory` | 0.50 (0.25, 0.75) |" in page
    assert text.startswith("before\n")
    assert "| `cached` | 0.50 (0.25, 0.75) |" in text
    assert text.endswith("after\n")
    assert "old" not in text
    for name in ("PLOT", "SHEET"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 100


def test_every_training_seed_is_told_beside_all_of_them() -> None:
    config, _ = consistency.parse([*SMALL[:-3], "--weights", "one", "other"])

    def figures(value: float) -> dict[str, dict[str, Figure]]:
        return {method: {name: Figure(value, 0.25, 0.75, 2) for name in consistency.COLUMNS} for method in NINE}

    page = consistency.as_page(config, figures(0.5), [figures(0.4), figures(0.96)])
    assert "2 training seeds" in page
    assert "| claim | bound | measured | by training seed | holds |\n|---|---|---|---|---|\n" in page
    assert "| agreement after gaps: memory | at least 0.95 | 0.50 | 0.40, 0.96 | **no** |" in page


def test_a_page_of_some_methods_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        consistency.parse(["--write", "--methods", "ind", "memory"])
    assert "--write needs all methods" in capsys.readouterr().err


def test_videos_that_are_too_short_are_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        consistency.parse(["--segments", "6"])
    assert "error: segments 6: Input should be greater than or equal to 10" in capsys.readouterr().err


def test_an_unknown_method_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["consistency.py", "--methods", "magic", "--records", str(tmp_path / "r.jsonl")])
    with pytest.raises(SystemExit, match="methods magic: expected some of ind, fifo") as end:
        consistency.main()
    assert "\n" not in str(end.value)
