"""Toy folders are made of the real classes, the same from the same seed, and complete."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from model.backbones.backbone import PARTS
from model.backbones.model_folder import read_model_index
from model.backbones.tiny import PRESET, SENTENCES, build_tiny_lucy_edit, build_tiny_recam
from model.backbones.toy_text import word_tokenizer
from model.config import Preset

BUILDERS = {"lucy": build_tiny_lucy_edit, "recam": build_tiny_recam}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_seed_decides_every_byte(tmp_path: Path, kind: str) -> None:
    one, same, other = (
        contents(BUILDERS[kind](tmp_path / name, seed)) for name, seed in (("one", 3), ("same", 3), ("other", 4))
    )
    assert one == same
    differing = {name for name in one if one[name] != other[name]}
    assert differing == {name for name in one if name.endswith(".safetensors")}


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize("memory", [True, False])
def test_a_folder_is_complete_and_known(tmp_path: Path, kind: str, memory: bool) -> None:
    folder = BUILDERS[kind](tmp_path, memory=memory)
    index = read_model_index(folder, PARTS)
    assert index["transformer"][1] == ("MemoryWanTransformer" if memory else "WanTransformer3DModel")
    assert Preset.model_validate_json((folder / "memory_v2v.json").read_text()) == PRESET


@pytest.mark.parametrize(("residual_vae", "channels"), [(False, 16), (True, 48)])
@pytest.mark.parametrize("expand_timesteps", [False, True])
def test_both_kinds_of_vae_and_of_times(
    tmp_path: Path, residual_vae: bool, channels: int, expand_timesteps: bool
) -> None:
    folder = build_tiny_lucy_edit(tmp_path, residual_vae=residual_vae, expand_timesteps=expand_timesteps)
    assert json.loads((folder / "model_index.json").read_text())["expand_timesteps"] is expand_timesteps
    config = json.loads((folder / "transformer" / "config.json").read_text())
    assert (config["in_channels"], config["out_channels"]) == (2 * channels, channels)
    assert json.loads((folder / "vae" / "config.json").read_text())["z_dim"] == channels


def test_a_views_folder_heeds_cameras(tmp_path: Path) -> None:
    weights = load_file(build_tiny_recam(tmp_path) / "transformer" / "diffusion_pytorch_model.safetensors")
    cameras = [tensor for name, tensor in weights.items() if name.endswith("camera.weight")]
    assert len(cameras) == 3
    assert all(tensor.abs().sum() > 0 for tensor in cameras)


@pytest.mark.parametrize("text", [*SENTENCES, "Make it WINTER"])
def test_words_go_through_the_tokenizer(text: str) -> None:
    tokenizer = word_tokenizer(SENTENCES)
    ids = tokenizer(text).input_ids
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
