"""Read what a training run is given: a manifest (YAML, or a JSONL index of encoded clips) and a config (YAML).

A manifest names sources of clips (`model.config.DatasetConfig`). Every mistake is one line that says where: the file,
the line, and the field.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from model.config import Config, DatasetConfig, EncodedSource, ExtendedSource, MultiCamSource, Split, TrainingRunConfig
from model.config.base import mistakes
from model.errors import RequestError, StoreError
from storage.datasets import looks, wording
from storage.datasets.encoded import INDEX
from storage.datasets.extended import open_dataset
from storage.datasets.multicam import find_scenes
from storage.datasets.shapes import OUTLINES
from storage.foreign_text import TextError, parse_json, parse_yaml, read_text

Settings = TypeVar("Settings", bound=BaseModel)
KINDS = ("synthetic", "footage", "panorama", "multicam", "encoded", "extended")  # pydantic puts them into places


class IndexLine(Config):
    """One line of an index of encoded clips."""

    path: str
    """Of the clip, inside the folder of the index."""
    split: Split = "training"


def read_dataset(manifest: Path) -> DatasetConfig:
    """The sources that a manifest names; folders in it are made absolute.

    A `.jsonl` manifest is itself an index of encoded clips, for both training and validation.

    Raises:
        RequestError: it is missing, not valid, or an index in it has nothing for one of its lists.
    """
    if manifest.suffix == ".jsonl":
        source = EncodedSource(kind="encoded", folder=manifest.absolute())
        dataset = DatasetConfig(training=(source,), validation=(source,))
    else:
        dataset = _absolute(_read_yaml(manifest, DatasetConfig), manifest.absolute().parent)
    for split, _, source in dataset.named():
        if isinstance(source, EncodedSource):
            encoded_files(source, split)
        elif isinstance(source, MultiCamSource):
            find_scenes(source.folder)
        elif isinstance(source, ExtendedSource) and not _samples(source, split):
            raise RequestError(f"{source.folder}: has no sample for {split}; extend more pairs, or name another")
    return dataset


def read_run_config(path: Path) -> TrainingRunConfig:
    """The config of a training run.

    Raises:
        RequestError: it is missing or not valid.
    """
    return _read_yaml(path, TrainingRunConfig)


def index_of(source: EncodedSource) -> Path:
    """The index file of an encoded source."""
    return source.folder if source.folder.suffix == ".jsonl" else source.folder / INDEX


def encoded_files(source: EncodedSource, split: Split) -> list[Path]:
    """The files of one list of an encoded source, in the order of its index.

    Raises:
        RequestError: the index is missing or not valid, a file is not there, or the list is empty.
    """
    index = index_of(source)
    lines = enumerate(read_text(index).split("\n"), start=1)
    named = [(number, _parse_line(index, number, line)) for number, line in lines if line.strip()]
    files = [_inside(index, number, line.path) for number, line in named if line.split == split]
    if not files:
        raise RequestError(f'{index}: lists no clip for {split}; expected lines with "split": "{split}"')
    return files


def _samples(source: ExtendedSource, split: Split) -> int:
    try:
        return len(open_dataset(source.folder, split))
    except StoreError as fault:
        raise RequestError(str(fault)) from None


def all_sentences() -> list[str]:
    """Every instruction that rendered clips can have, held-out ones too: what a small model's words are taken from."""
    open_texts = [text for texts in wording.OPEN.values() for text in texts] + list(wording.HELD_OUT_OPEN.values())
    fixed_texts = [text for texts in wording.FIXED.values() for text in texts] + list(wording.HELD_OUT_FIXED.values())
    texts = [text.format(shape=shape, colour="") for text in open_texts for shape in OUTLINES]
    texts += [
        text.format(shape=shape, colour=hue) for text in fixed_texts for shape in OUTLINES for hue in wording.HUES
    ]
    return [*texts, *looks.all_phrases()]


def _absolute(dataset: DatasetConfig, base: Path) -> DatasetConfig:
    """Folders are given relative to the manifest."""

    def placed(sources: Sequence[Any]) -> tuple[Any, ...]:
        stored = (MultiCamSource, EncodedSource, ExtendedSource)
        return tuple(
            each.model_copy(update={"folder": base / each.folder}) if isinstance(each, stored) else each
            for each in sources
        )

    return DatasetConfig(training=placed(dataset.training), validation=placed(dataset.validation))


def _read_yaml(path: Path, kind: type[Settings]) -> Settings:
    try:
        fields, tree = parse_yaml(read_text(path))
    except TextError as fault:
        raise RequestError(f"{path}: line {fault.line or 1}: {fault}") from None
    try:
        return kind.model_validate(fields)
    except ValidationError as fault:
        raise RequestError(f"{path}: {_explain(fault, tree)}") from None


def _parse_line(index: Path, number: int, line: str) -> IndexLine:
    try:
        return IndexLine.model_validate(parse_json(line))
    except TextError as fault:
        raise RequestError(f"{index}: line {number}: {fault}") from None
    except ValidationError as fault:
        raise RequestError(f"{index}: line {number}: {_explain(fault, None)}") from None


def _inside(index: Path, number: int, name: str) -> Path:
    path = index.parent / name
    if not path.resolve().is_relative_to(index.parent.resolve()):
        raise RequestError(f"{index}: line {number}: path {name!r} leads out of the folder; expected one inside")
    if not path.is_file():
        raise RequestError(f"{index}: line {number}: path {name!r}: no such file")
    return path


def _explain(fault: ValidationError, tree: yaml.Node | None) -> str:
    """The first mistake: its line, its field, what was given, and what is wrong with it."""
    first = mistakes(fault)[0]
    names = [part for part in first.place if part not in KINDS]
    line = f"line {_line_of(tree, names)}: " if tree is not None and names else ""
    return f"{line}{first._replace(place=tuple(names))}"


def _line_of(node: yaml.Node, names: Sequence[str | int]) -> int:
    """Line of a field in the tree of a YAML file, or of the nearest thing around it that is there."""
    for name in names:
        if isinstance(node, yaml.MappingNode):
            inner = next((value for key, value in node.value if key.value == name), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(name, int) and name < len(node.value):
            inner = node.value[name]
        else:
            inner = None
        if inner is None:
            break
        node = inner
    return node.start_mark.line + 1
