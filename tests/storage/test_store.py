"""An output folder survives kill -9, forgets what was half written, and knows what is finished."""

import errno
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest

from model.errors import DiskFullError, RequestError, RunError, StoreBusyError, StoreError
from storage import durable, video
from storage.geometry import fit
from storage.latents import LatentStore
from storage.ledger import Ledger
from storage.memory import MemoryStore
from storage.probe import probe
from storage.remembered import Reach
from storage.segment_file import write_segment
from storage.store import MEMORY, Store, find_finished, open_store, place_for, read_turns
from storage.video import write_video
from tests.clips import make_clip
from tests.storage.memories import SIZE, commit, keys_of, make_descriptor, make_entry, make_latents, make_row

COMMITS = 200  # more than are made before the kill
USERS_FILES = ("film.mp4", "film.mp4.partial", "film.partial.mov", ".hidden", ".film.encoding.mov.txt", "encoding.mov")


@contextmanager
def committing(folder: Path, commits: int) -> Iterator[subprocess.Popen[str]]:
    """A process that commits made-up segments, one after the other, and then keeps the folder open."""
    command = [sys.executable, "-m", "tests.storage.memories", str(folder), str(commits)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        try:
            yield process
        finally:
            process.kill()


def run_until_killed(folder: Path, commits: int) -> list[str]:
    """The ids that a process acknowledged before it was killed, some time after `commits` of them."""
    with committing(folder, COMMITS) as process:
        assert process.stdout
        acknowledged = [process.stdout.readline().strip() for _ in range(commits)]
        process.kill()
        rest = process.stdout.read()
    return acknowledged + rest.split("\n")[:-1]  # the last line may be cut short


def assert_holds(store: Store, ids: list[str]) -> None:
    """Every id is there once, whole: entry, file, row and latents."""
    entries = store.ledger.find(ids)
    assert sorted(entries) == sorted(ids)
    assert all(store.whole(entry) for entry in entries.values())
    numbers = {row.id: row.segment for row in store.memory.rows()}
    for id, pair in zip(ids, store.memory.latents(ids), strict=True):
        for kept, made in zip(pair, make_latents(numbers[id]), strict=True):
            np.testing.assert_array_equal(kept.view(np.uint16), made.view(np.uint16))


@pytest.mark.parametrize("commits", [1, 7])
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, commits: int) -> None:
    acknowledged = run_until_killed(tmp_path, commits)
    assert commits <= len(acknowledged) < COMMITS
    with open_store(tmp_path, SIZE) as store:
        assert_holds(store, acknowledged)
        rows = [make_row(number) for number in range(len(acknowledged) + 2)]
        for row in rows:  # as a run that resumes, but forgetful: everything again, and what was lost
            commit(store, row)
        assert_holds(store, [row.id for row in rows])
        assert [row.segment for row in store.memory.rows()] == list(range(len(rows)))
        assert len(store.ledger.entries()) == len(rows)
        store.memory.maintain()
        store.ledger.maintain()
        assert_holds(store, [row.id for row in rows])


def test_a_commit_is_on_the_disk_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut cannot be had; what LanceDB leaves to the system is handed to the disk, latents before the ledger."""
    synced: list[Path] = []
    monkeypatch.setattr(durable, "_sync", lambda path, flags: synced.append(path))
    with open_store(tmp_path, SIZE) as store:
        tables = [tmp_path / MEMORY / f"{name}.lance" for name in ("latents", f"memories_{SIZE}", "ledger")]
        before = {path for table in tables for path in table.rglob("*")}
        assert before <= {*synced}, "of the tables themselves"
        assert {tmp_path / MEMORY, tmp_path} <= {*synced}
        synced.clear()
        commit(store, make_row(0))
    made = [set(table.rglob("*")) - before for table in tables]
    assert all({path.parent.name for path in paths} >= {"data", "_versions"} for paths in made)
    assert {*synced} >= {path for paths in made for path in (*paths, *(path.parent for path in paths))}
    places = [max(synced.index(path) for path in paths) for paths in made]
    assert places == sorted(places)


@pytest.mark.parametrize("damage", [b"", b"noise" * 200])
def test_damage_that_shows_while_rows_are_read_is_one_line(damage: bytes, tmp_path: Path) -> None:
    with open_store(tmp_path, SIZE) as store:
        commit(store, make_row(0))
    for path in (tmp_path / MEMORY).glob("*.lance/data/*.lance"):
        path.write_bytes(damage)
    stored = MemoryStore(tmp_path / MEMORY, SIZE)
    for read in (
        Ledger(tmp_path / MEMORY).entries,
        stored.rows,
        lambda: stored.latents([make_row(0).id]),
        lambda: stored.search(keys_of("holiday"), make_descriptor(0), "noise", 3, Reach(9, (), "tiny")),
    ):
        with pytest.raises(StoreError, match=rf"{tmp_path / MEMORY}: cannot be read .*; restore the folder") as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("owner", "step"), [(LatentStore, "put"), (MemoryStore, "_to_record")])
def test_a_row_is_never_there_without_its_latents(
    owner: type, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the latents are kept, or between them and the row."""
    row = make_row(0)
    with open_store(tmp_path, SIZE) as store:
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, _killed)
            with pytest.raises(KeyboardInterrupt):
                commit(store, row)
        assert store.memory.rows() == []
        assert store.ledger.entries() == []
        commit(store, row)
        assert_holds(store, [row.id])


def test_a_second_process_cannot_open_the_folder(tmp_path: Path) -> None:
    with (
        committing(tmp_path, 0) as process,
        pytest.raises(StoreBusyError, match=f"process {process.pid} is writing"),
        open_store(tmp_path, SIZE),
    ):
        pass
    with open_store(tmp_path, SIZE) as store:
        assert store.ledger.entries() == []


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "x"), RuntimeError("lance: No space left on device")])
def test_a_full_disk_is_told_whoever_met_it(fault: Exception, tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=f"{tmp_path.name}: the disk is full"), open_store(tmp_path, SIZE):
        raise fault
    with pytest.raises(RuntimeError, match="lance: something else"), open_store(tmp_path, SIZE):
        raise RuntimeError("lance: something else")


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("notes")
    with pytest.raises(StoreError, match="out: cannot be made a folder"), open_store(path, SIZE):
        pass
    (tmp_path / "memory").write_text("notes")
    with pytest.raises(StoreError, match="memory: is neither a folder nor"), open_store(tmp_path, SIZE):
        pass


def test_finished_work_is_found_while_its_file_is_whole(tmp_path: Path) -> None:
    with open_store(tmp_path, SIZE) as store:
        entry = commit(store, make_row(0))
        assert store.whole(entry)
        assert store.path_of(entry).is_file()
    path = tmp_path / entry.path
    assert find_finished(tmp_path, entry.id) == entry
    assert find_finished(tmp_path, "unknown") is None
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    assert find_finished(tmp_path, entry.id) is None
    path.write_bytes(content)
    assert find_finished(tmp_path, entry.id) == entry
    path.unlink()
    assert find_finished(tmp_path, entry.id) is None


def test_looking_creates_nothing(tmp_path: Path) -> None:
    assert find_finished(tmp_path / "never", "id") is None
    assert find_finished(tmp_path, "id") is None
    assert list(tmp_path.iterdir()) == []


def test_finished_work_is_found_while_another_process_writes(tmp_path: Path) -> None:
    with open_store(tmp_path, SIZE) as store:
        entry = commit(store, make_row(0))
    with committing(tmp_path, 0):
        assert find_finished(tmp_path, entry.id) == entry


def test_an_entry_without_a_file_is_not_whole(tmp_path: Path) -> None:
    with open_store(tmp_path, SIZE) as store:
        assert not store.whole(make_entry(make_row(0), "segments"))
        assert not store.whole(replace(make_entry(make_row(0)), path="segments/gone.mkv"))


def test_opening_removes_what_a_killed_run_was_writing(
    tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments, review = tmp_path / "segments", tmp_path / "film_edit_v001_review"
    info = probe(make_clip("plain", clips))
    frame = np.zeros((info.height, info.width, 3), np.uint8)
    for folder in (segments, review):
        folder.mkdir()
    with monkeypatch.context() as patch:
        for place, name in ((Path, "unlink"), (video, "publish"), (durable, "publish")):
            patch.setattr(place, name, _killed)
        with pytest.raises(KeyboardInterrupt):
            write_segment([frame], segments / "a.mkv")
        for path in (tmp_path / "film_edit_v001.mp4", review / "source.mp4"):
            with pytest.raises(KeyboardInterrupt):
                write_video([frame] * info.frames, info, fit(info, info.height, info.width), path)
    (tmp_path / ".film_edit_v001.html.7.unfinished").write_bytes(b"half")
    users = [place / name for place in (tmp_path, segments, review) for name in USERS_FILES]
    for path in users:
        path.write_bytes(b"mine")
    (tmp_path / ".folder.html.7.unfinished").mkdir()
    assert len(_written(tmp_path)) == len(users) + 6
    with open_store(tmp_path, SIZE):
        assert _written(tmp_path) == sorted(users)
    assert (tmp_path / ".folder.html.7.unfinished").is_dir()


def test_a_busy_folder_is_not_swept(tmp_path: Path) -> None:
    with committing(tmp_path, 0):
        unfinished = tmp_path / "segments" / ".a.mkv.unfinished"
        unfinished.write_bytes(b"half")
        with pytest.raises(RunError), open_store(tmp_path, SIZE):
            pass
        assert unfinished.exists()


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def _written(folder: Path) -> list[Path]:
    """The files of an output folder, its database, its lock and the source clips aside."""
    places = [folder, folder / "segments", *folder.glob("*_review")]
    files = [path for place in places for path in place.iterdir() if path.is_file()]
    return sorted(path for path in files if path.name not in ("store.lock", "store.json"))


def test_the_place_of_a_folder_is_found_and_nothing_made(tmp_path: Path) -> None:
    assert place_for(tmp_path) == tmp_path
    assert place_for(tmp_path / "a" / "b") == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(RequestError, match=f"{tmp_path / 'file'} is a file"):
            place_for(folder)


@pytest.mark.parametrize("table", ["memories_192", "latents", "ledger", "turns"])
def test_a_table_that_was_begun_on_a_full_disk_is_made(table: str, tmp_path: Path) -> None:
    """What is left of it has neither a version nor data; a table that lost its versions is damaged."""
    begun = tmp_path / "memory" / f"{table}.lance" / "_transactions"
    begun.mkdir(parents=True)
    (begun / "0-a.txn").touch()
    assert read_turns(tmp_path, "film") == []
    with open_store(tmp_path, 192) as store:
        assert store.memory.rows() == []
    rmtree(tmp_path / "memory" / f"{table}.lance" / "_versions")
    (begun.parent / "data").mkdir(exist_ok=True)
    (begun.parent / "data" / "rows.lance").touch()
    with pytest.raises(StoreError, match=table), open_store(tmp_path, 192):
        pass
