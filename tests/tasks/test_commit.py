"""Commits are made in order, one at a time, and the ledger row comes last."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import RunError
from storage.ledger import Ledger
from storage.making import Making
from storage.remembered import RememberedStore
from storage.segment_file import read_segment
from storage.store import Store, open_store
from tasks import commit
from tasks.commit import RECENT, Committer, EditedWork
from tasks.prefetch import AHEAD
from tests.storage.memories import SIZE, make_latents, make_row
from tests.waiting import dying


def work_of(number: int) -> EditedWork:
    frames = np.random.default_rng(number).integers(0, 256, (3, 16, 16, 3), np.uint8)
    return EditedWork(make_row(number), frames, *make_latents(number), seconds=0.5, making=Making())


def commit_all(store: Store, works: Sequence[EditedWork]) -> None:
    with Committer(store) as committer:
        for work in works:
            committer.commit(work)


def assert_committed(store: Store, works: list[EditedWork]) -> None:
    entries = store.ledger.find([work.row.id for work in works])
    for work in works:
        entry = entries[work.row.id]
        assert store.whole(entry)
        assert (entry.kind, entry.segment, entry.seconds) == ("segment", work.row.segment, 0.5)
        np.testing.assert_array_equal(np.stack(list(read_segment(store.path_of(entry)))), work.frames)
        edited, source = store.memory.latents([work.row.id])[0]
        assert (edited.tobytes(), source.tobytes()) == (work.edited.tobytes(), work.source.tobytes())


def test_everything_is_committed_when_the_block_is_left(tmp_path: Path) -> None:
    works = [work_of(number) for number in range(4)]
    with open_store(tmp_path, SIZE) as store:
        commit_all(store, works)
        assert_committed(store, works)
        assert [row.id for row in store.memory.rows()] == [work.row.id for work in works]


def test_only_the_last_one_may_be_on_its_way(tmp_path: Path) -> None:
    with open_store(tmp_path, SIZE) as store, Committer(store) as committer:
        works = [work_of(number) for number in range(4)]
        for number, work in enumerate(works):
            committer.commit(work)
            assert_committed(store, works[:number])


def test_rows_stay_in_hand_longer_than_a_search_is_old(tmp_path: Path) -> None:
    """A segment is searched for at most AHEAD + 2 segments before it is edited, when one commit is still on its way."""
    assert RECENT >= AHEAD + 3
    with open_store(tmp_path, SIZE) as store, Committer(store) as committer:
        rows = [make_row(number) for number in range(RECENT + 2)]
        for number in range(RECENT + 2):
            committer.commit(work_of(number))
        assert [row.id for row in committer.recent] == [row.id for row in rows[-RECENT:]]


def test_a_failed_commit_is_told_and_leaves_no_row(tmp_path: Path) -> None:
    work = work_of(0)
    with open_store(tmp_path, SIZE) as store:
        (store.segments / f"{work.row.id}.mkv").mkdir()
        with pytest.raises(RunError, match="could not be written"), Committer(store) as committer:
            committer.commit(work)
        assert store.ledger.entries() == []
        assert store.memory.rows() == []


@pytest.mark.parametrize(
    ("owner", "step", "committed"),
    [
        (commit, "write_segment", 1),
        (RememberedStore, "remember", 1),
        (Ledger, "record", 1),
        (RememberedStore, "maintain", 2),
        (Ledger, "maintain", 2),
    ],
)
def test_a_commit_that_was_killed_is_whole_or_made_again(
    owner: Any, step: str, committed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at the second one."""
    monkeypatch.setattr(commit, "MOST_FRAGMENTS", 1)
    works = [work_of(number) for number in range(3)]
    with monkeypatch.context() as patch, open_store(tmp_path, SIZE) as store:
        patch.setattr(owner, step, dying(owner, step, 1))
        with pytest.raises(KeyboardInterrupt):
            commit_all(store, works[:2])
    with open_store(tmp_path, SIZE) as store:
        assert [entry.id for entry in store.ledger.entries()] == [work.row.id for work in works[:committed]]
        assert_committed(store, works[:committed])
        ids = [row.id for row in store.memory.rows()]
        assert len(store.memory.latents(ids)) == len(ids), "no row is there without its latents"
        commit_all(store, works[committed:])
        assert_committed(store, works)
        assert [row.id for row in store.memory.rows()] == [work.row.id for work in works]
        assert len(store.ledger.entries()) == len(works)


def test_a_store_of_many_short_turns_is_tended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fragments are counted in the store: turns of one segment add up."""
    monkeypatch.setattr(commit, "MOST_FRAGMENTS", 4)
    for number in range(9):
        with open_store(tmp_path, SIZE) as store:
            with Committer(store) as committer:
                committer.commit(work_of(number))
            assert store.memory.fragments <= 4
            assert len(store.memory.rows()) == number + 1
