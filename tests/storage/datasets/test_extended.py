"""Long samples on disk: whole or not at all, the same bytes in any order of work, and read by anybody."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import numpy as np
import pyarrow.dataset
import pyarrow.feather
import pytest

from model.errors import StoreError
from storage.datasets import extended
from storage.datasets.extended import (
    SCHEMA,
    Sample,
    find_rejections,
    find_samples,
    find_stale,
    open_dataset,
    pack,
    read_manifest,
    split_of,
    write_rejection,
    write_sample,
)

SAID = {"codec": "c", "model": "m", "rejected": {}}
SHAPE = (4, 2, 3, 3)


def sample(number: int, clip: int = 2, rest: int = 3, split: str = "training") -> Sample:
    random = np.random.default_rng(number)
    source, edited = (random.standard_normal((count, *SHAPE)).astype(np.float16) for count in (clip, clip + rest))
    window = {"draws": 1, "kept": True, **dict.fromkeys(extended.KINDS, 0.5)}
    said: dict[str, Any] = {
        "id": f"pair-{number}",
        "group": f"video-{number // 2}",
        "split": split,
        "instruction": f"edit {number}",
        "clip_frames": 10,
        "frames": 25,
        "segment_frames": 5,
        "windows": [window],
        "preview": b"jpeg",
        "source_camera": None,
        "target_camera": None,
        "seed": number,
        "model": "m",
        "codec": "c",
        "settings": "{}",
    }
    return Sample(source, edited, said)


def make(folder: Path, numbers: list[int], order: list[int] | None = None, **options: Any) -> dict[str, Any]:
    for number in order or numbers:
        write_sample(folder, f"n{number}", sample(number, **options))
    return pack(folder, [f"n{number}" for number in numbers], SAID)


def test_samples_are_training_clips(tmp_path: Path) -> None:
    make(tmp_path, [0, 1, 2])
    clips = open_dataset(tmp_path)
    assert [clip.id for clip in clips] == ["pair-0", "pair-1", "pair-2"]
    assert clips.instructions == {"edit 0", "edit 1", "edit 2"}
    clip, written = clips[1], sample(1)
    assert clip.extended
    assert np.array_equal(clip.versions[0], written.edited)
    assert np.array_equal(clip.source, written.source)
    assert (len(clip), len(clip.source), len(clip.regions)) == (5, 2, 2)
    assert clip.changed.shape == (2,)


def test_the_same_bytes_in_whatever_order_they_were_made(tmp_path: Path) -> None:
    one = make(tmp_path / "one", [0, 1, 2, 3])
    other = make(tmp_path / "other", [0, 1, 2, 3], order=[3, 0, 2, 1])
    assert one == other
    for shard in one["shards"]:
        assert (tmp_path / "one" / shard["path"]).read_bytes() == (tmp_path / "other" / shard["path"]).read_bytes()


def test_what_is_packed_is_kept_when_more_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extended, "SHARD_BYTES", 2500)
    make(tmp_path, [0, 1, 2])
    before = {path.name for path in tmp_path.glob("*.arrow")}
    assert len(before) == 2
    write_sample(tmp_path, "n9", sample(9))
    write_rejection(tmp_path, "n7", "drift of colour")
    assert set(find_samples(tmp_path)) == {"n9"}
    assert find_rejections(tmp_path) == {"n7": "drift of colour"}
    pack(tmp_path, ["n0", "n9", "n1", "n2"], SAID)
    clips = open_dataset(tmp_path)
    assert [clip.id for clip in clips] == ["pair-0", "pair-9", "pair-1", "pair-2"]
    assert list(clips.verify()) == []
    assert not before & {path.name for path in tmp_path.glob("*.arrow")}
    assert set(find_rejections(tmp_path)) == {"n7"}, "of another run"


def test_packing_the_same_again_touches_nothing(tmp_path: Path) -> None:
    first = make(tmp_path, [0, 1])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert pack(tmp_path, ["n0", "n1"], SAID) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    """Others read all shards that are there, and would see samples twice."""
    manifest = make(tmp_path, [0, 1])
    named = {tmp_path / "manifest.json", *(tmp_path / shard["path"] for shard in manifest["shards"])}
    assert find_stale(tmp_path, manifest) == []
    left = [tmp_path / "0123abcd-00000.arrow", tmp_path / f".{uuid4().hex}.unfinished"]
    for path in left:
        path.touch()
    write_sample(tmp_path, "n0", sample(0))
    (tmp_path / f"unfinished/.{uuid4().hex}.unfinished").touch()
    assert set(find_stale(tmp_path, manifest)) == {left[0], tmp_path / "unfinished/n0.arrow"}
    assert pack(tmp_path, ["n0", "n1"], SAID) == manifest
    assert set(tmp_path.iterdir()) == named


def test_splits_are_by_video(tmp_path: Path) -> None:
    write_sample(tmp_path, "a", sample(0, split="training"))
    write_sample(tmp_path, "b", sample(1, split="validation"))
    pack(tmp_path, ["a", "b"], SAID)
    assert [clip.id for clip in open_dataset(tmp_path, "training")] == ["pair-0"]
    assert [clip.id for clip in open_dataset(tmp_path, "validation")] == ["pair-1"]
    splits = [split_of(f"video {number}", 0.1) for number in range(2000)]
    assert 0.07 < splits.count("validation") / len(splits) < 0.13
    assert splits == [split_of(f"video {number}", 0.1) for number in range(2000)]
    assert split_of("x", 0.0) == "training"


def test_a_damaged_sample_is_named(tmp_path: Path) -> None:
    (shard,) = make(tmp_path, [0, 1])["shards"]
    path = tmp_path / shard["path"]
    content = path.read_bytes()
    wrong = sample(1).edited.tobytes()
    place = content.index(wrong)
    path.write_bytes(content[:place] + bytes(8) + content[place + 8 :])
    extended._kept_open.cache_clear()
    assert list(open_dataset(tmp_path).verify()) == ["pair-1"]


def test_a_dataset_that_is_not_finished_is_none(tmp_path: Path) -> None:
    write_sample(tmp_path, "a", sample(0))
    assert read_manifest(tmp_path) is None
    with pytest.raises(StoreError, match=r"no manifest\.json; expected a finished dataset"):
        open_dataset(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "memory-v2v extended", "version": 99}))
    with pytest.raises(StoreError, match="is of version 99; this program reads version 1"):
        open_dataset(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(StoreError, match="cannot be read as a manifest"):
        open_dataset(tmp_path)


def test_others_read_it_too(tmp_path: Path) -> None:
    make(tmp_path, [0, 1, 2])
    shards = pyarrow.dataset.dataset(sorted(tmp_path.glob("*.arrow")), format="arrow")
    found = (
        duckdb.from_arrow(shards)
        .query("shards", "select id, frames, octet_length(edited) from shards order by id")
        .fetchall()
    )
    assert found == [(f"pair-{number}", 25, 5 * 72 * 2) for number in range(3)]
    table = pyarrow.feather.read_table(next(tmp_path.glob("*.arrow")))
    assert table.schema.equals(SCHEMA)
    row = table.to_pylist()[0]
    latents = np.frombuffer(row["edited"], np.float16).reshape(-1, *row["latent_shape"])
    assert np.array_equal(latents, sample(0).edited)
    frame = table.to_pandas()
    assert list(frame["instruction"]) == ["edit 0", "edit 1", "edit 2"]
