"""The tasks around a training run: naming it, finding it, and several workers that train as one."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.config import training
from model.editor import MemoryEditor
from model.errors import RequestError, RunError
from model.types import TrainingClip
from storage.datasets.encoded import write_clip
from storage.datasets.extended import find_samples, pack, read_manifest, write_sample
from tasks.actors.trainer import require_unchanged
from tasks.prepare import RUN, describe_training
from tasks.train import MODEL, RECORD, find_trained, read_curve
from tests.storage.datasets.test_extended import SAID, sample
from tests.training_files import write_files

ON_EXTENSIONS = (
    ("reverse_memory: true", "reverse_memory: false"),
    ("width: 32}}", "width: 32}, edit: {memory_source: false}}"),
)


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


@pytest.mark.parametrize(
    ("clips", "model", "said"),
    [
        ("synthetic", "recam", r"training\.0 kind synthetic: its clips have no cameras, which a model for novel views"),
        ("panorama", "lucy-edit", r"training\.0 kind panorama: its clips have cameras, which a model that edits"),
        ("encoded", "recam", r"training\.0 kind encoded: its clips have no cameras"),
        ("synthetic", "lucy-edit", None),
        ("panorama", "recam", None),
        ("encoded", "lucy-edit", None),
    ],
)
def test_clips_have_cameras_where_the_model_is_told_them(
    clips: str, model: str, said: str | None, tmp_path: Path
) -> None:
    manifest, config = write_files(tmp_path, ("small: {", f"small: {{kind: {model}, "))
    if clips == "encoded":
        latents = np.zeros((2, 4, 3, 2, 2), np.float16)
        clip = TrainingClip("a", "edit", False, latents, (latents,), np.ones((2, 3, 2, 2), bool))
        write_clip(tmp_path / "a.safetensors", clip, "codec")
        manifest = tmp_path / "index.jsonl"
        manifest.write_text(
            "".join(
                json.dumps({"path": "a.safetensors", "split": split}) + "\n" for split in ("training", "validation")
            )
        )
    else:
        manifest.write_text(manifest.read_text().replace("synthetic", clips))
    with pytest.raises(RequestError, match=said) if said else nullcontext():
        describe_training(manifest, config, tmp_path / "out", tmp_path)


@pytest.mark.parametrize(
    ("source", "changes", "said"),
    [
        ("synthetic", {"mix": "{}"}, r"training\.mix\.reverse_memory false: .*; set it to true"),
        ("synthetic", {"edit": "{reverse_memory: false}"}, r"training\.mix\.reverse_memory true: .*; set it to false"),
        ("extended", {"edit": "{memory_source: false}"}, r"true: .* extended sources .*; set it to false"),
        ("extended", {"mix": "{}"}, r"training\.0 kind extended: .*; set preset\.edit\.memory_source to false"),
        ("both", {}, r"sources: extended clips .* train on extended sources alone, or on none"),
        ("synthetic", {"edit": "{tokens: {fine_patch: 2}}"}, r"mix\.patches \[4, 8\]: .* uses 2 .* to \[2, 8\]"),
        ("synthetic", {"edit": "{tokens: {fine_patch: 2, fine: 0}}"}, None),
        ("synthetic", {"edit": "{merging: {blocks: [2]}}"}, r"mix\.merge_blocks not given: .* is \[2\]; set one"),
        ("synthetic", {"edit": "{merging: {mode: 'off', blocks: [2]}}"}, None),
        ("extended", {"mix": "{}", "edit": "{memory_source: false}"}, None),
    ],
)
def test_a_sample_is_like_an_edit_by_the_preset(
    source: str, changes: dict[str, str], said: str | None, tmp_path: Path
) -> None:
    given = {"mix": "{reverse_memory: true}", "edit": "{}"} | changes
    manifest, config = write_files(
        tmp_path,
        ("mix: {reverse_memory: true}", f"mix: {given['mix']}"),
        ("width: 32}}", f"width: 32}}, edit: {given['edit']}}}"),
    )
    for number, split in enumerate(("training", "validation")):
        write_sample(tmp_path / "extended", f"n{number}", sample(number, split=split))
    pack(tmp_path / "extended", ["n0", "n1"], SAID)
    extended = "  - {kind: extended, folder: extended}\n"
    drawn = manifest.read_text() if source != "extended" else f"training:\n{extended}validation:\n"
    manifest.write_text(drawn + extended if source != "synthetic" else drawn)
    with pytest.raises(RequestError, match=said) if said else nullcontext():
        describe_training(manifest, config, tmp_path / "out", tmp_path)


@pytest.mark.parametrize("recipe", ["checkpoints/demo", "checkpoints/demo-views", "benchmarks/larger"])
def test_committed_recipes_are_like_edits_by_their_presets(recipe: str, tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / recipe
    work = describe_training(folder / "manifest.yaml", folder / "training.yaml", tmp_path / "out", tmp_path)
    assert work.config.preset.name == folder.name


def test_a_dataset_that_was_extended_meanwhile_is_refused(tmp_path: Path) -> None:
    """A worker that starts again would go on with other samples."""
    folder, (_, config) = tmp_path / "extended", write_files(tmp_path, *ON_EXTENSIONS)

    def extend(*numbers: int) -> None:
        for number in numbers:
            write_sample(folder, f"n{number}", sample(number, split="validation" if number == 0 else "training"))
        pack(folder, sorted({*find_samples(folder), *(read_manifest(folder) or {"names": []})["names"]}), SAID)

    extend(0, 1)
    source = [{"kind": "extended", "folder": "extended"}]
    (tmp_path / "manifest.yaml").write_text(json.dumps({"training": source, "validation": source}))
    work = describe_training(tmp_path / "manifest.yaml", config, tmp_path / "out", tmp_path)
    assert list(work.manifests) == [folder.resolve()]
    require_unchanged(work.manifests)
    extend(2)
    with pytest.raises(RunError, match="extended: was extended while a training uses it"):
        require_unchanged(work.manifests)


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
