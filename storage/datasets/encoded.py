"""Training clips on disk, as latents: one safetensors file a clip, and for whole folders an `index.jsonl`.

A file holds `source`, `version-0`, `version-1`, ... `[segment, channel, time, row, column]`, `regions`, and, of novel
views, `cameras`; its metadata the clip's id, its instruction, whether that fixes the result, and the hash of the codec
that made the latents. A line of an index is `{"path": "NAME.safetensors", "split": "training"}`, or `"validation"`;
paths stay inside the folder. Files appear whole or not at all. Knows no codec.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from model.errors import StoreError
from model.types import TrainingClip
from storage.datasets.extended import ExtendedClips
from storage.durable import whole_file

INDEX = "index.jsonl"
FORMAT = "memory-v2v clip 1"
ROOM = 2 * 2**30  # bytes of clips kept of a list: all of the demo's; a large one is read again from the system's cache


def clip_path(folder: Path, id: str) -> Path:
    """Where the clip of an id lies."""
    return folder / f"{id}.safetensors"


def write_clip(path: Path, clip: TrainingClip, codec: str) -> Path:
    """Write a clip whose latents were made by the codec of hash `codec`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"version-{number}": version for number, version in enumerate(clip.versions)}
    tensors |= {"source": clip.source, "regions": clip.regions}
    tensors |= {} if clip.cameras is None else {"cameras": clip.cameras}
    said = {"id": clip.id, "instruction": clip.instruction, "fixed": str(int(clip.fixed))}
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    with whole_file(path) as unfinished:
        save_file(contiguous, unfinished, {**said, "codec": codec, "format": FORMAT})
    return path


def read_clip(path: Path) -> TrainingClip:
    """The clip in a file.

    Raises:
        StoreError: the file is missing, damaged, or no clip.
    """
    said = read_header(path)
    with _whole(path):
        tensors = load_file(path)
        source, regions, cameras = tensors.pop("source"), tensors.pop("regions"), tensors.pop("cameras", None)
        versions = tuple(tensors[f"version-{number}"] for number in range(len(tensors)))
    return TrainingClip(said["id"], said["instruction"], said["fixed"] == "1", source, versions, regions, cameras)


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


def latent_shapes(files: Sequence[Path], split: str) -> set[tuple[int, ...]]:
    """What segments measure, `(channel, time, row, column)`, of a source as `EncodedClips` takes it.

    Raises:
        StoreError: a file is missing, damaged, or no clip.
    """
    if _is_dataset(files):
        return {tuple(shape) for shape in ExtendedClips(files[0], split).rows["latent_shape"].to_pylist()}
    return {_shape_in(path) for path in files}


def has_cameras(path: Path) -> bool:
    """Whether a file holds a clip of novel views.

    Raises:
        StoreError: the file is missing, damaged, or no clip.
    """
    with _whole(path), safe_open(path, framework="np") as file:
        return "cameras" in set(file.keys())


def _shape_in(path: Path) -> tuple[int, ...]:
    with _whole(path), safe_open(path, framework="np") as file:
        return tuple(file.get_slice("source").get_shape()[1:])


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """What goes wrong in reading a clip is told as its file's fault."""
    try:
        yield
    except (OSError, SafetensorError, KeyError) as fault:
        raise StoreError(f"{path}: not a whole clip ({fault}); remove it, and it is made again") from fault


class EncodedClips(Sequence[TrainingClip]):
    """Clips of several sources: files, of which as many are kept as `room` has bytes for, or an extended dataset.

    `sources` are lists of files with their shares; a clip is there as many times as its share says, to two decimals. A
    list that is one folder is a dataset of `memory-v2v extend`, of which the `split` is taken and nothing is kept.
    """

    def __init__(
        self, sources: Sequence[tuple[Sequence[Path], float]], split: str = "training", room: int = ROOM
    ) -> None:
        times = [round(100 * share) for _, share in sources]
        unit = int(np.gcd.reduce(times)) if times else 1
        shelf = _Shelf(room)
        lists = [ExtendedClips(files[0], split) if _is_dataset(files) else _Files(files, shelf) for files, _ in sources]
        self._sources = [(clips, count // unit) for clips, count in zip(lists, times, strict=True)]

    def __len__(self) -> int:
        return sum(len(clips) * count for clips, count in self._sources)

    def __getitem__(self, index):  # type: ignore[override] - slices are of no use here
        place = range(len(self))[index]
        for clips, count in self._sources:
            if place < len(clips) * count:
                return clips[place % len(clips)]
            place -= len(clips) * count
        raise IndexError(index)

    @property
    def instructions(self) -> set[str]:
        """Every text of them, without reading latents."""
        return set().union(*(clips.instructions for clips, _ in self._sources))


class _Files(Sequence[TrainingClip]):
    """Clips that are a file each."""

    def __init__(self, files: Sequence[Path], shelf: "_Shelf") -> None:
        self._files, self._shelf = files, shelf

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index):  # type: ignore[override] - slices are of no use here
        return self._shelf.read(self._files[index])

    @property
    def instructions(self) -> set[str]:
        return {read_header(path)["instruction"] for path in self._files}


class _Shelf:
    """Clips as they were read, until there is no more room: drawn at random, it makes no difference which are kept."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._clips: dict[Path, TrainingClip] = {}

    def read(self, path: Path) -> TrainingClip:
        if path in self._clips:
            return self._clips[path]
        clip = read_clip(path)
        size = sum(each.nbytes for each in (clip.source, *clip.versions, clip.regions))
        if size <= self._room:
            self._clips[path] = clip
            self._room -= size
        return clip


def _is_dataset(files: Sequence[Path]) -> bool:
    return len(files) == 1 and files[0].is_dir()
