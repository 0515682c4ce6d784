"""Sessions are listed, branch without copying, and are deleted with exactly what no other turn refers to."""

import re
from pathlib import Path
from typing import Any

import pytest

from model.errors import RequestError, StoreBusyError, StoreError
from storage import garbage, kinds, sessions
from storage.garbage import find_garbage, size_of, sweep
from storage.kinds import payload_sizes, remembered
from storage.ledger import Ledger
from storage.memory import MemoryStore
from storage.remembered import Reach
from storage.scores import write_scores
from storage.sessions import Dependent, branch, list_sessions, plan_removal, read_session, remove
from storage.store import MEMORY, open_store
from storage.store_lock import StoreLock
from storage.tables import open_tables
from tests.storage.memories import SIZE, commit, enter_turn, make_descriptor, make_session, row_of
from tests.storage.test_store import committing
from tests.waiting import dying


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_session(tmp_path)


def ids(folder: Path) -> set[str]:
    return {memory.id for memory in remembered(folder / MEMORY)}


def files(folder: Path) -> set[str]:
    return {path.name for path in (*folder.glob("*_edit_*"), *(folder / "segments").iterdir())}


def assert_consistent(folder: Path) -> None:
    """No entry without its file, no memory without its latents."""
    assert ids(folder) <= set(payload_sizes(folder / MEMORY))
    assert all((folder / entry.path).is_file() for entry in Ledger(folder / MEMORY).entries())


def test_sessions_are_listed_with_all_that_they_refer_to(folder: Path) -> None:
    branch(folder, "film", 2, "blue")
    film, blue = sorted(list_sessions(folder), key=lambda session: -session.turns)
    assert (film.name, film.turns, film.segments) == ("film", 3, 6)
    assert (blue.name, blue.turns, blue.segments) == ("blue", 2, 4)
    kept = sum(payload_sizes(folder / MEMORY).values()) + sum(map(size_of, (folder / "segments").iterdir()))
    assert film.bytes == kept + 3 * len("video 1")


def test_a_session_tells_its_turns(folder: Path) -> None:
    first, second, third = read_session(folder, "film")
    assert [len(turn.segments) for turn in (first, second, third)] == [2, 2, 2]
    assert second.segments[0].recalled == (first.segments[0].id,)
    assert (third.row.parent, third.row.asked, third.row.source) == (2, "night", "film")
    assert [video.path for video in third.videos] == ["film_edit_v003.mp4"]


def test_what_is_not_there_is_one_clear_line(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(RequestError, match="nofilm: no such session"):
        read_session(folder, "nofilm")
    with pytest.raises(RequestError, match="has no turn 9; it has 1, 2, 3"):
        plan_removal(folder, "film", 9)
    with pytest.raises(RequestError, match="holds no sessions"):
        list_sessions(tmp_path_factory.mktemp("empty"))
    for name in ("film", "../x", "a\n", ""):
        with pytest.raises(RequestError, match=r"no name for|is taken"):
            branch(folder, "film", 1, name)


def test_a_branch_shares_everything_and_copies_nothing(folder: Path) -> None:
    before, sizes = files(folder), payload_sizes(folder / MEMORY)
    branch(folder, "film", 2, "blue")
    assert (files(folder), payload_sizes(folder / MEMORY)) == (before, sizes)
    assert [turn.segments for turn in read_session(folder, "blue")] == [
        turn.segments for turn in read_session(folder, "film")[:2]
    ]


def test_a_branch_finds_the_turns_that_it_shares_and_no_others(folder: Path) -> None:
    branch(folder, "film", 2, "blue")
    with open_store(folder, SIZE) as store:
        number = enter_turn(store.ledger, "blue", "another turn")
        keys = [turn.key for turn in store.ledger.turns("blue")]
        commit(store, row_of(number, 0, session="blue"))
        found = store.memory.search(keys, make_descriptor(0), "noise", 9, Reach(9, (), "tiny"))
    assert (number, keys) == (3, [("film", 1), ("film", 2), ("blue", 3)])
    wanted = {row_of(turn, segment).id for turn in (1, 2) for segment in range(2)} | {row_of(3, 0, session="blue").id}
    assert {hit.id for hit in found} == wanted


def test_dependents_are_named(folder: Path) -> None:
    assert plan_removal(folder, "film", 1).dependents == (Dependent("film", 2, 0), Dependent("film", 2, 1))
    assert plan_removal(folder, "film", 2).dependents == (Dependent("film", 3, None),)
    assert plan_removal(folder, "film", 3).dependents == ()
    assert plan_removal(folder, "film").dependents == ()


def test_a_turn_goes_with_all_that_is_its_own(folder: Path) -> None:
    remove(folder, plan_removal(folder, "film", 3))
    assert ids(folder) == {row_of(turn, segment).id for turn in (1, 2) for segment in range(2)}
    assert set(payload_sizes(folder / MEMORY)) == ids(folder)
    videos = {f"film_edit_v00{turn}.{suffix}" for turn in (1, 2) for suffix in ("mp4", "html")}
    assert files(folder) == {f"{id}.mkv" for id in ids(folder)} | videos
    assert [turn.number for turn in Ledger(folder / MEMORY).turns("film")] == [1, 2]
    assert enter_turn(Ledger(folder / MEMORY), "film", "a new third turn") == 3


def test_what_a_branch_shares_stays(folder: Path) -> None:
    branch(folder, "film", 2, "blue")
    remove(folder, plan_removal(folder, "film"))
    assert ids(folder) == {row_of(turn, segment).id for turn in (1, 2) for segment in range(2)}
    assert [session.name for session in list_sessions(folder)] == ["blue"]
    assert_consistent(folder)
    assert enter_turn(Ledger(folder / MEMORY), "film", "anew") == 3, "numbers under which others' turns are kept"
    remove(folder, plan_removal(folder, "blue"))
    assert ids(folder) == set()
    assert files(folder) == set()


@pytest.mark.parametrize(
    ("owner", "step", "after"),
    [
        *((garbage, step, 0) for step in ("forget", "reclaim", "rmtree")),
        (kinds, "_delete", 1),  # between memories and their latents
    ],
)
def test_a_removal_that_was_killed_goes_on(
    owner: Any, step: str, after: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "film_edit_v003_review").mkdir()
    write_scores(folder / "film_edit_v003.mp4", [])
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, dying(owner, step, after))
        with pytest.raises(KeyboardInterrupt):
            remove(folder, plan_removal(folder, "film", 3))
    assert_consistent(folder)
    remove(folder, plan_removal(folder, "film", 3))
    assert len(ids(folder)) == 4
    assert set(payload_sizes(folder / MEMORY)) == ids(folder)
    assert not [name for name in files(folder) if "v003" in name]


def test_exactly_the_orphans_are_garbage(folder: Path) -> None:
    clean = find_garbage(folder, Ledger(folder / MEMORY).turns())
    assert (clean.entries, clean.memories, clean.payloads, clean.files) == ((), (), (), ())
    with open_store(folder, SIZE) as store:
        orphan = row_of(1, 5, session="nobody's")
        commit(store, orphan)
    stray = folder / "segments" / "stray.mkv"
    stray.write_text("left by a killed commit")
    (folder / "segments" / ".x.mkv.unfinished").write_text("half")
    (folder / "segments" / "notes.txt").write_text("mine")
    found = find_garbage(folder, Ledger(folder / MEMORY).turns())
    assert found.memories == found.payloads == found.entries == (orphan.id,)
    assert found.payload_bytes == payload_sizes(folder / MEMORY)[orphan.id]
    assert {path.name for path in found.files} == {f"{orphan.id}.mkv", "stray.mkv", ".x.mkv.unfinished"}
    assert found.file_bytes == len(orphan.id) + len("left by a killed commit") + len("half")
    before = size_of(folder)
    sweep(folder, found)
    assert before - size_of(folder) > found.payload_bytes + found.file_bytes, "and old versions"
    assert len(ids(folder)) == 6
    assert (folder / "segments" / "notes.txt").is_file()
    store = MemoryStore(folder / MEMORY, SIZE)
    assert len(store.latents(sorted(ids(folder)))) == 6


def test_a_folder_in_use_is_refused(folder: Path) -> None:
    with (
        committing(folder, 0) as process,
        pytest.raises(StoreBusyError, match=str(process.pid)),
        sessions.locked(folder),
    ):
        pass
    with StoreLock(folder):
        assert len(list_sessions(folder)) == 1, "looking needs no lock"


def test_turns_of_another_version_are_refused(folder: Path) -> None:
    open_tables(folder / MEMORY)["turns"].drop_columns(["asked"])
    with pytest.raises(StoreError, match=re.escape("table turns was written by another version")):
        Ledger(folder / MEMORY)
