"""Model folders: what is complete and known is opened, anything else is named and refused."""

import json
import os
from pathlib import Path

import pytest

from model.backbones.model_folder import read_config, read_model_index
from model.errors import WeightsError

ALLOWED = {"transformer": ("Wan", "MemoryWan"), "vae": ("Codec",)}
INDEX = {"_class_name": "Pipeline", "transformer": ["diffusers", "Wan"], "vae": ["diffusers", "Codec"]}


def folder(at: Path, index: object = INDEX) -> Path:
    for part in ALLOWED:
        (at / part).mkdir()
    (at / "model_index.json").write_text(json.dumps(index))
    return at


def test_a_complete_folder_is_read(tmp_path: Path) -> None:
    assert read_model_index(folder(tmp_path), ALLOWED) == INDEX


@pytest.mark.parametrize(
    ("named", "shown"),
    [(["diffusers", "Evil"], "Evil"), (None, "None"), ("Wan", "Wan"), (["Wan"], r"\['Wan'\]"), ([], r"\[\]")],
)
def test_parts_of_another_class_are_refused(tmp_path: Path, named: object, shown: str) -> None:
    with pytest.raises(WeightsError, match=f"transformer is {shown}; expected MemoryWan or Wan"):
        read_model_index(folder(tmp_path, {**INDEX, "transformer": named}), ALLOWED)


@pytest.mark.parametrize(
    ("part", "named", "told"),
    [
        ("vae", ["os", "Codec"], "vae is of 'os'; expected one of diffusers, transformers"),
        ("vae", ["custom", "Codec"], "vae is of 'custom'"),
        ("vae", [["diffusers"], "Codec"], "vae is of"),
        ("extra", ["subprocess", "Popen"], "extra is of 'subprocess'"),
        ("extra", ["diffusers", "Any"], "has a extra, of which nothing is known; expected transformer, vae"),
    ],
)
def test_parts_of_other_libraries_are_refused(tmp_path: Path, part: str, named: object, told: str) -> None:
    with pytest.raises(WeightsError, match=told):
        read_model_index(folder(tmp_path, {**INDEX, part: named}), ALLOWED)


def test_a_part_that_is_left_empty_is_fine(tmp_path: Path) -> None:
    index = {**INDEX, "transformer_2": [None, None], "boundary_ratio": None}
    assert read_model_index(folder(tmp_path, index), ALLOWED) == index


def test_a_part_must_be_there(tmp_path: Path) -> None:
    (folder(tmp_path) / "vae").rmdir()
    with pytest.raises(WeightsError, match="vae: missing; expected a complete diffusers folder"):
        read_model_index(tmp_path, ALLOWED)


def test_code_is_refused(tmp_path: Path) -> None:
    (folder(tmp_path) / "transformer" / "model.py").write_text("import os")
    with pytest.raises(WeightsError, match=r"model\.py: code in a model folder is never run"):
        read_model_index(tmp_path, ALLOWED)


@pytest.mark.parametrize("place", ["model.py", "vae/model.py"])
def test_code_is_refused_wherever_it_lies(tmp_path: Path, place: str) -> None:
    (folder(tmp_path) / place).write_text("import os")
    with pytest.raises(WeightsError, match=r"model\.py: code in a model folder is never run"):
        read_model_index(tmp_path, ALLOWED)


@pytest.mark.parametrize("file", ["model_index.json", "vae/config.json", "transformer/tokenizer_config.json"])
@pytest.mark.parametrize("key", ["auto_map", "custom_pipeline", "trust_remote_code"])
def test_settings_that_name_code_are_refused(tmp_path: Path, file: str, key: str) -> None:
    path = folder(tmp_path) / file
    said = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(said | {key: {"AutoModel": "owner/code--model.Evil"}}))
    with pytest.raises(WeightsError, match=rf"json: names code \({key}\), which is never run"):
        read_model_index(tmp_path, ALLOWED)
    path.write_text(json.dumps(said | {key: None}))
    assert read_model_index(tmp_path, ALLOWED)


@pytest.mark.parametrize("weight_map", [["a"], "a", 5, {"a": 5}, {"a": None}, {"a": ["b.safetensors"]}])
def test_an_index_that_is_no_table_of_names_is_refused(tmp_path: Path, weight_map: object) -> None:
    (folder(tmp_path) / "vae" / "model.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(WeightsError, match=r"model\.index\.json: "):
        read_model_index(tmp_path, ALLOWED)


def test_pipes_are_neither_settings_nor_weights(tmp_path: Path) -> None:
    os.mkfifo(folder(tmp_path) / "vae" / "one.safetensors")
    (tmp_path / "vae" / "model.index.json").write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    with pytest.raises(WeightsError, match="which is no safetensors file in that folder"):
        read_model_index(tmp_path, ALLOWED)
    os.mkfifo(tmp_path / "vae" / "config.json")
    with pytest.raises(WeightsError, match=r"config\.json: is no regular file"):
        read_config(tmp_path / "vae")


@pytest.mark.parametrize("name", ["../secret.safetensors", "weights.bin", "absent.safetensors", "/etc/a.safetensors"])
def test_an_index_names_only_safetensors_beside_it(tmp_path: Path, name: str) -> None:
    (folder(tmp_path) / "secret.safetensors").write_bytes(b"")
    (tmp_path / "vae" / "weights.bin").write_bytes(b"")
    (tmp_path / "vae" / "model.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(WeightsError, match="which is no safetensors file in that folder"):
        read_model_index(tmp_path, ALLOWED)


def test_sharded_weights_are_fine(tmp_path: Path) -> None:
    (folder(tmp_path) / "vae" / "one.safetensors").write_bytes(b"")
    (tmp_path / "vae" / "model.index.json").write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    assert read_model_index(tmp_path, ALLOWED) == INDEX


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "cannot be read as JSON"),
        (100_000 * "[", "cannot be read as JSON"),
        ("[1]", "expected a JSON object"),
        (b"\xff", "cannot be read as JSON"),
    ],
)
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: str | bytes, fault: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(WeightsError, match=fault):
        read_config(tmp_path)


def test_a_config_is_read_or_missed(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json: missing"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "Wan"}')
    assert read_config(tmp_path) == {"_class_name": "Wan"}
