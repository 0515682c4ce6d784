"""Long training samples on disk: Arrow shards, one row a sample, and a `manifest.json` that is written last.

A sample is a short edit pair and what follows its target: latents by segment, in float16, as bytes of a column. Shards
are Arrow IPC files (Feather), which are mapped into memory, not decoded: a row costs what its bytes cost (Parquet took
three times as long, docs/log.md). `open_dataset` reads them as training clips. Until a run is finished its
samples lie one by one in `unfinished/`; packing gives the same bytes in whatever order they were made.

Columns: see `SCHEMA`. `edited` holds `clip_segments` segments of the target and then `extension_segments` of what
follows; `source` holds `clip_segments`, since only the target is extended.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float16

from model.errors import StoreError
from model.types import LATENT_DTYPE, TrainingClip
from storage.content_id import hash_file, identify
from storage.durable import cut_off, whole_file, write_whole

Latents = Float16[np.ndarray, "_ channel time row column"]

VERSION = 1
MANIFEST, UNFINISHED = "manifest.json", "unfinished"
SHARD_NAMES = "????????-?????.arrow"
SHARD_BYTES = 512 * 2**20
BATCH_BYTES = 2**20  # of a record batch: one large sample, or several small ones
KINDS = ("colour", "sharpness", "content", "jump", "motion")

WINDOW = pa.struct([("draws", pa.int32()), ("kept", pa.bool_()), *((kind, pa.float32()) for kind in KINDS)])
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), False),
        pa.field("group", pa.string(), False),  # the video that the pair is from: never in two splits
        pa.field("split", pa.string(), False),  # training or validation
        pa.field("instruction", pa.string(), False),
        pa.field("clip_frames", pa.int32(), False),  # of source and target
        pa.field("frames", pa.int32(), False),  # of the target with its extension
        pa.field("segment_frames", pa.int32(), False),
        pa.field("clip_segments", pa.int32(), False),
        pa.field("extension_segments", pa.int32(), False),
        pa.field("latent_shape", pa.list_(pa.int32(), 4), False),  # channel, time, row, column of a segment
        pa.field("source", pa.large_binary(), False),
        pa.field("edited", pa.large_binary(), False),
        pa.field("windows", pa.list_(WINDOW), False),  # drift of each window of the extension, 1 is the bound
        pa.field("preview", pa.large_binary(), False),  # JPEG: the source, the target, and what follows
        pa.field("source_camera", pa.large_binary()),  # float32 [frame, 3, 4], camera to world, where it is known
        pa.field("target_camera", pa.large_binary()),
        pa.field("seed", pa.int64(), False),
        pa.field("model", pa.string(), False),  # sha256 of FramePack's folder
        pa.field("codec", pa.string(), False),  # name of the codec of the latents
        pa.field("settings", pa.string(), False),  # JSON
        pa.field("checksum", pa.string(), False),  # sha256 over source and edited
    ],
    {"format": f"memory-v2v extended {VERSION}"},
)
PLACE = pa.struct([("shard", pa.int32()), ("batch", pa.int32()), ("row", pa.int32())])
LIGHT = [name for name in SCHEMA.names if name not in ("source", "edited")]


@dataclass(frozen=True)
class Sample:
    """One row. `said` holds the columns that are neither latents nor follow from them."""

    source: Latents
    edited: Latents
    said: Mapping[str, Any]

    def row(self) -> dict[str, Any]:
        """By column."""
        source, edited = (np.ascontiguousarray(each).tobytes() for each in (self.source, self.edited))
        return {
            **self.said,
            "clip_segments": len(self.source),
            "extension_segments": len(self.edited) - len(self.source),
            "latent_shape": list(self.edited.shape[1:]),
            "source": source,
            "edited": edited,
            "checksum": _checksum(source, edited),
        }


def write_sample(folder: Path, name: str, sample: Sample) -> Path:
    """Keep a finished sample of an unfinished run."""
    table = pa.Table.from_pylist([sample.row()], SCHEMA)
    return _publish_table(folder / UNFINISHED / f"{name}.arrow", table)


def write_rejection(folder: Path, name: str, reason: str) -> str:
    """Keep the knowledge that a sample is not worth keeping; returns the reason."""
    path = folder / UNFINISHED / f"{name}.rejected"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, reason)
    return reason


def find_samples(folder: Path) -> dict[str, Path]:
    """Samples of an unfinished run, by name."""
    return {path.stem: path for path in sorted((folder / UNFINISHED).glob("*.arrow"))}


def find_rejections(folder: Path) -> dict[str, str]:
    """Why an unfinished run rejected samples, by name."""
    return {path.stem: path.read_text("utf-8") for path in sorted((folder / UNFINISHED).glob("*.rejected"))}


def pack(folder: Path, names: Sequence[str], said: Mapping[str, Any]) -> dict[str, Any]:
    """Write the samples with these names, in this order, as shards; then the manifest, with what is `said` of the run.

    Samples may lie in `unfinished/` or in the shards of the manifest that is there. Shards that the new manifest does
    not name are removed once it is written. The same samples again are left as they are. One process at a time.
    """
    old = read_manifest(folder)
    if old is not None and old["names"] == list(names) and all(old.get(key) == value for key, value in said.items()):
        _clear(folder, old)
        return old
    loose, packed = find_samples(folder), _packed(folder, old)
    label = identify({"names": list(names), "said": dict(said)})[:8]
    shards, batch, size = [], [], 0

    def close() -> None:
        path = folder / f"{label}-{len(shards):05d}.arrow"
        _publish_table(path, pa.concat_tables(batch))
        shards.append({"path": path.name, "rows": len(batch), "bytes": path.stat().st_size, "sha256": hash_file(path)})
        batch.clear()

    for name in names:
        row = _open(loose[name]).read_all() if name in loose else packed[name]()
        size += row.nbytes
        batch.append(row)
        if size >= SHARD_BYTES:
            close()
            size = 0
    if batch:
        close()
    manifest = {"format": "memory-v2v extended", "version": VERSION, **said, "names": list(names), "shards": shards}
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1))
    _clear(folder, manifest)
    return manifest


def find_stale(folder: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """What a killed run left beside a finished dataset: shards that its manifest does not name, and packed samples."""
    shards, names = {shard["path"] for shard in manifest["shards"]}, {*manifest["names"], *manifest["rejected"]}
    stale = [path for path in folder.glob(SHARD_NAMES) if path.name not in shards]
    return stale + [path for path in (folder / UNFINISHED).glob("*") if path.stem in names]


def _clear(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Remove what is stale, and files that were cut off: whoever packs is alone in the folder, and holds its lock."""
    for path in (*find_stale(folder, manifest), *cut_off(folder), *cut_off(folder / UNFINISHED)):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # samples of other settings are in it
        (folder / UNFINISHED).rmdir()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished dataset; None where there is none.

    Raises:
        StoreError: it is of another version, or damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text())
        version = manifest["version"] if manifest["format"] == "memory-v2v extended" else None
    except (ValueError, KeyError, TypeError) as fault:
        raise StoreError(f"{path}: cannot be read as a manifest ({fault})") from None
    if version != VERSION:
        raise StoreError(f"{path}: is of version {version}; this program reads version {VERSION}")
    return manifest


class ExtendedClips(Sequence[TrainingClip]):
    """Samples of one split, or of all, read when they are asked for. Safe to hand to other processes."""

    def __init__(self, folder: Path, split: str | None = None) -> None:
        manifest = read_manifest(folder)
        if manifest is None:
            raise StoreError(f"{folder}: no {MANIFEST}; expected a finished dataset of `memory-v2v extend`")
        self.folder, self.manifest, self.split = folder, manifest, split

    @cached_property
    def rows(self) -> pa.Table:
        """Everything but latents, one row a sample, in order; `place` says where each lies."""
        tables = [SCHEMA.empty_table().select(LIGHT).append_column("place", pa.array([], PLACE))]
        for number, shard in enumerate(self.manifest["shards"]):
            file = _open(self.folder / shard["path"])
            for index in range(file.num_record_batches):
                batch = file.get_batch(index).select(LIGHT)
                places = [{"shard": number, "batch": index, "row": row} for row in range(len(batch))]
                tables.append(pa.Table.from_batches([batch]).append_column("place", pa.array(places, PLACE)))
        table = pa.concat_tables(tables).combine_chunks()
        return table if self.split is None else table.filter(pc.field("split") == self.split)

    @property
    def instructions(self) -> set[str]:
        """Every text of it."""
        return set(self.rows["instruction"].to_pylist())

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):  # type: ignore[override] - slices are of no use here
        row = self._light[range(len(self))[index]]
        source, edited = self._latents(row)
        return TrainingClip(
            id=row["id"],
            instruction=row["instruction"],
            fixed=False,
            source=source,
            versions=(edited,),
            regions=np.zeros((len(source), *source.shape[2:]), bool),
        )

    def verify(self) -> Iterator[str]:
        """Names of all samples whose latents are not those that were written."""
        for row in self._light:
            source, edited = self._blobs(row)
            if _checksum(source, edited) != row["checksum"]:
                yield row["id"]

    @cached_property
    def _light(self) -> list[dict[str, Any]]:
        return self.rows.to_pylist()

    def _latents(self, row: Mapping[str, Any]) -> tuple[Latents, Latents]:
        shape = tuple(row["latent_shape"])
        source, edited = (np.frombuffer(blob, LATENT_DTYPE).reshape(-1, *shape) for blob in self._blobs(row))
        return source, edited

    def _blobs(self, row: Mapping[str, Any]) -> tuple[pa.Buffer, pa.Buffer]:
        place = row["place"]
        batch = _kept_open(self.folder / self.manifest["shards"][place["shard"]]["path"]).get_batch(place["batch"])
        source, edited = (batch[name][place["row"]].as_buffer() for name in ("source", "edited"))
        return source, edited

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "manifest": self.manifest, "split": self.split}


def open_dataset(folder: Path | str, split: str | None = None) -> ExtendedClips:
    """A finished dataset as training clips: `split` is `training`, `validation`, or None for both.

    Raises:
        StoreError: it is not finished, damaged, or of another version.
    """
    return ExtendedClips(Path(folder), split)


def split_of(group: str, validation_share: float) -> str:
    """The split of a video: always the same one, whatever else is in the dataset."""
    place = int(sha256(group.encode("utf-8", "surrogatepass")).hexdigest()[:8], 16) / 2**32
    return "validation" if place < validation_share else "training"


def _packed(folder: Path, manifest: Mapping[str, Any] | None) -> dict[str, Callable[[], pa.Table]]:
    """By name, how to read a row of a finished dataset."""
    if manifest is None:
        return {}
    clips = ExtendedClips(folder)

    def reader(row: Mapping[str, Any]) -> Callable[[], pa.Table]:
        def read() -> pa.Table:
            place = row["place"]
            batch = _open(folder / clips.manifest["shards"][place["shard"]]["path"]).get_batch(place["batch"])
            return pa.Table.from_batches([batch.slice(place["row"], 1)])

        return read

    return {name: reader(row) for name, row in zip(manifest["names"], clips._light, strict=True)}


def _checksum(source: bytes | pa.Buffer, edited: bytes | pa.Buffer) -> str:
    digest = sha256(source)
    digest.update(edited)
    return digest.hexdigest()


def _publish_table(path: Path, table: pa.Table) -> Path:
    """Write a table in record batches of about `BATCH_BYTES`, uncompressed: latents are noise to a compressor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = max(1, BATCH_BYTES // max(1, table.nbytes // max(1, len(table))))
    with (
        whole_file(path) as unfinished,
        pa.OSFile(str(unfinished), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as writer,
    ):
        for batch in table.combine_chunks().to_batches(max_chunksize=rows):
            writer.write_batch(batch)
    return path


def _open(path: Path) -> pa.ipc.RecordBatchFileReader:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except (OSError, pa.ArrowInvalid) as fault:
        raise StoreError(f"{path}: cannot be read as a shard ({fault})") from None


@lru_cache(maxsize=256)
def _kept_open(path: Path) -> pa.ipc.RecordBatchFileReader:
    return _open(path)
