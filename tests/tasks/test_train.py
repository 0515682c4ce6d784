"""The tasks around a training run: naming it, finding it, and several workers that train as one."""

import json
from pathlib import Path
from typing import Any

import pytest

from model.config import training
from model.editor import MemoryEditor
from model.errors import RequestError
from tasks.prepare import RUN, describe_training
from tasks.train import MODEL, RECORD, find_trained, read_curve
from tests.training_files import write_files


def test_the_same_files_are_the_same_run(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    one, same = (describe_training(*files, tmp_path / "out", tmp_path) for _ in range(2))
    other = describe_training(*write_files(tmp_path, ("steps: 40", "steps: 50")), tmp_path / "out", tmp_path)
    assert one.id == same.id != other.id


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    files, out = write_files(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / RUN).write_text(json.dumps({"id": describe_training(*files, out, tmp_path).id}))
    describe_training(*files, out, tmp_path)
    with pytest.raises(RequestError, match="another --out"):
        describe_training(*write_files(tmp_path, ("batch: 4", "batch: 5")), out, tmp_path)


def test_adapters_without_peft_are_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_files(tmp_path, ("trained: all", "trained: lora"))
    describe_training(*files, tmp_path / "out", tmp_path)
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"peft is not installed; pip install 'memory-v2v\[lora\]'"):
        describe_training(*files, tmp_path / "out", tmp_path)


def test_clips_must_be_as_long_as_the_window(tmp_path: Path) -> None:
    files = write_files(tmp_path, ("frames: 9", "frames: 13"))
    with pytest.raises(RequestError, match=r"training\.0\.world\.segment_frames 9: expected .* \(13\)"):
        describe_training(*files, tmp_path / "out", tmp_path)


@pytest.mark.parametrize("missing", ["record", "model", "identity", None])
def test_a_run_is_finished_only_with_its_record_and_its_model(missing: str | None, tmp_path: Path) -> None:
    out = tmp_path / "out"
    work = describe_training(*write_files(tmp_path), out, tmp_path)
    (out / MODEL).mkdir(parents=True)
    if missing != "model":
        (out / MODEL / "model_index.json").touch()
    if missing != "record":
        (out / RECORD).write_text(json.dumps({"id": "another" if missing == "identity" else work.id}))
    assert (find_trained(work) is None) is (missing is not None)


@pytest.mark.slow
def test_two_workers_train_as_one(cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With gloo, under Ray Train: both step together and the loss falls, the same however state is kept.

    Paths are relative, as users give them, though workers have a working directory of their own.
    """
    from tests.flows.test_training import run_flow

    monkeypatch.chdir(tmp_path)
    curves = []
    for strategy in ("ddp", "fsdp"):
        folder = Path(strategy)
        folder.mkdir()
        lines = ("threads: 1", f"threads: 1\nworkers: 2\nstrategy: {strategy}")
        report: dict[str, Any] = run_flow(folder, lines)
        curves.append([point["validation"] for point in read_curve(folder / "out")])
        assert (report["steps"], report["trained"], report["resumed"]) == (40, 40, 0)
        MemoryEditor.from_pretrained(folder / "out" / MODEL)
    assert len(curves[0]) == 4
    assert curves[0][-1] < 0.8 * curves[0][0]
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)
