"""Training clips on disk, as latents: one safetensors file a clip, and for whole folders an `index.jsonl`.

A file holds `source`, `version-0`, `version-1`, ... `[segment, channel, time, row, column]` and `regions`; its
metadata the clip's id, its instruction, whether that fixes the result, and the hash of the codec that made the latents.
A line of an index is `{"path": "NAME.safetensors", "split": "training"}`, or `"validation"`; paths stay inside the
folder. Files appear whole or not at all. Knows no codec.
"""

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from model.errors import StoreError
from model.types import TrainingClip
from storage.durable import publish

INDEX = "index.jsonl"
FORMAT = "memory-v2v clip 1"


def clip_path(folder: Path, id: str) -> Path:
    """Where the clip of an id lies."""
    return folder / f"{id}.safetensors"


def write_clip(path: Path, clip: TrainingClip, codec: str) -> Path:
    """Write a clip whose latents were made by the codec of hash `codec`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"version-{number}": version for number, version in enumerate(clip.versions)}
    tensors |= {"source": clip.source, "regions": clip.regions}
    said = {"id": clip.id, "instruction": clip.instruction, "fixed": str(int(clip.fixed))}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(contiguous, unfinished, {**said, "codec": codec, "format": FORMAT})
    publish(unfinished, path)
    return path


def read_clip(path: Path) -> TrainingClip:
    """The clip in a file.

    Raises:
        StoreError: the file is missing, damaged, or no clip.
    """
    said = read_header(path)
    try:
        tensors = load_file(path)
        versions = tuple(tensors[f"version-{number}"] for number in range(len(tensors) - 2))
        source, regions = tensors["source"], tensors["regions"]
    except (OSError, SafetensorError, KeyError) as fault:
        raise StoreError(f"{path}: not a whole clip ({fault}); remove it, and it is made again") from fault
    return TrainingClip(said["id"], said["instruction"], said["fixed"] == "1", source, versions, regions)


def read_header(path: Path) -> dict[str, str]:
    """What a file says of its clip, without reading latents: `id`, `instruction`, `fixed`, `codec`.

    Raises:
        StoreError: the file is missing, damaged, or no clip.
    """
    try:
        with safe_open(path, framework="np") as file:
            said = file.metadata() or {}
    except (OSError, SafetensorError) as fault:
        raise StoreError(f"{path}: cannot be read as a clip ({fault})") from fault
    if said.get("format") != FORMAT:
        raise StoreError(f"{path}: is no clip of this version; expected the format '{FORMAT}'")
    return said


class EncodedClips(Sequence[TrainingClip]):
    """Clips of several sources, read when they are first asked for, and kept.

    `sources` are lists of files with their shares; a clip is there as many times as its share says, to two decimals.
    """

    def __init__(self, sources: Sequence[tuple[Sequence[Path], float]]) -> None:
        times = [round(100 * share) for _, share in sources]
        unit = int(np.gcd.reduce(times)) if times else 1
        self._sources = [(files, count // unit) for (files, _), count in zip(sources, times, strict=True)]

    def __len__(self) -> int:
        return sum(len(files) * count for files, count in self._sources)

    def __getitem__(self, index):  # type: ignore[override] - slices are of no use here
        place = range(len(self))[index]
        for files, count in self._sources:
            if place < len(files) * count:
                return _kept(files[place % len(files)])
            place -= len(files) * count
        raise IndexError(index)

    def files(self) -> Iterator[Path]:
        """Every file once."""
        for files, _ in self._sources:
            yield from files


@cache
def _kept(path: Path) -> TrainingClip:
    return read_clip(path)
