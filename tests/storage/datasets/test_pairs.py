"""Every layout of pairs, as it is published and as it goes wrong."""

import gzip
import io
import json
import os
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from model.config import WorldConfig
from model.errors import RequestError, VideoError
from storage.datasets import senorita
from storage.datasets.media import draw_strip, read_media, read_pair
from storage.datasets.multicam import MultiCam
from storage.datasets.pair_folder import PairFolder
from storage.datasets.pair_worlds import PairWorlds
from storage.datasets.pairs import Broken, Entry, Pair, PairSource
from storage.datasets.senorita import Senorita
from tests.pair_files import write_clip_file, write_multicam, write_senorita

FIELD = "enhanced_instruction"


def read_all(source: PairSource) -> list[Pair | Broken]:
    return list(source.read({entry.id for entry in source.entries()}))


def whole(source: PairSource) -> dict[str, Pair]:
    return {pair.entry.id: pair for pair in read_all(source) if isinstance(pair, Pair)}


def broken(source: PairSource) -> dict[str, str]:
    return {pair.entry.id: pair.reason for pair in read_all(source) if isinstance(pair, Broken)}


def test_senorita_is_streamed_from_its_archive_under_wrong_prefixes(tmp_path: Path) -> None:
    source = Senorita(write_senorita(tmp_path / "set", 3), FIELD)
    assert [entry.instruction for entry in source.entries()] == ["swap object 0", "swap object 1", "swap object 2"]
    pairs = whole(source)
    assert list(pairs) == [entry.id for entry in source.entries()]
    with tarfile.open(tmp_path / "set/obj_swap.tar.gz") as archive:
        for number, pair in enumerate(pairs.values()):
            for kind, half in (("source", pair.source), ("target", pair.target)):
                member = archive.extractfile(f"obj_swap/{kind}/{number:05d}.mp4")
                assert member is not None
                assert half == member.read()


def test_senorita_unpacked_is_the_same(tmp_path: Path) -> None:
    folder = write_senorita(tmp_path / "set", 2)
    packed = whole(Senorita(folder, FIELD))
    with tarfile.open(folder / "obj_swap.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "obj_swap.tar.gz").unlink()
    for id, pair in whole(Senorita(folder, FIELD)).items():
        assert isinstance(pair.source, Path)
        assert pair.source.read_bytes() == packed[id].source


def test_a_pair_is_called_the_same_whatever_else_is_listed(tmp_path: Path) -> None:
    """Two edits of one file, an instruction each, are two pairs; a list below has names of its own."""
    paths = [
        {f"{kind}_video_path": f"/mnt/swap/{kind}/{number}.mp4" for kind in ("source", "target")} for number in (0, 1)
    ]
    items = [{**paths[0], FIELD: "first"}, {**paths[1], FIELD: "second"}, {**paths[1], FIELD: "third"}]
    (tmp_path / "more").mkdir()
    for name in ("swap.json", "more/swap.json"):
        (tmp_path / name).write_text(json.dumps(items))
    ids = [entry.id for entry in Senorita(tmp_path, FIELD).entries()]
    named = ["target/0.mp4", "target/1.mp4", "target/1.mp4#2"]
    assert ids == [f"{listed}/{name}" for listed in ("more/swap", "swap") for name in named]
    (tmp_path / "swap.json").write_text(json.dumps(items[1:]))
    assert [entry.id for entry in Senorita(tmp_path, FIELD).entries()] == [*ids[:3], *ids[4:]]


def test_a_missing_file_is_not_taken_for_its_other_half(tmp_path: Path) -> None:
    """Source and target have one file name, and so have pairs of several tasks."""
    folder = tmp_path / "set"
    paths = {f"{kind}_video_path": f"swap/{kind}/0.mp4" for kind in ("source", "target")}
    for task in ("swap", "style"):
        (folder / task).mkdir(parents=True)
        (folder / f"{task}.json").write_text(json.dumps([{**paths, FIELD: task}]))
    write_clip_file(folder / "swap/source/0.mp4", 0)
    assert whole(Senorita(folder, FIELD)) == {}
    assert all("swap/target/0.mp4: in no folder" in reason for reason in broken(Senorita(folder, FIELD)).values())
    flat = tmp_path / "swap"
    (folder / "swap/source").rename(flat)
    (flat / "list.json").write_text(
        json.dumps([{f"{kind}_video_path": f"/mnt/swap/{kind}.mp4" for kind in ("source", "target")} | {FIELD: "x"}])
    )
    for kind in ("source", "target"):
        write_clip_file(flat / f"{kind}.mp4", 0)
    assert len(whole(Senorita(flat, FIELD))) == 1, "the folder's own name counts"
    one, other = Senorita(folder, FIELD).entries()
    assert one.group == other.group, "two lists, and one source video: never in both sets"


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    source = Senorita(write_senorita(tmp_path / "set", 4), FIELD)
    wanted = source.entries()[2].id
    assert [pair.entry.id for pair in source.read({wanted})] == [wanted]
    assert list(source.read(set())) == []


def test_a_missing_member_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    source = Senorita(write_senorita(tmp_path / "set", 4, corrupt=[1]), FIELD)
    assert len(whole(source)) == 3
    ((id, reason),) = broken(source).items()
    assert id == "obj_swap/target/00001.mp4"
    assert reason.startswith("/mnt/lab/senorita/obj_swap/target/00001.mp4: in no folder and no archive")


def test_a_damaged_archive_is_named_and_what_came_before_is_kept(tmp_path: Path) -> None:
    folder = write_senorita(tmp_path / "set", 6)
    archive = folder / "obj_swap.tar.gz"
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size * 2 // 3])
    source = Senorita(folder, FIELD)
    assert 1 <= len(whole(source)) <= 4
    assert len(whole(source)) + len(broken(source)) == 6
    assert all("obj_swap.tar.gz is damaged" in reason for reason in broken(source).values())


def test_a_field_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    folder = write_senorita(tmp_path / "set", 1)
    with pytest.raises(RequestError, match=r"pair 0: no instruction; it has enhanced_instruction.*--instruction-f"):
        Senorita(folder).entries()
    (folder / "obj_swap.json").write_text("{")
    with pytest.raises(RequestError, match=r"obj_swap\.json: cannot be read as JSON"):
        Senorita(folder, FIELD).entries()


def write_archive(folder: Path, *members: tuple[str, bytes], **fields: object) -> Path:
    """A list of one pair, and an archive with these members."""
    folder.mkdir(exist_ok=True)
    paths = {f"{kind}_video_path": f"swap/{kind}/0.mp4" for kind in ("source", "target")}
    (folder / "swap.json").write_text(json.dumps([{**paths, FIELD: "swap"}]))
    with tarfile.open(folder / "swap.tar.gz", "w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for field, value in fields.items():
                setattr(member, field, value)
            archive.addfile(member, io.BytesIO(content))
    return folder


def test_member_names_are_no_paths(tmp_path: Path) -> None:
    """Traversal, absolute names and twins lead nowhere: contents stay in memory, under the names of the list."""
    names = ("../../swap/source/0.mp4", "/etc/swap/target/0.mp4")
    folder = write_archive(tmp_path / "set", *((name, name.encode()) for name in names))
    before = sorted(tmp_path.rglob("*"))
    (pair,) = Senorita(folder, FIELD).read({"swap/target/0.mp4"})
    assert isinstance(pair, Pair)
    assert (pair.source, pair.target) == tuple(name.encode() for name in names)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_members_that_are_no_files_are_passed_over(kind: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    names = ("swap/source/0.mp4", "swap/target/0.mp4")
    folder = write_archive(tmp_path / "set", *((n, b"") for n in names), type=kind, linkname=str(tmp_path / "secret"))
    (refused,) = Senorita(folder, FIELD).read({"swap/target/0.mp4"})
    assert isinstance(refused, Broken)


@pytest.mark.parametrize(
    ("bound", "value", "told"),
    [
        ("ALWAYS_FINE", 2**20, "expands to more than 100 times its size"),
        ("LARGEST_VIDEO", 2**20, "in no folder and no archive"),
    ],
)
def test_bombs_are_refused(bound: str, value: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = bytes(4 * 2**20)
    source = Senorita(write_archive(tmp_path / "set", ("source/0.mp4", zeros), ("target/0.mp4", zeros)), FIELD)
    assert isinstance(next(source.read({"swap/target/0.mp4"})), Pair), "the control: within the bounds they are read"
    monkeypatch.setattr(senorita, bound, value)
    (refused,) = source.read({"swap/target/0.mp4"})
    assert isinstance(refused, Broken)
    assert told in refused.reason


def write_archives(folder: Path, pairs: list[tuple[str, str]], members: dict[str, list[str]]) -> Senorita:
    """A list, and archives with members whose content is 100 times their name."""
    folder.mkdir()
    listed = [{"source_video_path": source, "target_video_path": target, FIELD: "swap"} for source, target in pairs]
    (folder / "swap.json").write_text(json.dumps(listed))
    for archive, names in members.items():
        with tarfile.open(folder / archive, "w:gz") as file:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(name) * 100
                file.addfile(member, io.BytesIO(name.encode() * 100))
    return Senorita(folder, FIELD)


@pytest.mark.parametrize("room", [1, 2500, 2**20], ids=["of-one", "of-some", "of-all"])
def test_sources_and_targets_in_archives_of_their_own(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pairs are had, also beside halves that miss the other; no more waits than the bound and one video."""
    numbers, orphans = range(6), ("orphan0", "orphan1")
    pairs = [(f"source/{name}.mp4", f"target/{name}.mp4") for name in (*orphans, *map(str, numbers))]
    members = {"a.tar.gz": [source for source, _ in pairs], "b.tar.gz": [target for _, target in pairs[len(orphans) :]]}
    source = write_archives(tmp_path / "set", pairs, members)
    monkeypatch.setattr(senorita, "MOST_WAITING", room)
    found = whole(source)
    assert {pair.source for pair in found.values()} == {f"source/{n}.mp4".encode() * 100 for n in numbers}
    assert {pair.target for pair in found.values()} == {f"target/{n}.mp4".encode() * 100 for n in numbers}
    assert set(broken(source)) == {f"swap/target/{name}.mp4" for name in orphans}
    waiting: senorita.Waiting = {entry.id: (entry, dict.fromkeys(paths)) for entry, paths in source._listed()}
    list(source._stream(waiting, {}))
    held = [half for _, halves in waiting.values() for half in halves.values() if isinstance(half, bytes)]
    assert sum(map(len, held)) < room + max(map(len, held)) + 1


def test_pairs_that_share_a_video_are_all_had(tmp_path: Path) -> None:
    """A member of a stream can be read once."""
    pairs = [("source/0.mp4", f"target/{number}.mp4") for number in range(3)]
    source = write_archives(tmp_path / "set", pairs, {"a.tar.gz": ["source/0.mp4", *(target for _, target in pairs)]})
    assert {pair.source for pair in whole(source).values()} == {b"source/0.mp4" * 100}
    assert len(whole(source)) == 3


@pytest.mark.parametrize("target", ["swap/0.mp4", "/mnt/swap/0.mp4"])
def test_a_pair_of_one_video_is_broken(target: str, tmp_path: Path) -> None:
    pairs = [("swap/0.mp4", target), ("source/1.mp4", "target/1.mp4")]
    source = write_archives(tmp_path / "set", pairs, {"a.tar.gz": ["swap/0.mp4", "source/1.mp4", "target/1.mp4"]})
    assert set(whole(source)) == {"swap/target/1.mp4"}
    ((id, reason),) = broken(source).items()
    assert id == "swap/swap/0.mp4"
    assert reason.startswith("swap/0.mp4: source and target are called the same")


@pytest.mark.parametrize(
    "headers",
    [
        2000 * [(tarfile.GNUTYPE_LONGNAME, b"abcdefg\0")],  # each tells of the next
        [(tarfile.XHDTYPE, b"22 GNU.sparse.map=a,b\n22 GNU.sparse.size=10\n")],
    ],
    ids=["headers of headers", "sizes that are none"],
)
def test_headers_that_break_the_reader_are_damage(headers: list[tuple[bytes, bytes]], tmp_path: Path) -> None:
    folder = write_archive(tmp_path / "set", ("source/0.mp4", b"s"), ("target/0.mp4", b"t"))
    content = b""
    for kind, told in [*headers, (tarfile.REGTYPE, b"s")]:
        header = tarfile.TarInfo("source/0.mp4")
        header.type, header.size = kind, len(told)
        content += header.tobuf(tarfile.USTAR_FORMAT) + told.ljust(512, b"\0")
    (folder / "swap.tar.gz").write_bytes(gzip.compress(content + bytes(1024)))
    (refused,) = Senorita(folder, FIELD).read({"swap/target/0.mp4"})
    assert isinstance(refused, Broken)
    assert "swap.tar.gz is damaged" in refused.reason


def test_a_name_of_gigabytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_archive(tmp_path / "set", ("x" * 3000 + "/source/0.mp4", b"s"), ("target/0.mp4", b"t"))
    source = Senorita(folder, FIELD)
    assert isinstance(next(source.read({"swap/target/0.mp4"})), Pair)
    monkeypatch.setattr(senorita, "LARGEST_NAME", 2000)
    (refused,) = source.read({"swap/target/0.mp4"})
    assert isinstance(refused, Broken)
    assert "swap.tar.gz is damaged (a name of 3,0" in refused.reason


def test_pipes_are_neither_lists_nor_archives(tmp_path: Path) -> None:
    folder = write_archive(tmp_path / "set", ("source/0.mp4", b"s"), ("target/0.mp4", b"t"))
    for name in ("a.json", "a.tar.gz", "a.mp4"):
        os.mkfifo(folder / name)
    assert len(whole(Senorita(folder, FIELD))) == 1


def test_nested_lists_are_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text(100_000 * "[")
    with pytest.raises(RequestError, match=r"deep\.json: cannot be read as JSON .*nested too deeply"):
        Senorita(tmp_path, FIELD).entries()
    (tmp_path / "pairs.jsonl").write_text(100_000 * "[")
    with pytest.raises(RequestError, match=r"pairs\.jsonl: line 1: .*nested too deeply"):
        PairFolder(tmp_path).entries()


def test_multicam_pairs_come_with_both_cameras(tmp_path: Path) -> None:
    source = MultiCam(write_multicam(tmp_path))
    entries = source.entries()
    assert [entry.id for entry in entries][:2] == [
        "f24_aperture5-scene1-cam01-cam02",
        "f24_aperture5-scene1-cam02-cam03",
    ]
    assert {entry.group for entry in entries} == {"f24_aperture5-scene1", "f24_aperture5-scene2"}
    for pair in whole(source).values():
        assert pair.cameras is not None
        assert [len(camera) for camera in pair.cameras] == [33, 33]


def test_cameras_that_cannot_be_read_break_their_scene_only(tmp_path: Path) -> None:
    source = MultiCam(write_multicam(tmp_path))
    (tmp_path / "f24_aperture5/scene1/cameras/camera_extrinsics.json").write_text("[]")
    assert len(whole(source)) == 2
    assert set(broken(source)) == {"f24_aperture5-scene1-cam01-cam02", "f24_aperture5-scene1-cam02-cam03"}


def test_a_list_of_pairs(tmp_path: Path) -> None:
    write_clip_file(tmp_path / "a.mp4", 0)
    write_clip_file(tmp_path / "b.mp4", 1)
    lines = [
        {"source": "a.mp4", "target": "b.mp4", "instruction": "swap", "id": "one", "group": "film", "end": "a.mp4"},
        {"source": "a.mp4", "target": "gone.mp4", "instruction": "swap"},
        {"source": "a.mp4", "target": "../b.mp4", "instruction": "swap", "id": "out"},
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for place in (tmp_path, tmp_path / "pairs.jsonl"):
        source = PairFolder(place)
        assert source.entries()[0] == Entry("one", "film", "swap", ("a.mp4", "b.mp4", "a.mp4"))
        assert whole(source)["one"].end == tmp_path / "a.mp4"
        assert set(broken(source)) == {"gone", "out"}


def test_a_long_list_is_read_once_and_in_step_with_its_length(tmp_path: Path) -> None:
    def seconds(pairs: int) -> float:
        lines = (f'{{"source": "a/{n}.mp4", "target": "b/{n}.mp4", "instruction": "swap"}}\n' for n in range(pairs))
        (tmp_path / "pairs.jsonl").write_text("".join(lines))
        source, started = PairFolder(tmp_path), time.process_time()
        entries = source.entries()
        taken = time.process_time() - started
        (tmp_path / "pairs.jsonl").unlink()
        assert [pair.entry for pair in source.read({entries[-1].id})] == [entries[-1]]
        return taken

    few = seconds(2000)
    assert seconds(32000) < 60 * few, "16 times as many"


def test_a_folder_of_pairs(tmp_path: Path) -> None:
    for kind in ("source", "target"):
        write_clip_file(tmp_path / kind / "cat.mp4", 0)
    (tmp_path / "instruction").mkdir()
    with pytest.raises(RequestError, match=r"cat\.mp4: has no source/cat or no instruction/cat\.txt"):
        PairFolder(tmp_path).entries()
    (tmp_path / "instruction/cat.txt").write_text("make it night\n")
    assert [entry.instruction for entry in PairFolder(tmp_path).entries()] == ["make it night"]
    assert len(whole(PairFolder(tmp_path))) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1: not JSON"),
        ('{"source": "a", "target": "b"}', "line 1: instruction: Field required"),
        (2 * '{"source": "a", "target": "b", "instruction": "x", "id": "y"}\n', "two pairs are called 'y'"),
    ],
)
def test_a_wrong_list_is_one_clear_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(text)
    with pytest.raises(RequestError, match=said):
        PairFolder(tmp_path).entries()


def test_worlds_are_pairs_too() -> None:
    source = PairWorlds(3, WorldConfig(size=32, segments=7, segment_frames=5), wording="held-out")
    pairs = whole(source)
    assert list(pairs) == [f"world-held-out-{seed}" for seed in range(3)]
    for pair in pairs.values():
        assert isinstance(pair.source, np.ndarray)
        assert isinstance(pair.target, np.ndarray)
        assert pair.source.shape == pair.target.shape == (35, 32, 32, 3)
        assert not np.array_equal(pair.source, pair.target)


def test_clips_fill_the_size_asked_for(tmp_path: Path) -> None:
    """Whatever their size; portrait clips stand upright."""
    wide = write_clip_file(tmp_path / "wide.mp4", 0, 96, 32)
    tall = write_clip_file(tmp_path / "tall.mp4", 0, 32, 96)
    assert read_media(wide, 32, 64, 33).shape == (33, 32, 64, 3)
    assert read_media(tall, 32, 64, 33).shape == (33, 64, 32, 3)
    assert read_media(wide.read_bytes(), 32, 64, 9).shape == (9, 32, 64, 3)
    assert read_media(np.zeros((7, 50, 90, 3), np.uint8), 32, 64, 33).shape == (7, 32, 64, 3)


def test_the_middle_is_kept(tmp_path: Path) -> None:
    picture = np.zeros((5, 32, 96, 3), np.uint8)
    picture[:, :, 32:64] = 200
    assert (read_media(picture, 32, 32, 5) == 200).all()


def test_halves_come_in_equal_length_and_orientation(tmp_path: Path) -> None:
    entry = Entry("x", "x", "swap")
    long, short = write_clip_file(tmp_path / "long.mp4", 0), write_clip_file(tmp_path / "short.mp4", 1, frames=20)
    source, target = read_pair(Pair(entry, long, short), 32, 48, 33)
    assert source.shape == target.shape == (17, 32, 48, 3)
    tall = write_clip_file(tmp_path / "tall.mp4", 2, 32, 48)
    with pytest.raises(VideoError, match="different orientation"):
        read_pair(Pair(entry, long, tall), 32, 48, 33)
    brief = write_clip_file(tmp_path / "brief.mp4", 2, frames=3)
    with pytest.raises(VideoError, match=r"x: 1 frames; expected at least 5"):
        read_pair(Pair(entry, long, brief), 32, 48, 33)
    with pytest.raises(VideoError, match="target: "):
        read_pair(Pair(entry, long, b"no video"), 32, 48, 33)


def test_a_strip_shows_both_and_what_follows() -> None:
    source, target, rest = (np.full((9, 32, 64, 3), level, np.uint8) for level in (10, 100, 200))
    strip = draw_strip((source, target, rest))
    assert strip.shape == (48, 8 * 96, 3)
    assert [int(strip[0, 96 * place + 48, 0]) for place in range(8)] == [10, 100, *[200] * 6]
    assert draw_strip((source, target, rest[:0])).shape == (48, 2 * 96, 3)


@pytest.mark.parametrize("content", [b"", b"no video", b"#EXTM3U\nfile:///etc/passwd\n"])
def test_a_bad_member_leaves_no_file(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(VideoError):
        read_media(content, 32, 48, 9)
    assert list(tmp_path.iterdir()) == []
