"""Manifests and configs: read, and every mistake one line that says where."""

from pathlib import Path

import pytest

from model.config import EncodedSource, FootageSource, SyntheticSource, WorldConfig
from model.errors import RequestError
from storage.datasets.manifest import all_sentences, encoded_files, read_dataset, read_run_config
from storage.datasets.synthetic import imagine

MANIFEST = """
training:
  - {kind: synthetic, clips: 5, first_seed: 3, world: {size: 32, segments: 6}, share: 2}
  - {kind: footage, clips: 2}
validation:
  - kind: synthetic
    clips: 1
"""
CONFIG = """
small: {width: 32}
preset: {name: tiny}
training:
  steps: 4
  save_every: 6
  validate_every: 3
"""


def write(folder: Path, text: str, name: str = "file.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_sources_are_told_by_their_kind(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path, MANIFEST))
    first, second = dataset.training
    assert isinstance(first, SyntheticSource)
    assert isinstance(second, FootageSource)
    assert (first.clips, first.first_seed, first.world.size, first.share) == (5, 3, 32, 2)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("clips: 5", "clips: 0", "line 3: training.0.clips 0: "),
        ("kind: footage", "kind: film", "line 4: training.1"),
        ("    clips: 1", "    clip: 1", "line 6: validation.0.clips"),
        ("size: 32", "size: big", "line 3: training.0.world.size 'big': "),
        ("validation:", "validation: []\nrest:", "line 5: validation: "),
        ("clips: 5", "clips: [5", "line 3: not YAML: "),
    ],
)
def test_a_bad_manifest_is_one_line_that_says_where(before: str, after: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as fault:
        read_dataset(write(tmp_path, MANIFEST.replace(before, after)))
    assert str(fault.value).startswith(f"{tmp_path / 'file.yaml'}: {said}")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("save_every: 6", "save_every: 5", "save_every 5 must be a multiple of training.validate_every (3)"),
        ("small:", "start: here\nsmall:", "give either start"),
        ("small: {width: 32}", "", "give either start"),
        ("steps: 4", "step: 4", "line 5: training.step 4: "),
        ("steps: 4", "optim: {trained: memory}", "begin mix.memories with 0"),
        ("steps: 4", "optim: {trained: lora, by: muon}", "by muon: it is for whole matrices"),
        (
            "training:",
            "strategy: fsdp\ntraining:\n  optim: {by: muon}",
            "by muon: it needs whole matrices",
        ),
        ("preset: {name: tiny}", "", "preset"),
    ],
)
def test_a_bad_config_is_one_line(before: str, after: str, said: str, tmp_path: Path) -> None:
    read_run_config(write(tmp_path, CONFIG))
    with pytest.raises(RequestError) as fault:
        read_run_config(write(tmp_path, CONFIG.replace(before, after)))
    assert said in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"absent\.yaml: no such file"):
        read_dataset(tmp_path / "absent.yaml")


INDEX = '{"path": "a.safetensors"}\n\n{"path": "b.safetensors", "split": "validation"}\n'


@pytest.fixture
def index(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").touch()
    return write(tmp_path, INDEX, "index.jsonl")


def test_an_index_is_a_manifest_and_a_source(index: Path) -> None:
    (source,) = read_dataset(index).training
    assert isinstance(source, EncodedSource)
    assert encoded_files(source, "training") == [index.parent / "a.safetensors"]
    manifest = "training: [{kind: encoded, folder: .}]\nvalidation: [{kind: encoded, folder: .}]"
    (same,) = read_dataset(write(index.parent, manifest)).validation
    assert isinstance(same, EncodedSource)
    assert encoded_files(same, "validation") == [index.parent / "b.safetensors"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"validation"}', '"validation"', "line 3: not JSON: "),
        ('"path": "b', '"paths": "b', "line 3: path: "),
        ('"validation"', '"test"', "line 3: split 'test': "),
        ("b.safetensors", "c.safetensors", "line 3: path 'c.safetensors': no such file"),
        ("b.safetensors", "../c.safetensors", "line 3: path '../c.safetensors' leads out of the folder"),
        ("a.safetensors", "/etc/hostname", "line 1: path '/etc/hostname' leads out of the folder"),
        (', "split": "validation"', "", "lists no clip for validation"),
    ],
)
def test_a_bad_index_is_one_line_that_says_where(before: str, after: str, said: str, index: Path) -> None:
    index.write_text(INDEX.replace(before, after))
    with pytest.raises(RequestError) as fault:
        read_dataset(index)
    assert said in str(fault.value)
    assert "\n" not in str(fault.value)


def test_every_sentence_of_the_world_is_known() -> None:
    known = set(all_sentences())
    for held_out in ("training", "held-out"):
        drawn = {imagine(WorldConfig(size=32, segments=6), seed, held_out).change.instruction for seed in range(100)}
        assert drawn <= known


@pytest.mark.parametrize("kind", ["synthetic", "footage", "panorama"])
def test_clips_that_are_trained_on_do_not_validate(kind: str, tmp_path: Path) -> None:
    def lists(first: int, wording: str = "training") -> Path:
        trained, held = (
            f"{{kind: {kind}, clips: 20}}",
            f"{{kind: {kind}, clips: 5, first_seed: {first}, wording: {wording}}}",
        )
        return write(tmp_path, f"training: [{trained}]\nvalidation: [{held}]\n")

    with pytest.raises(RequestError, match=r"validation\.0 has seeds of training\.0.*first_seed, such as 100000"):
        read_dataset(lists(19))
    assert read_dataset(lists(20)).validation
    assert read_dataset(lists(0, "held-out")).validation


@pytest.mark.parametrize("recipe", ["checkpoints/demo", "benchmarks/larger"])
def test_the_recipes_of_the_demo_and_of_its_larger_variant_are_valid(recipe: str) -> None:
    folder = Path(__file__).parents[3] / recipe
    dataset, settings = read_dataset(folder / "manifest.yaml"), read_run_config(folder / "training.yaml")
    assert settings.preset.name == folder.name
    training, validation = ({(s.kind, s.first_seed) for s in each} for each in (dataset.training, dataset.validation))
    assert not training & validation
