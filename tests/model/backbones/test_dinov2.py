"""DINOv2 as a descriptor, on a real model of tiny size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import Dinov2Config, Dinov2Model

from model.backbones.dinov2 import BATCH, DEVIATION, MEAN, SIDE, Dinov2Descriptor
from model.errors import WeightsError

SIZE = 32


def make_dinov2(folder: Path, seed: int = 0) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = Dinov2Config(hidden_size=SIZE, num_hidden_layers=2, num_attention_heads=2, image_size=56, mlp_ratio=2)
        Dinov2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dinov2(tmp_path_factory.mktemp("dino") / "model")


def noise(frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), np.uint8)


def test_it_is_the_mean_class_token_of_the_frames(folder: Path) -> None:
    """At the model's own size nothing is resized, and the reference is transformers' model by itself."""
    frames = noise(BATCH + 2, SIDE, SIDE)
    model = Dinov2Model.from_pretrained(folder).eval()
    pixels = (torch.from_numpy(frames).float() / 255 - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    with torch.no_grad():
        tokens = [model(pixel[None]).last_hidden_state[0, 0] for pixel in pixels.permute(0, 3, 1, 2)]
    found = Dinov2Descriptor(str(folder)).describe(frames)
    assert (found.dtype, found.shape) == (np.float32, (SIZE,))
    np.testing.assert_allclose(found, torch.stack(tokens).mean(0).numpy(), atol=1e-5)


def test_frames_of_a_still_are_like_one_of_them(folder: Path) -> None:
    descriptor, still = Dinov2Descriptor(str(folder)), noise(1)
    np.testing.assert_allclose(descriptor.describe(still.repeat(5, axis=0)), descriptor.describe(still), atol=1e-5)


def test_depth_does_not_matter(folder: Path) -> None:
    descriptor, eight = Dinov2Descriptor(str(folder)), noise(2)
    sixteen = eight.astype(np.uint16) * 257
    np.testing.assert_allclose(descriptor.describe(sixteen), descriptor.describe(eight), atol=1e-5)


def test_the_name_is_of_the_weights_not_of_the_folder(folder: Path, tmp_path: Path) -> None:
    elsewhere, other = make_dinov2(tmp_path / "elsewhere"), make_dinov2(tmp_path / "model", seed=1)
    name = Dinov2Descriptor(str(folder)).name
    assert Dinov2Descriptor(str(elsewhere)).name == name
    assert Dinov2Descriptor(str(other)).name != name
    assert str(SIZE) in name


def test_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(WeightsError, match="a model of type vit; expected dinov2"):
        Dinov2Descriptor(str(tmp_path))


@pytest.mark.parametrize("content", [None, "{"])
def test_a_folder_without_a_model_is_refused(content: str | None, tmp_path: Path) -> None:
    if content:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"config\.json: missing or no JSON"):
        Dinov2Descriptor(str(tmp_path))


def test_missing_weights_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(WeightsError, match="DINOv2 does not load"):
        Dinov2Descriptor(str(tmp_path))


def test_an_index_that_leads_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    """transformers itself joins these names unchecked: without the guard it loads the other folder's weights."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "secret.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with safe_open(tmp_path / "secret.safetensors", framework="pt") as file:
        places = dict.fromkeys(file.keys(), "../secret.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=r"names \.\./secret\.safetensors, which is no safetensors file"):
        Dinov2Descriptor(str(tmp_path / "model"))
    assert Dinov2Model.from_pretrained(tmp_path / "model", local_files_only=True, use_safetensors=True)  # the control
