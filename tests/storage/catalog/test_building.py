"""A manifest from a folder: safe ids, addresses that are found again, and nothing overwritten."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import RequestError
from storage.catalog import build_catalog, building, find_faults, read_catalog, write_manifest

NAMES = st.lists(
    st.text(alphabet="aA éß映.-_ ~%#?'", min_size=1, max_size=8).map(lambda text: f"{text.lstrip('.')}x.mp4"),
    min_size=1,
    max_size=6,
    unique=True,
)


def make_videos(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"film")
    return folder


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def ids_of(lines: list[dict[str, object]]) -> list[object]:
    return [line["video_id"] for line in lines]


def test_a_folder_becomes_a_catalog(tmp_path: Path) -> None:
    folder = make_videos(
        tmp_path / "season 1", "b.MOV", "ep1/shot a.mp4", "notes.txt", "a.mkv", ".hidden.mp4", ".x/y.mp4"
    )
    manifest = tmp_path / "lists" / "m.jsonl"
    manifest.parent.mkdir()
    lines = build_catalog(folder, manifest, prompts=["make it snow", "add fog"])
    assert ids_of(lines) == ["a", "b", "ep1-shot-a"]
    write_manifest(lines, manifest)
    catalog = read_catalog(manifest)
    assert [video.uri for video in catalog.videos][2] == "../season 1/ep1/shot a.mp4"
    assert [catalog.source_of(video).resolve() for video in catalog.videos] == [  # type: ignore[union-attr]
        folder / "a.mkv",
        folder / "b.MOV",
        folder / "ep1/shot a.mp4",
    ]
    assert [(turn.prompt, turn.on) for turn in catalog.videos[0].turns] == [("make it snow", 0), ("add fog", "last")]
    assert names_in(manifest.parent) == ["m.jsonl"]


def test_turns_may_be_left_to_the_defaults(tmp_path: Path) -> None:
    (line,) = build_catalog(make_videos(tmp_path, "a.mp4"), tmp_path / "m.jsonl")
    assert line == {"video_id": "a", "uri": "a.mp4"}


def test_a_pattern_chooses(tmp_path: Path) -> None:
    folder = make_videos(tmp_path, "a.mp4", "b.mkv", "sub/c.mp4")
    manifest = tmp_path / "m.jsonl"
    assert ids_of(build_catalog(folder, manifest, "*.mp4")) == ["a", "sub-c"]
    assert ids_of(build_catalog(folder, manifest, "sub/*")) == ["sub-c"]
    for nothing in ("", ".", "./"):
        with pytest.raises(RequestError, match=f"--pattern '{re.escape(nothing)}'"):
            build_catalog(folder, manifest, nothing)
    with pytest.raises(RequestError, match="has no video that matches"):
        build_catalog(folder, manifest, "*.avi")
    with pytest.raises(RequestError, match="no such folder"):
        build_catalog(folder / "absent", manifest)


def test_links_out_of_the_folder_are_left_out(tmp_path: Path) -> None:
    folder = make_videos(tmp_path / "in", "a.mp4")
    make_videos(tmp_path / "out", "b.mp4")
    (folder / "file.mp4").symlink_to(tmp_path / "out" / "b.mp4")
    (folder / "folder").symlink_to(tmp_path / "out")
    (folder / "broken.mp4").symlink_to("absent.mp4")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "inside.mp4").symlink_to("a.mp4")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "folder.mp4").mkdir()
    assert ids_of(build_catalog(folder, tmp_path / "m.jsonl")) == ["a", "inside"]


def test_ids_do_not_depend_on_the_order(tmp_path: Path) -> None:
    folder = make_videos(tmp_path, "x/a.mp4", "x-a.mp4", "X a.mkv", "映画.mp4", "b.mp4", f"{'long' * 40}.mp4")
    before = build_catalog(folder, tmp_path / "m.jsonl")
    ids = {line["uri"]: line["video_id"] for line in before}
    assert ids["b.mp4"] == "b"
    assert ids["映画.mp4"].startswith("video-")
    assert len({name.casefold() for name in ids.values()}) == len(ids) == 6
    make_videos(folder, "0.mp4", "c.mp4")
    after = build_catalog(folder, tmp_path / "m.jsonl")
    assert before == [line for line in after if line["uri"] not in ("0.mp4", "c.mp4")]


@settings(max_examples=30)
@given(NAMES)
def test_what_is_built_has_no_fault(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("built")
    make_videos(folder, *names)
    manifest = folder / "m.jsonl"
    lines = build_catalog(folder, manifest, prompts=["x"])
    write_manifest(lines, manifest)
    assert find_faults(manifest) == []
    assert len(lines) == len(list(folder.glob("*x.mp4")))


@pytest.mark.parametrize(("name", "uri"), [("-i.mp4", "./-i.mp4"), ("ep:1.mp4", "./ep:1.mp4")])
def test_odd_names_are_written_so_that_they_are_read(name: str, uri: str, tmp_path: Path) -> None:
    lines = build_catalog(make_videos(tmp_path, name), tmp_path / "m.jsonl", prompts=["x"])
    assert lines[0]["uri"] == uri
    write_manifest(lines, tmp_path / "m.jsonl")
    assert find_faults(tmp_path / "m.jsonl") == []


@pytest.mark.parametrize("name", ["a::b.mp4", "a\nb.mp4", os.fsdecode(b"a\xff.mp4")])
def test_names_that_no_manifest_holds_are_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="rename it") as raised:
        build_catalog(make_videos(tmp_path, name), tmp_path / "m.jsonl")
    str(raised.value).encode()


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    write_manifest([{"video_id": "a"}], manifest)
    with pytest.raises(RequestError, match="exists"):
        write_manifest([{"video_id": "b"}], manifest)
    assert json.loads(manifest.read_text()) == {"video_id": "a"}
    write_manifest([{"video_id": "b"}], manifest, overwrite=True)
    assert json.loads(manifest.read_text()) == {"video_id": "b"}
    with pytest.raises(RequestError, match="no such folder"):
        write_manifest([], manifest / "below.jsonl")
    assert names_in(tmp_path) == ["m.jsonl"]


def test_a_manifest_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tmp_path / "m.jsonl"
    write_manifest([{"video_id": "a"}], manifest)

    def fail(finished: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(building, "publish", fail)
    with pytest.raises(RequestError, match="No space left"):
        write_manifest([{"video_id": "b"}], manifest, overwrite=True)
    assert json.loads(manifest.read_text()) == {"video_id": "a"}
    assert names_in(tmp_path) == ["m.jsonl"]
