"""One worker from a start to a trained folder, killed for real on the way."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.backbones.backbone import Codec
from model.backbones.block import MemoryBlock
from model.config import TrainingRunConfig
from model.editor import MemoryEditor
from model.training.loop import Worker
from model.training.run import build_start, encode_segments, encode_texts, pool_regions, run_training
from model.types import TrainingClip
from storage.datasets.encoded import EncodedClips, clip_path, write_clip
from storage.datasets.manifest import all_sentences, read_dataset, read_run_config
from storage.datasets.rendered import draw_clip, drawings_of
from tests.training_files import write_files
from tests.waiting import wait_for

LENGTH = 9
WORKER = """
import sys
from pathlib import Path
from model.training import loop
from model.training.loop import Worker
from model.training.run import run_training
from storage.datasets.encoded import EncodedClips
from storage.datasets.manifest import read_run_config
from tests.waiting import stand_still_after
stand_still_after(loop, "save_state")
folder = Path(sys.argv[1])
clips = [EncodedClips([(sorted((folder / split).iterdir()), 1.0)]) for split in ("training", "validation")]
config = read_run_config(folder / "training.yaml")
texts = clips[0].instructions | clips[1].instructions
run_training(folder / "start", tuple(clips), texts, config, Path(sys.argv[2]), "cpu", 1, Worker())
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both files, a start, and the clips of both lists."""
    folder = tmp_path_factory.mktemp("run")
    manifest, config_path = write_files(folder)
    dataset, config = read_dataset(manifest), read_run_config(config_path)
    drawn = {
        split: [draw_clip(drawing, folder) for drawing in drawings_of(getattr(dataset, split)[0])]
        for split in ("training", "validation")
    }
    pictures = [frames for clip in drawn["training"][:4] for frames in (clip.source, clip.versions[0])]
    build_start(folder / "start", pictures, all_sentences(), config)
    codec = Codec.load(folder / "start")
    for split, clips in drawn.items():
        for each in clips:
            source, *versions = (encode_segments(codec, frames, LENGTH) for frames in (each.source, *each.versions))
            regions = pool_regions(each.regions, LENGTH, source.shape[3])
            clip = TrainingClip(each.id, each.instruction, each.fixed, source, tuple(versions), regions)
            write_clip(clip_path(folder / split, each.id), clip, "codec")
    return folder


def clips_of(folder: Path) -> tuple[EncodedClips, EncodedClips]:
    one, other = (EncodedClips([(sorted((folder / split).iterdir()), 1.0)]) for split in ("training", "validation"))
    return one, other


def texts_of(folder: Path) -> set[str]:
    return set().union(*(clips.instructions for clips in clips_of(folder)))


def shortened(folder: Path, **changes: object) -> TrainingRunConfig:
    config = read_run_config(folder / "training.yaml")
    training = config.training.model_dump() | {"steps": 4, "validate_every": 2, "save_every": 2}
    training["optim"] |= changes.pop("optim", {})
    training["checkpointing"] = changes.pop("checkpointing", False)
    return TrainingRunConfig.model_validate(config.model_dump() | {"training": training, **changes})


@pytest.fixture(scope="module")
def quiet(prepared: Path) -> Path:
    """What an undisturbed run leaves."""
    out = prepared / "quiet"
    config = read_run_config(prepared / "training.yaml")
    run_training(prepared / "start", clips_of(prepared), texts_of(prepared), config, out, "cpu", 1, Worker())
    return out


def test_loss_falls(quiet: Path) -> None:
    curve = [json.loads(line) for line in (quiet / "curve.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curve] == [10, 20, 30, 40]
    assert curve[-1]["validation"] < 0.8 * curve[0]["validation"]


def test_the_model_is_whole(quiet: Path) -> None:
    """It loads, with the averaged weights of the last state, and edits."""
    editor = MemoryEditor.from_pretrained(quiet / "model")
    state = load_file(quiet / "state/step-00000040.safetensors")
    for name, tensor in editor.backbone.transformer.state_dict().items():
        assert torch.equal(tensor, state[f"mean/{name}"])
    frames = editor.edit(np.zeros((9, 32, 32, 3), np.float32), "paint the circle red").frames
    assert frames.shape == (9, 32, 32, 3)
    assert json.loads((quiet / "model/memory_v2v.json").read_text())["name"] == "tiny"


def test_killed_for_real_it_goes_on_to_the_same_curve(prepared: Path, quiet: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(prepared), str(tmp_path)]
    first = subprocess.Popen(command, stderr=subprocess.PIPE)
    wait_for(lambda: list(tmp_path.glob("state/step-*.safetensors")) or first.poll() is not None)
    assert first.poll() is None, first.communicate()
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert [path.stem for path in tmp_path.glob("state/step-*.safetensors")] == ["step-00000010"]
    assert not (tmp_path / "model").exists()
    run_training(
        prepared / "start",
        clips_of(prepared),
        texts_of(prepared),
        read_run_config(prepared / "training.yaml"),
        tmp_path,
        "cpu",
        1,
        Worker(),
    )
    assert (tmp_path / "curve.jsonl").read_text() == (quiet / "curve.jsonl").read_text()
    one, other = (load_file(next((out / "model/transformer").glob("*.safetensors"))) for out in (tmp_path, quiet))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_the_model_is_loaded_once(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end all that did not learn is copied as it lies."""
    loaded: list[Path] = []
    load = MemoryEditor.from_pretrained
    monkeypatch.setattr(MemoryEditor, "from_pretrained", lambda folder: loaded.append(folder) or load(folder))
    start, config = prepared / "start", shortened(prepared)
    run_training(start, clips_of(prepared), texts_of(prepared), config, tmp_path, "cpu", 1, Worker())
    assert loaded == [start]
    for path in (
        each for part in ("vae", "text_encoder", "tokenizer", "scheduler") for each in (start / part).iterdir()
    ):
        assert (tmp_path / "model" / path.relative_to(start)).read_bytes() == path.read_bytes()


def test_only_the_first_worker_writes(prepared: Path, tmp_path: Path) -> None:
    other = Worker(rank=1, count=2)
    run_training(
        prepared / "start", clips_of(prepared), texts_of(prepared), shortened(prepared), tmp_path, "cpu", 1, other
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("saved", ["float16", "bfloat16"])
def test_it_is_saved_as_small_as_asked(saved: str, prepared: Path, tmp_path: Path) -> None:
    config = shortened(prepared, saved=saved)
    run_training(prepared / "start", clips_of(prepared), texts_of(prepared), config, tmp_path, "cpu", 1, Worker())
    weights = load_file(next((tmp_path / "model/transformer").glob("*.safetensors")))
    assert {tensor.dtype for tensor in weights.values()} == {getattr(torch, saved)}
    assert MemoryEditor.from_pretrained(tmp_path / "model").backbone.transformer.dtype is torch.float32


def test_adapters_become_part_of_what_they_adapt(prepared: Path, tmp_path: Path) -> None:
    config = shortened(prepared, optim={"trained": "lora", "lora_rank": 2})
    run_training(prepared / "start", clips_of(prepared), texts_of(prepared), config, tmp_path, "cpu", 1, Worker())
    before, after = (
        MemoryEditor.from_pretrained(folder).backbone.transformer.state_dict()
        for folder in (prepared / "start", tmp_path / "model")
    )
    assert before.keys() == after.keys()
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert any(".attn1.to_q." in name for name in moved)
    assert not any(".ffn." in name for name in moved)


def test_the_text_encoder_goes_once_all_texts_are_read(prepared: Path) -> None:
    backbone, told = (MemoryEditor.from_pretrained(prepared / "start").backbone for _ in range(2))
    texts = sorted(texts_of(prepared))
    states = encode_texts(backbone, set(texts))
    assert backbone.pipeline.text_encoder is None
    assert torch.equal(states.of(texts), torch.cat([told.encode_text(each, "", False)[0] for each in texts]))
    assert torch.equal(states.empty, told.encode_text("", "", False)[0])


def test_checkpointing_computes_blocks_twice_and_changes_no_bit(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[bool] = []
    forward = MemoryBlock.forward

    def counted(self: MemoryBlock, *given: Any, **options: Any) -> Any:
        ran.append(torch.is_grad_enabled())
        return forward(self, *given, **options)

    monkeypatch.setattr(MemoryBlock, "forward", counted)
    calls, weights = [], []
    for name, checkpointing in (("kept", False), ("again", True)):
        config, out = shortened(prepared, checkpointing=checkpointing), tmp_path / name
        ran.clear()
        run_training(prepared / "start", clips_of(prepared), texts_of(prepared), config, out, "cpu", 1, Worker())
        calls.append(sum(ran))
        weights.append(load_file(out / "state/step-00000004.safetensors"))
    assert calls[1] == 2 * calls[0] > 0
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_regions_are_latents_that_see_a_marked_pixel() -> None:
    """The first latent frame is one frame, any other is four."""
    regions = np.zeros((18, 8, 8), bool)
    regions[0, 0, 0] = regions[4, 5, 3] = regions[17, 7, 7] = True
    found = pool_regions(regions, 9, rows=2)
    assert found.shape == (2, 3, 2, 2)
    assert np.argwhere(found).tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [1, 2, 1, 1]]
