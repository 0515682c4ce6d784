"""`memory-v2v evaluate`: what is found, what it is held against, and that a fault that was put in is found."""

import csv
import json
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows.cli import main
from flows.edit import edit
from flows.request import build_request
from model.metrics.catalogue import CATALOGUE
from tests.edited_folders import FRAMES, brighter, flickering, scene, write_edit, write_frames
from tests.model.metrics.exports import export_all

VIDEOS = 6
UNWEIGHTED = {"temporal_flickering", "flicker", "warping_error", "worst_burst", "worst_seam", "colour_drift", "psnr"}
Call = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """The entry point in this process: exit code, the last line of standard output, and standard error."""

    def call(*words: str | Path) -> tuple[int, dict[str, Any], str]:
        monkeypatch.setattr(sys, "argv", ["memory-v2v", "evaluate", *map(str, words), "--json"])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = capfd.readouterr()
        lines = said.out.splitlines()
        return code, json.loads(lines[-1]) if lines else {}, said.err

    return call


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("originals")
    return [write_frames(folder / f"film{number}.mp4", scene(number)) for number in range(VIDEOS)]


def write_run(folder: Path, originals: list[Path], change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """A catalog's folder: below it an output folder a video, each with a copy of its source."""
    for number, original in enumerate(originals):
        write_edit(folder / original.stem, original, change(scene(number)), copy=scene(number))
    return folder


@pytest.fixture(scope="module")
def steady(originals: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("steady") / "steady", originals, brighter)


@pytest.fixture(scope="module")
def shaky(originals: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("shaky") / "shaky", originals, flickering)


def test_flicker_that_was_put_in_is_found(steady: Path, shaky: Path, tmp_path: Path, call: Call) -> None:
    code, found, said = call(shaky, "--against", steady, "--out", tmp_path)
    assert code == 0
    assert set(found) == set(CATALOGUE)
    for metric in ("flicker", "worst_burst", "warping_error"):
        row = found[metric]
        assert row["n"] == row["against"]["n"] == VIDEOS
        assert row["difference"]["value"] == pytest.approx(row["value"] - row["against"]["value"])
        assert 0 < row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"]
    assert found["temporal_flickering"]["difference"]["high"] < 0
    assert found["flicker"]["difference"]["value"] == pytest.approx(12, rel=0.15)
    assert "measured against the small copy" in said
    verdicts = {row["metric"]: row["verdict"] for row in csv.DictReader((tmp_path / "evaluation.csv").open())}
    assert verdicts["flicker"] == verdicts["temporal_flickering"] == "worse"


def test_a_run_does_not_differ_from_itself(steady: Path, tmp_path: Path, call: Call) -> None:
    _, found, _ = call(steady, "--against", steady, "--out", tmp_path)
    measured = [row for row in found.values() if "value" in row]
    assert len(measured) >= len(UNWEIGHTED)
    assert all(row["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0} for row in measured)


def test_every_metric_has_a_number_or_a_reason(steady: Path, call: Call) -> None:
    _, found, _ = call(steady)
    assert set(found) == set(CATALOGUE)
    for metric, row in found.items():
        if metric in UNWEIGHTED:
            assert set(row) == {"value", "low", "high", "n"}
            assert row["low"] <= row["value"] <= row["high"]
        elif "value" not in row:
            assert list(row) == ["not_measured"]
    assert "dino-vitb16" in found["subject_consistency"]["not_measured"]
    assert found["colour_drift"]["value"] < 1


def test_the_tables_say_the_same(steady: Path, call: Call) -> None:
    _, found, _ = call(steady)
    out = steady / "evaluation"
    rows = {row["metric"]: row for row in pq.read_table(out / "evaluation.parquet").to_pylist()}
    sheet = {row["metric"]: row for row in csv.DictReader((out / "evaluation.csv").open())}
    for metric in UNWEIGHTED:
        assert rows[metric]["value"] == found[metric]["value"] == float(sheet[metric]["value"])
    assert rows["dino_f"]["not_measured"] == found["dino_f"]["not_measured"]
    assert len(pq.read_table(out / "videos.parquet")) == VIDEOS
    assert f"| `flicker` | lower; {CATALOGUE['flicker'].unit} |" in (out / "evaluation.md").read_text()
    with Image.open(out / "evaluation.png") as picture:
        assert min(picture.size) > 300


def test_what_was_measured_is_not_measured_again(steady: Path, call: Call) -> None:
    first = call(steady)[1]
    records = steady / "evaluation" / "measurements.jsonl"
    before = records.read_bytes()
    records.write_bytes(before + b'{"key": "cut o')
    assert call(steady)[1] == first
    assert records.read_bytes().startswith(before)
    assert len(before.splitlines()) == VIDEOS


def test_the_original_is_preferred_and_must_be_the_one(
    originals: list[Path], steady: Path, tmp_path: Path, call: Call
) -> None:
    _, found, said = call(steady, "--source", originals[0].parent, "--out", tmp_path)
    assert "small copy" not in said
    assert found["psnr"]["n"] == VIDEOS
    _, _, said = call(steady, "--source", originals[1], "--out", tmp_path)
    assert f"{VIDEOS - 1} of {VIDEOS} videos were measured against the small copy" in said
    other = write_frames(tmp_path / "films" / originals[0].name, scene(9))
    code, _, said = call(steady, "--source", other.parent)
    assert code == 2
    assert "its content has changed" in said
    code, _, said = call(steady, "--source", other)
    assert code == 2
    assert f"none of the {VIDEOS} videos was made of it" in said


def test_originals_are_found_at_any_depth(originals: list[Path], tmp_path: Path, call: Call) -> None:
    """Also where others have their names: content tells."""
    run, footage = write_run(tmp_path / "run", originals[:2], brighter), tmp_path / "footage"
    for number, original in enumerate(originals[:2]):
        write_frames(footage / original.name, scene(7 + number))
        (footage / f"day {number}" / "a").mkdir(parents=True)
        copy(original, footage / f"day {number}" / "a" / original.name)
    code, found, said = call(run, "--source", footage)
    assert (code, found["psnr"]["n"]) == (0, 2)
    assert "small copy" not in said


@pytest.mark.parametrize("judges", [False, True])
def test_what_cannot_be_measured_is_named_and_keeps_nobody(
    judges: bool,
    originals: list[Path],
    tmp_path: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """A page without its copy of the source, and a copy that is damaged; a repetition ends as this did."""
    if judges:
        request.getfixturevalue("cluster")
        monkeypatch.setattr("flows.evaluation.HERE_FRAMES", 0)
    run = write_run(tmp_path / "run", originals[:4], brighter)
    (run / "film0" / "film0_edit_v001_review" / "source.mp4").unlink()
    (run / "film1" / "film1_edit_v001_review" / "source.mp4").write_bytes(b"no video")
    for _ in range(2):
        code, found, said = call(run)
        assert (code, found["psnr"]["n"]) == (3, 2)
        assert set(found) == {*CATALOGUE, "refused"}
        lost, damaged = found["refused"]
        assert lost.endswith(
            "film0_edit_v001.mp4: its review page has no copy of the source; name the original with --source"
        )
        assert "film1_edit_v001.mp4: " in damaged
        assert "not a video of an accepted kind" in damaged
        assert lost in said
        page = unescape((run / "evaluation" / "evaluation.md").read_text())
        assert "2 videos could not be measured" in page
        assert f"- {lost}" in page
        assert len((run / "evaluation" / "measurements.jsonl").read_text().splitlines()) == 2
    code, found, said = call(run, "--source", originals[0].parent)
    assert (code, found["psnr"]["n"]) == (0, 4)


def test_pairs_are_those_that_can_be_measured(originals: list[Path], tmp_path: Path, call: Call) -> None:
    runs = [write_run(tmp_path / name, originals[:2], change) for name, change in (("a", brighter), ("b", flickering))]
    (runs[1] / "film0" / "film0_edit_v001_review" / "source.mp4").write_bytes(b"no video")
    code, found, said = call(runs[0], "--against", runs[1])
    assert (code, found["flicker"]["n"]) == (3, 1)
    assert "1 pairs of videos, of 2 and 1" in said
    (runs[1] / "film1" / "film1_edit_v001_review" / "source.mp4").unlink()
    code, _, said = call(runs[0], "--against", runs[1])
    assert code == 2
    assert "nothing to pair" in said
    assert "film1_edit_v001.mp4: its review page has no copy" in said


def test_where_nothing_can_be_measured_it_is_an_error(originals: list[Path], tmp_path: Path, call: Call) -> None:
    run = write_run(tmp_path / "run", originals[:2], brighter)
    for number in range(2):
        (run / f"film{number}" / f"film{number}_edit_v001_review" / "source.mp4").write_bytes(b"no video")
    code, found, said = call(run)
    assert (code, found) == (2, {})
    assert "none of the 2 videos can be measured" in said
    assert not (run / "evaluation").exists()


def test_the_newest_version_of_each_turn_counts(originals: list[Path], tmp_path: Path, call: Call) -> None:
    for change in (flickering, brighter):
        last = write_edit(tmp_path / "out", originals[0], change(scene(0)), copy=scene(0))
    write_edit(tmp_path / "out", originals[0], flickering(scene(0)), copy=scene(0), asked="snow", session="other")
    _, found, _ = call(tmp_path / "out", "--session", "film")
    assert found["flicker"]["value"] < 1
    _, both, _ = call(tmp_path / "out", "--session", "film", "--against-session", "other")
    assert both["flicker"]["difference"]["value"] < -5
    assert both["flicker"]["n"] == 1
    last.unlink()
    _, found, _ = call(tmp_path / "out", "--session", "film")
    assert found["flicker"]["value"] > 5


def test_a_view_is_not_held_against_another_picture(originals: list[Path], tmp_path: Path, call: Call) -> None:
    """But against the other views of its session."""
    for number in (0, 1):
        asked = f"pan {number}"
        write_edit(tmp_path, originals[0], scene(0), asked=asked, kind="view", copy=scene(0))
    _, found, _ = call(tmp_path)
    assert "novel view" in found["psnr"]["not_measured"]
    assert found["flow_view_distance"]["value"] == pytest.approx(0, abs=0.01)
    assert found["warping_error"]["value"] < 0.01


def no_folder(_: Path, originals: list[Path]) -> list[str | Path]:
    return ["/nowhere/edited"]


def empty(folder: Path, originals: list[Path]) -> list[str | Path]:
    return [folder]


def unfinished(folder: Path, originals: list[Path]) -> list[str | Path]:
    write_edit(folder, originals[0], brighter(scene(0))).unlink()
    return [folder]


def no_source(folder: Path, originals: list[Path]) -> list[str | Path]:
    write_edit(folder, originals[0], brighter(scene(0)))
    return [folder]


def no_session(folder: Path, originals: list[Path]) -> list[str | Path]:
    write_edit(folder, originals[0], brighter(scene(0)), copy=scene(0))
    return [folder, "--session", "flim"]


def nothing_in_common(folder: Path, originals: list[Path]) -> list[str | Path]:
    for number in (0, 1):
        write_edit(folder / str(number), originals[number], brighter(scene(number)), copy=scene(number))
    return [folder / "0", "--against", folder / "1"]


def another_size(folder: Path, originals: list[Path]) -> list[str | Path]:
    write_edit(folder, originals[0], brighter(scene(0))[:, :32])
    return [folder, "--source", originals[0]]


def another_length(folder: Path, originals: list[Path]) -> list[str | Path]:
    write_edit(folder, originals[0], brighter(scene(0)), copy=scene(0)[: FRAMES - 1])
    return [folder]


def no_instruments(folder: Path, originals: list[Path]) -> list[str | Path]:
    write_edit(folder, originals[0], brighter(scene(0)), copy=scene(0))
    return [folder, "--instruments", folder / "absent"]


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (no_folder, "/nowhere/edited: no such folder"),
        (empty, "no video was edited in it"),
        (unfinished, "holds no finished video"),
        (no_source, "name the original with --source"),
        (no_session, "flim: no such session"),
        (nothing_in_common, "nothing to pair"),
        (another_size, "is 64x32, but its source"),
        (another_length, "must be equally long"),
        (no_instruments, "docs/metrics.md"),
    ],
)
def test_a_mistake_is_one_clear_line(
    prepare: Callable[[Path, list[Path]], list[str | Path]],
    told: str,
    originals: list[Path],
    tmp_path: Path,
    call: Call,
) -> None:
    code, found, said = call(*prepare(tmp_path, originals))
    assert (code, found) == (2, {})
    assert len(said.strip().splitlines()) == 1, said
    assert told in said
    assert not (tmp_path / "evaluation").exists()


def test_a_real_edit_is_measured_by_judges_with_instruments_as_it_is_here(
    cluster: None, film: Path, tmp_path: Path, call: Call
) -> None:
    """A rehearsal hands the pictures back, so what is left is what the codecs and the scaling lose."""
    fixed = {"video": film, "instruction": "night", "out": tmp_path / "out", "weights": "rehearsal:0"}
    edit(build_request(fixed, {"window": {"frames": 17}, "retrieval": {}, "sampling": {}}))
    _, here, _ = call(tmp_path / "out", "--source", film)
    assert here["psnr"]["value"] > 25
    assert here["worst_seam"]["value"] < 1.5
    (tmp_path / "instruments").mkdir()
    export_all(tmp_path / "instruments")
    _, there, _ = call(tmp_path / "out", "--source", film, "--instruments", tmp_path / "instruments")
    assert {metric: there[metric] for metric in UNWEIGHTED} == {metric: here[metric] for metric in UNWEIGHTED}
    for metric in ("imaging_quality", "motion_smoothness", "st_lpips"):
        assert "not_measured" in here[metric]
        assert 0 < there[metric]["value"] < 1
    assert str(tmp_path / "instruments" / "dino-vitb16") in there["subject_consistency"]["not_measured"]
