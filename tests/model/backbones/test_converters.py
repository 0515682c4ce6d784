"""Checkpoints with their authors' names become model folders that edit bit for bit as the model they came from."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import Tensor

from model.backbones.converters import convert, main
from model.backbones.tiny import WINDOW, build_tiny_recam
from model.camera.presets import preset
from model.config import EditConfig, Preset, SamplingConfig
from model.editor import MemoryEditor
from model.errors import RequestError, WeightsError
from model.types import ViewMemory

CLIP = np.random.default_rng(0).random((9, 64, 96, 3), np.float32)
CONFIG = EditConfig(sampling=SamplingConfig(steps=2, guidance=3.0))
MEMORY_MODULES = ("memory_tokenizers.", "merger.")
Names = dict[str, str]


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_recam(tmp_path_factory.mktemp("wan"), seed=1, memory=False)


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory, wan: Path) -> MemoryEditor:
    """A model as its authors have it: other weights than the Wan folder's, which gives the VAE and the text encoder."""
    authors = MemoryEditor.from_pretrained(build_tiny_recam(tmp_path_factory.mktemp("authors"), seed=2))
    editor = MemoryEditor.from_pretrained(wan)
    editor.backbone.pipeline.transformer = authors.backbone.transformer
    return editor


def published(model: MemoryEditor, names: Names, memory: bool = False) -> dict[str, Tensor]:
    """Its weights under their original names."""
    weights = model.backbone.transformer.state_dict()
    return {names[name]: weight for name, weight in weights.items() if memory or not name.startswith(MEMORY_MODULES)}


def write(tmp_path: Path, content: dict[str, Tensor]) -> Path:
    torch.save(content, tmp_path / "step20000.ckpt")
    return tmp_path / "step20000.ckpt"


def edited(editor: MemoryEditor, memories: tuple[ViewMemory, ...] = ()) -> np.ndarray:
    return editor.edit(CLIP, memories=memories, trajectory=preset("arc-left", 9), config=CONFIG).edited


def test_recammaster_comes_back_bit_for_bit(
    tmp_path: Path, wan: Path, model: MemoryEditor, original_names: Names
) -> None:
    report = convert(wan, write(tmp_path, published(model, original_names)), tmp_path / "out", "recammaster")
    assert report.by_shape == frozenset()
    assert report.unexpected == ()
    assert report.missing
    assert all(name.startswith(MEMORY_MODULES) for name in report.missing)
    converted = MemoryEditor.from_pretrained(tmp_path / "out")
    assert_array_equal(edited(converted), edited(model))
    memories = (ViewMemory("a", edited(model), preset("pan-left", 9)),)
    assert_array_equal(edited(converted, memories), edited(model, memories))
    settings = Preset.model_validate_json((tmp_path / "out" / "memory_v2v.json").read_text())
    assert settings.edit.source_camera == "target"
    assert settings.edit.sampling.negative.startswith("色调艳丽"), "as its authors sample"
    assert settings.window == WINDOW, "that of the base"
    assert settings.retrieval.top_k == 0, "nobody has trained it to remember"
    assert settings.edit.merging.mode == "off"


def test_the_official_checkpoint_is_mapped_by_name_and_then_by_shape(
    tmp_path: Path, wan: Path, model: MemoryEditor, original_names: Names
) -> None:
    """Memory modules that are not as they start, under names that we do not know."""
    with torch.no_grad():
        for name, weight in model.backbone.transformer.named_parameters():
            if name.startswith(MEMORY_MODULES):
                weight += 0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    renamed = {"memory_tokenizers.": "condition_patch_embedder_", "merger.": "token_downsampler."}
    content = {}
    for name, weight in published(model, original_names, memory=True).items():
        for ours, theirs in renamed.items():
            name = name.replace(ours, theirs)
        content[name] = weight
    report = convert(wan, write(tmp_path, content), tmp_path / "out", "memory-v2v")
    settings = Preset.model_validate_json((tmp_path / "out" / "memory_v2v.json").read_text())
    assert settings.edit.sampling.negative.startswith("色调艳丽"), "as the model that it was tuned from"
    assert (settings.retrieval.top_k, settings.edit.merging.mode) == (5, "merge")
    assert report.matched["memory_tokenizers.8.weight"] == "condition_patch_embedder_8.weight"
    assert report.by_shape == {
        name for name in model.backbone.transformer.state_dict() if name.startswith(MEMORY_MODULES)
    }
    memories = (ViewMemory("a", edited(model), preset("pan-left", 9)),)
    assert_array_equal(edited(MemoryEditor.from_pretrained(tmp_path / "out"), memories), edited(model, memories))


def test_half_precision_stays_as_it_is(tmp_path: Path, wan: Path, model: MemoryEditor, original_names: Names) -> None:
    content = {name: weight.bfloat16() for name, weight in published(model, original_names).items()}
    convert(wan, write(tmp_path, content), tmp_path / "out", "recammaster")
    converted = MemoryEditor.from_pretrained(tmp_path / "out", dtype="bfloat16")
    weights = converted.backbone.transformer.state_dict()
    assert all(torch.equal(weights[name].float(), content[original_names[name]].float()) for name in list(weights)[:9])
    assert np.isfinite(edited(converted)).all()


def test_leftovers_are_errors_unless_named(
    tmp_path: Path, wan: Path, model: MemoryEditor, original_names: Names
) -> None:
    content = published(model, original_names)
    spare = content.pop("blocks.1.projector.weight")
    path = write(tmp_path, {**content, "ema.decay": torch.ones(3, 3)})
    with pytest.raises(WeightsError, match=r"1 missing .*projector.weight.*1 unexpected .*ema.decay") as caught:
        convert(wan, path, tmp_path / "out", "recammaster")
    assert "unexpected: ema.decay" in caught.value.__notes__[0]
    assert not (tmp_path / "out").exists()
    report = convert(wan, path, tmp_path / "out", "recammaster", ["blocks.1.projector.*"], ["ema.*"])
    assert report.unexpected == ("ema.decay",)
    kept = MemoryEditor.from_pretrained(tmp_path / "out").backbone.transformer.blocks[1].projector.weight
    assert torch.equal(kept, torch.eye(len(spare)))


def test_another_architecture_is_refused(tmp_path: Path, wan: Path, model: MemoryEditor, original_names: Names) -> None:
    content = published(model, original_names)
    content["head.head.weight"] = torch.zeros(3, 3)
    with pytest.raises(WeightsError, match=r"head.head.weight is \[3, 3\] where the model has \[64, 24\]"):
        convert(wan, write(tmp_path, content), tmp_path / "out", "recammaster", ["*"], ["*"])


@pytest.mark.parametrize(
    ("scheduler", "key"), [("UniPCMultistepScheduler", "flow_shift"), ("FlowMatchEulerDiscreteScheduler", "shift")]
)
def test_the_noise_schedule_becomes_that_of_the_authors(
    tmp_path: Path, wan: Path, model: MemoryEditor, original_names: Names, scheduler: str, key: str
) -> None:
    shutil.copytree(wan, tmp_path / "wan")
    (tmp_path / "wan" / "scheduler" / "scheduler_config.json").write_text(
        json.dumps({"_class_name": scheduler, key: 3})
    )
    convert(tmp_path / "wan", write(tmp_path, published(model, original_names)), tmp_path / "out", "recammaster")
    assert json.loads((tmp_path / "out" / "scheduler" / "scheduler_config.json").read_text())[key] == 5.0


def test_nothing_is_overwritten(tmp_path: Path, wan: Path) -> None:
    with pytest.raises(RequestError, match="exists; give the name of a new folder"):
        convert(wan, tmp_path / "any.ckpt", tmp_path, "recammaster")


def test_the_command_prints_the_report(
    tmp_path: Path, wan: Path, model: MemoryEditor, original_names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, {**published(model, original_names), "extra.x": torch.ones(2)})
    command = [str(wan), str(path), str(tmp_path / "out"), "--origin", "recammaster"]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert "unexpected: extra.x" in told
    assert "error: the checkpoint does not fit the model: 1 unexpected (extra.x)" in told
    assert main([*command, "--may-ignore", "extra.*"]) == 0
    assert "missing: merger.mix.bias" in capsys.readouterr().out
    index = json.loads((tmp_path / "out" / "model_index.json").read_text())
    assert index["transformer"][1] == "MemoryWanTransformer"
    assert main(command) == 2
    assert f"error: {tmp_path / 'out'} exists" in capsys.readouterr().err


def test_the_report_is_one_json_object_where_that_is_wanted(
    tmp_path: Path, wan: Path, model: MemoryEditor, original_names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, published(model, original_names))
    assert main([str(wan), str(path), str(tmp_path / "out"), "--origin", "recammaster", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report.keys() == {"matched", "by_shape", "missing", "unexpected", "misshapen"}
    assert report["matched"]["blocks.1.camera.weight"] == "blocks.1.cam_encoder.weight"
    assert {name.partition(".")[0] for name in report["missing"]} == {"memory_tokenizers", "merger"}
    assert report["unexpected"] == report["misshapen"] == report["by_shape"] == []


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "step20000.ckpt recam --origin recammaster" in capsys.readouterr().out


def test_a_file_that_holds_code_is_refused(tmp_path: Path, wan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"blocks.0.modulation": Path("anything")}, tmp_path / "step20000.ckpt")
    command = [str(wan), str(tmp_path / "step20000.ckpt"), str(tmp_path / "out"), "--origin", "recammaster"]
    assert main(command) == 2
    assert "holds more than tensors or is damaged" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
