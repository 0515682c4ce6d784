"""The model that is trained from nothing: its words, and its folder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.backbones.block_codec import BlockCodec, fit_block_codec
from model.backbones.small import MOST_WORDS, build_small_model
from model.backbones.toy_text import word_tokenizer
from model.camera.presets import preset
from model.config import EditConfig, Preset, SamplingConfig, SmallModelConfig
from model.editor import MemoryEditor
from model.types import Memory, ViewMemory

SENTENCES = ("paint the circle red", "give it a new look")
SIZES = SmallModelConfig(width=32, heads=2, depth=2, feed_forward=64, channels=8, text_width=16)
PRESET = Preset(name="tiny")
CHEAP = EditConfig(sampling=SamplingConfig(steps=2, guidance=1.0))


@pytest.fixture(scope="module")
def codec() -> BlockCodec:
    torch.manual_seed(0)
    return fit_block_codec([torch.rand(1, 3, 9, 32, 32) * 2 - 1 for _ in range(2)], 8)


@pytest.fixture(scope="module")
def folder(codec: BlockCodec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_small_model(tmp_path_factory.mktemp("small"), codec, SIZES, SENTENCES, PRESET, 3.0)


def test_a_known_word_is_one_piece_and_others_are_spelled() -> None:
    tokenizer = word_tokenizer(SENTENCES)
    ids = tokenizer("paint the circle red").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["▁paint", "▁the", "▁circle", "▁red", "</s>"]
    assert "".join(tokenizer.convert_ids_to_tokens(tokenizer("zebra").input_ids)) == "▁zebra</s>"
    assert tokenizer.unk_token_id not in tokenizer("zebra 42").input_ids


def test_texts_differ_in_what_the_transformer_reads(folder: Path) -> None:
    backbone = MemoryEditor.from_pretrained(folder).backbone
    red, look = (backbone.encode_text(text, "", False)[0] for text in SENTENCES)
    assert red.shape == (1, MOST_WORDS, SIZES.text_width)
    assert not torch.equal(red, look)


def test_the_folder_edits_with_a_memory(folder: Path, codec: BlockCodec) -> None:
    editor = MemoryEditor.from_pretrained(folder)
    assert torch.equal(editor.backbone.pipeline.vae.directions, codec.directions)
    source = np.random.default_rng(0).random((9, 32, 32, 3)).astype(np.float32)
    first = editor.edit(source, SENTENCES[0], config=CHEAP)
    memory = Memory("first", first.edited, first.source, is_previous=True)
    second = editor.edit(source, SENTENCES[0], memories=[memory], config=CHEAP)
    assert second.frames.shape == source.shape
    assert np.abs(second.edited - first.edited).max() > 1e-3
    assert (folder / "memory_v2v.json").read_text() == PRESET.model_dump_json(indent=2)


def test_a_saved_folder_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    source = np.random.default_rng(0).random((9, 32, 32, 3)).astype(np.float32)
    editor = MemoryEditor.from_pretrained(folder)
    editor.save_pretrained(tmp_path)
    again = MemoryEditor.from_pretrained(tmp_path)
    one, other = (each.edit(source, SENTENCES[1], config=CHEAP).frames for each in (editor, again))
    assert np.array_equal(one, other)


def test_a_seed_is_a_model(codec: BlockCodec, folder: Path, tmp_path: Path) -> None:
    same = build_small_model(tmp_path / "same", codec, SIZES, SENTENCES, PRESET, 3.0)
    other = build_small_model(tmp_path / "other", codec, SIZES, SENTENCES, PRESET, 3.0, seed=1)
    weights = [MemoryEditor.from_pretrained(each).backbone.transformer.state_dict() for each in (folder, same, other)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert any(not torch.equal(tensor, weights[2][name]) for name, tensor in weights[0].items())


def test_a_small_model_of_the_other_kind_renders_views(codec: BlockCodec, tmp_path: Path) -> None:
    sizes = SIZES.model_copy(update={"kind": "recam"})
    editor = MemoryEditor.from_pretrained(build_small_model(tmp_path / "views", codec, sizes, ("",), PRESET, 3.0))
    source = np.random.default_rng(0).random((9, 32, 32, 3)).astype(np.float32)
    left, right = (preset(name, 9) for name in ("pan-left", "pan-right"))
    first = editor.edit(source, "", config=CHEAP, trajectory=left)
    other = editor.edit(source, "", config=CHEAP, trajectory=right)
    again = editor.edit(source, "", [ViewMemory("first", first.edited, left)], config=CHEAP, trajectory=left)
    assert first.frames.shape == source.shape
    assert np.abs(first.edited - other.edited).max() > 1e-3, "where the camera looks is heard from the first step on"
    assert np.abs(first.edited - again.edited).max() > 1e-3
