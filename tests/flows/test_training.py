"""The training flow from two files to a model, repeated and cut off."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from PIL import Image

from flows.training import TrainingReport, train, train_model
from model.config import EditConfig, SamplingConfig
from model.errors import RequestError, StoreBusyError, WeightsError
from storage.datasets.encoded import read_clip
from storage.store_lock import StoreLock
from tests.pair_files import FRAMES, write_multicam
from tests.training_files import write_files
from tests.waiting import wait_for


def run_flow(folder: Path, *changes: tuple[str, str]) -> dict[str, Any]:
    return train_model(*write_files(folder, *changes), folder / "out")


@pytest.fixture(scope="module")
def trained(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingReport]:
    folder = tmp_path_factory.mktemp("training")
    return folder, train(*write_files(folder), folder / "out")


def test_everything_is_written(trained: tuple[Path, TrainingReport]) -> None:
    folder, report = trained
    out = folder / "out"
    assert (report.steps, report.trained, report.resumed, report.clips, report.made) == (40, 40, 0, 6, 9)
    curve = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
    assert curve[-1]["validation"] == report.validation < 0.8 * curve[0]["validation"]
    with Image.open(report.curve) as picture:
        assert picture.size == (960, 560)
    record = json.loads((out / "training.json").read_text())
    assert record["clips"]["training"]["count"] == 6
    assert record["last_run"]["steps_per_second"] > 0
    assert record["config"]["small"]["width"] == 32
    assert len(list((out / "clips").iterdir())) == 9
    assert (out / "model/memory_v2v.json").is_file()


def test_repeating_trains_nothing(trained: tuple[Path, TrainingReport]) -> None:
    folder, first = trained
    before = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*") if path.is_file()}
    again = train(*write_files(folder), folder / "out")
    assert (again.trained, again.made, again.validation) == (0, 0, first.validation)
    assert "nothing left to train" in again.summary()
    assert {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*") if path.is_file()} == before


def test_the_model_is_a_preset_of_its_own(trained: tuple[Path, TrainingReport]) -> None:
    from flows.request import build_request

    choices = {"window": {}, "retrieval": {}, "sampling": {"steps": 2}}
    fixed = {"video": Path("x.mp4"), "instruction": "x", "out": Path("x"), "weights": trained[1].model}
    request = build_request(fixed, choices)
    assert (request.window.frames, request.window.height) == (9, 32)
    assert request.edit == EditConfig(sampling=SamplingConfig(steps=2))


def test_films_of_many_cameras_train_a_model_of_views(cluster: None, tmp_path: Path) -> None:
    """A scene is a clip whose turns share the user's video; its codec is fitted to panoramas."""
    for split in ("train", "val"):
        write_multicam(tmp_path / split, scenes=2)
    drawn = "{kind: panorama, clips: 4, world: {size: 32, segments: 6}}"
    sources = [f"[{drawn}, {{kind: multicam, folder: {tmp_path / 'train'}}}]", "[{kind: multicam, folder: val}]"]
    manifest, config = write_files(tmp_path, ("small: {", "small: {kind: recam, "), ("steps: 40", "steps: 10"))
    manifest.write_text("training: {}\nvalidation: {}\n".format(*sources))
    report = train(manifest, config, tmp_path / "out")
    assert (report.steps, report.clips, report.made) == (10, 6, 8)
    segments = {len(read_clip(path)) for path in (tmp_path / "out/clips").iterdir()}
    assert segments == {6, 2 * (FRAMES // 9)}
    manifest.write_text("training: {0}\nvalidation: {0}\n".format("[{kind: multicam, folder: val}]"))
    with pytest.raises(RequestError, match=r"validation\.0 has the scenes of training"):
        train(manifest, config, tmp_path / "other")


def test_encoded_clips_are_a_manifest(trained: tuple[Path, TrainingReport], tmp_path: Path) -> None:
    """Those of a run, listed in an index, train another model that starts from the trained one."""
    folder, report = trained
    paths = sorted((folder / "out/clips").iterdir())
    lines = [
        {"path": path.name, "split": "validation" if number < 3 else "training"} for number, path in enumerate(paths)
    ]
    index = folder / "out/clips/index.jsonl"
    index.write_text("".join(json.dumps(line) + "\n" for line in lines))
    small = "small: {width: 32, heads: 2, depth: 2, feed_forward: 64, channels: 8, text_width: 16}"
    changes = ((small, f"start: {report.model}"), ("steps: 40", "steps: 10"))
    _, config = write_files(tmp_path, *changes)
    again = train(index, config, tmp_path / "out")
    index.unlink()
    assert (again.clips, again.made, again.trained) == (6, 0, 10)


HELD_UP = """
import runpy
import flows.training
from tests.waiting import stand_still_after
stand_still_after(flows.training, "train_on_clips")
runpy.run_module("flows.cli", run_name="__main__")
"""
"""The command line, which never publishes what it trained."""


def launch(folder: Path, log: Path, env: dict[str, str], *program: str) -> "subprocess.Popen[bytes]":
    files = write_files(folder)
    command = [sys.executable, *(program or ("-m", "flows.cli")), "train", str(files[0]), "--config", str(files[1])]
    with log.open("wb") as file:
        return subprocess.Popen([*command, "--out", str(folder / "out"), "--json"], stdout=file, stderr=file, env=env)


def test_the_same_command_goes_on_after_a_kill(
    trained: tuple[Path, TrainingReport], joining: dict[str, str], tmp_path: Path
) -> None:
    run = launch(tmp_path, tmp_path / "first.log", joining, "-c", HELD_UP)
    wait_for(lambda: list(tmp_path.glob("out/state/step-*.safetensors")) or run.poll() is not None)
    assert run.poll() is None, (tmp_path / "first.log").read_text()
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "out/training.json").exists()
    again = launch(tmp_path, tmp_path / "second.log", joining)
    assert again.wait(timeout=400) == 0, (tmp_path / "second.log").read_text()
    report = json.loads((tmp_path / "second.log").read_text().splitlines()[-1])
    assert report["made"] == 0
    assert report["resumed"] >= 10
    assert report["trained"] == 40 - report["resumed"]
    assert (tmp_path / "out/curve.jsonl").read_text() == (trained[0] / "out/curve.jsonl").read_text()


def test_nothing_is_written_where_the_model_to_go_on_from_is_missing(cluster: None, tmp_path: Path) -> None:
    small = "small: {width: 32, heads: 2, depth: 2, feed_forward: 64, channels: 8, text_width: 16}"
    with pytest.raises(WeightsError, match=r"nowhere: no such model folder"):
        run_flow(tmp_path, (small, "start: ./nowhere"))
    assert not (tmp_path / "out").exists()


def test_a_second_run_is_told_who_works_in_the_folder(cluster: None, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with StoreLock(out), pytest.raises(StoreBusyError, match=f"{out}: process {os.getpid()} is writing to it"):
        run_flow(tmp_path)
    assert {path.name for path in out.iterdir()} <= {"store.lock", "store.json"}


def test_more_workers_than_there_is_room_for_are_refused(cluster: None, tmp_path: Path) -> None:
    """Ray would wait for the room for ever."""
    cores = int(ray.cluster_resources()["CPU"])
    told = f"workers {cores + 1}: this machine has room for {cores}, one CPU each; set RAY_ADDRESS"
    with pytest.raises(RequestError, match=told):
        run_flow(tmp_path, ("threads: 1", f"threads: 1\nworkers: {cores + 1}"))
    assert not (tmp_path / "out").exists()
