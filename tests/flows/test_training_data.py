"""Pairs to long samples, by the flow: what is broken is named, what is done is found, and a model trains on it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from flows.request import build_extension_request
from flows.training import TrainingReport, train
from flows.training_data import ExtensionReport, extend, plan
from model.config import ExtensionRequest
from model.errors import RequestError, StoreBusyError
from storage.datasets.extended import open_dataset
from storage.store_lock import StoreLock
from tests.pair_files import write_senorita
from tests.waiting import wait_for

PAIRS, CORRUPT, PORTRAIT = 8, (2, 5), (3,)


def request(dataset: Path, out: Path, **changes: Any) -> ExtensionRequest:
    """Tiny: 48 x 32 pixels, 33 + 36 frames, and an untrained FramePack, whose noise is let pass."""
    extension = {"frames": 36, "steps": 1, "most_drift": 1000.0, "least_frames": 36, **changes.pop("extension", {})}
    fixed = {
        "dataset": dataset,
        "out": out,
        "instruction_field": "enhanced_instruction",
        "framepack": "untrained",
        "weights": "demo",
        "clip_frames": 33,
        "validation_share": 0.4,
        "extension": extension,
        **changes,
    }
    return build_extension_request(fixed, {"height": 32, "width": 48})


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_senorita(tmp_path_factory.mktemp("pairs") / "senorita", PAIRS, CORRUPT, PORTRAIT)


@pytest.fixture(scope="module")
def extended(cluster: None, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExtensionReport]:
    out = tmp_path_factory.mktemp("extended") / "out"
    return out, extend(request(pairs, out))


def test_all_but_the_broken_pairs_become_samples(extended: tuple[Path, ExtensionReport]) -> None:
    out, report = extended
    assert (report.samples, report.reused, report.others, report.rejected) == (PAIRS - len(CORRUPT), 0, 0, {})
    assert {each["id"] for each in report.failed} == {f"obj_swap/target/{number:05d}.mp4" for number in CORRUPT}
    reasons = {Path(each["id"]).stem[-1]: each["reason"] for each in report.failed}
    assert reasons["2"].startswith("target: ")
    assert "in no folder and no archive" in reasons["5"]
    clips = open_dataset(out)
    assert list(clips.verify()) == []
    assert set(clips.rows["frames"].to_pylist()) == {33 + 36}
    shapes = {clip.id: clip.versions[0].shape for clip in clips}
    assert shapes["obj_swap/target/00000.mp4"] == (6 + 7, 16, 2, 8, 12)
    assert shapes["obj_swap/target/00003.mp4"] == (6 + 7, 16, 2, 12, 8), "a portrait pair stays upright"
    assert Path(report.page).read_text().count("data:image/jpeg") == report.samples


def test_repeating_makes_nothing_and_tries_the_broken_ones_again(
    pairs: Path, extended: tuple[Path, ExtensionReport]
) -> None:
    out, first = extended
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.arrow")}
    again = extend(request(pairs, out))
    assert (again.samples, again.reused, len(again.failed)) == (first.samples, first.samples, len(CORRUPT))
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.arrow")} == before


def test_fewer_pairs_later_lose_nothing(pairs: Path, extended: tuple[Path, ExtensionReport]) -> None:
    out, first = extended
    fewer = extend(request(pairs, out, limit=2))
    assert (fewer.samples, fewer.reused, fewer.others) == (2, 2, first.samples - 2)
    assert f"{fewer.others} more in the dataset, of pairs that this run did not name" in fewer.summary()
    assert len(open_dataset(out)) == first.samples


def test_other_settings_are_refused_where_a_dataset_is(pairs: Path, extended: tuple[Path, ExtensionReport]) -> None:
    with pytest.raises(RequestError, match=r"holds a dataset of other settings or models, .* choose another --out"):
        extend(request(pairs, extended[0], seed=1))


def test_a_second_run_is_told_who_works_in_the_folder(cluster: None, pairs: Path, tmp_path: Path) -> None:
    with (
        StoreLock(tmp_path),
        pytest.raises(StoreBusyError, match=f"{tmp_path}: process {os.getpid()} is writing to it; .* another --out"),
    ):
        extend(request(pairs, tmp_path))
    assert {path.name for path in tmp_path.iterdir()} <= {"store.lock", "store.json"}


def test_more_workers_than_there_is_room_for_are_refused(cluster: None, pairs: Path, tmp_path: Path) -> None:
    """Ray would wait for the room for ever."""
    cores = int(ray.cluster_resources()["CPU"])
    with pytest.raises(RequestError, match=f"workers {cores + 1}: this machine has room for {cores}, one CPU each"):
        extend(request(pairs, tmp_path / "out", workers=cores + 1))
    assert not (tmp_path / "out").exists()


def test_a_plan_counts_and_writes_nothing(pairs: Path, extended: tuple[Path, ExtensionReport], tmp_path: Path) -> None:
    fresh = plan(request(pairs, tmp_path / "out"))
    assert (fresh.pairs, fresh.done, fresh.left) == (PAIRS, 0, PAIRS)
    assert not (tmp_path / "out").exists()
    assert fresh.hours is not None, "a run of the same kind was measured"
    assert fresh.hours > 0
    here = plan(request(pairs, extended[0]))
    assert (here.done, here.left) == (PAIRS - len(CORRUPT), len(CORRUPT))
    other = plan(request(pairs, tmp_path / "out", extension={"steps": 2}))
    assert (other.hours, other.gigabytes) == (None, None)


def test_drift_is_rejected_by_kind_and_remembered(cluster: None, pairs: Path, tmp_path: Path) -> None:
    strict = request(pairs, tmp_path, limit=1, extension={"most_drift": 1.0, "redraws": 0})
    report = extend(strict)
    assert report.samples == 0
    ((reason, count),) = report.rejected.items()
    assert reason.startswith("drift of ")
    assert count == 1
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert extend(strict).rejected == report.rejected
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before, "nothing is drawn again"


@pytest.mark.slow
def test_the_same_command_goes_on_after_a_kill(
    pairs: Path, extended: tuple[Path, ExtensionReport], joining: dict[str, str], tmp_path: Path
) -> None:
    """kill -9 once two samples are there: they are found again, and the dataset is that of a quiet run to the bit."""
    options = "--framepack untrained --instruction-field enhanced_instruction --size 48x32 --frames 36 --steps 1"
    options += " --most-drift 1000 --least-frames 36 --validation-share 0.4 --json"
    out = ["--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "flows.cli", "extend", str(pairs), *out, *options.split()]
    log = tmp_path / "log"
    with log.open("wb") as file:
        run = subprocess.Popen(command, stdout=file, stderr=file, env=joining)
    wait_for(lambda: len(list(tmp_path.glob("out/unfinished/*.arrow"))) >= 2 or run.poll() is not None)
    assert run.poll() is None, log.read_text()
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    kept = len(list(tmp_path.glob("out/unfinished/*.arrow")))
    again = subprocess.run(command, capture_output=True, text=True, timeout=400, env=joining)
    assert again.returncode == 3, again.stderr
    report = json.loads(again.stdout.splitlines()[-1])
    assert report["reused"] == kept >= 2
    quiet, resumed = (open_dataset(out).manifest for out in (extended[0], tmp_path / "out"))
    assert resumed == quiet


def test_pairs_shorter_than_a_segment_are_rejected_and_not_tried_again(cluster: None, tmp_path: Path) -> None:
    dataset = write_senorita(tmp_path / "senorita", 2)
    short = request(dataset, tmp_path / "out", clip_frames=41, segment_frames=37)
    report = extend(short)
    assert (report.samples, report.failed) == (0, ())
    assert report.rejected == {"shorter than a segment of 37 frames": 2}
    assert extend(short).rejected == report.rejected


def test_pictures_of_several_sizes_need_batches_of_one(extended: tuple[Path, ExtensionReport], tmp_path: Path) -> None:
    out, _ = extended
    with pytest.raises(RequestError, match=r"latents of several sizes .*set training\.batch to 1, and accumulate"):
        train_on(out, tmp_path, batch=2)


def train_on(dataset: Path, folder: Path, batch: int) -> TrainingReport:
    source = [{"kind": "extended", "folder": os.path.relpath(dataset, folder)}]
    (folder / "manifest.yaml").write_text(yaml.safe_dump({"training": source, "validation": source}))
    window = {"frames": 5, "overlap": 1, "height": 32, "width": 48}
    mix = {"reverse_memory": False, "merge_blocks": [2, 3], "memories": [0, 0.5, 0.5]}
    edit = {"memory_source": False, "merging": {"blocks": [2, 3]}}
    training = {"steps": 4, "batch": batch, "mix": mix, "validate_every": 2, "save_every": 2, "validation_batches": 1}
    config = {
        "start": "demo",
        "preset": {"name": "on-extensions", "window": window, "edit": edit},
        "training": training,
    }
    (folder / "training.yaml").write_text(yaml.safe_dump(config))
    return train(folder / "manifest.yaml", folder / "training.yaml", folder / "out")


def test_the_demo_model_trains_on_it(extended: tuple[Path, ExtensionReport], tmp_path: Path) -> None:
    out, _ = extended
    report = train_on(out, tmp_path, batch=1)
    assert (report.trained, report.made) == (4, 0)
    assert report.clips == len(open_dataset(out, "training"))
    assert Path(report.model, "model_index.json").is_file()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("gone", "gone: no such folder or list"),
        ("empty", "of no known layout"),
        ("empty/worlds.yaml", "kind"),
    ],
)
def test_a_dataset_that_cannot_be_is_one_clear_error(place: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    if place.endswith(".yaml"):
        (tmp_path / place).write_text("clips: 3")
    with pytest.raises(RequestError, match=said):
        extend(request(tmp_path / place, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
