"""Clips of latents on disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.errors import StoreError
from model.types import TrainingClip
from storage.datasets.encoded import EncodedClips, clip_path, latent_shapes, read_clip, read_header, write_clip


def clip(name: str, fixed: bool = False) -> TrainingClip:
    random = np.random.default_rng(len(name))
    latents = [random.standard_normal((2, 4, 3, 2, 2)).astype(np.float16) for _ in range(3)]
    return TrainingClip(name, "paint it red: ä", fixed, latents[0], tuple(latents[1:]), np.ones((2, 3, 2, 2), bool))


@pytest.mark.parametrize("fixed", [True, False])
def test_a_clip_comes_back_as_it_was(fixed: bool, tmp_path: Path) -> None:
    wrote = clip("a", fixed)
    path = write_clip(clip_path(tmp_path / "clips", wrote.id), wrote, "codec")
    read = read_clip(path)
    assert (read.id, read.instruction, read.fixed) == (wrote.id, wrote.instruction, fixed)
    for one, other in zip(
        (wrote.source, *wrote.versions, wrote.regions), (read.source, *read.versions, read.regions), strict=True
    ):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    assert read_header(path)["codec"] == "codec"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_cameras_of_novel_views_come_back(tmp_path: Path) -> None:
    cameras = np.random.default_rng(0).standard_normal((2, 3, 12)).astype(np.float32)
    path = write_clip(tmp_path / "a.safetensors", replace(clip("a"), cameras=cameras), "codec")
    read = read_clip(path)
    np.testing.assert_array_equal(read.cameras, cameras)
    assert len(read.versions) == 2
    assert read_clip(write_clip(tmp_path / "b.safetensors", clip("a"), "codec")).cameras is None


def test_damage_is_told(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.safetensors", clip("a"), "codec")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(StoreError, match=r"a\.safetensors"):
        read_clip(path)
    with pytest.raises(StoreError, match="absent"):
        read_clip(tmp_path / "absent")


def test_shapes_are_told_without_reading_latents(tmp_path: Path) -> None:
    latents, regions = np.zeros((2, 4, 3, 4, 2), np.float16), np.ones((2, 3, 4, 2), bool)
    tall = replace(clip("b"), source=latents, versions=(latents,), regions=regions)
    paths = [write_clip(tmp_path / f"{each.id}.safetensors", each, "codec") for each in (clip("a"), tall)]
    assert latent_shapes(paths, "training") == {(4, 3, 2, 2), (4, 3, 4, 2)}


def test_shares_are_how_often_a_clip_is_there(tmp_path: Path) -> None:
    paths = [write_clip(tmp_path / f"{name}.safetensors", clip(name), "codec") for name in ("a", "bb", "ccc")]
    clips = EncodedClips([(paths[:2], 1.0), (paths[2:], 1.5)])
    names = [each.id for each in clips]
    assert {name: names.count(name) for name in set(names)} == {"a": 2, "bb": 2, "ccc": 3}
    assert clips[-1].id == "ccc"
    assert clips.instructions == {each.instruction for each in clips}
    with pytest.raises(IndexError):
        clips[len(clips)]


def test_equal_shares_are_one_of_each(tmp_path: Path) -> None:
    paths = [write_clip(tmp_path / f"{name}.safetensors", clip(name), "codec") for name in ("a", "bb")]
    assert [each.id for each in EncodedClips([(paths[:1], 0.3), (paths[1:], 0.3)])] == ["a", "bb"]


def test_clips_take_no_more_room_than_there_is(tmp_path: Path) -> None:
    """Two sources share it: what is kept is not read again, and all else is read whenever it is drawn."""
    paths = [write_clip(tmp_path / f"{name}.safetensors", clip(name), "codec") for name in ("a", "bb", "ccc")]
    one = sum(each.nbytes for each in (clip("a").source, *clip("a").versions, clip("a").regions))
    clips = EncodedClips([(paths[:1], 1.0), (paths[1:], 1.0)], room=2 * one)
    first = list(clips)
    kept = [again is before for again, before in zip(clips, first, strict=True)]
    assert kept == [True, True, False]
    assert [each.id for each in clips] == ["a", "bb", "ccc"]
