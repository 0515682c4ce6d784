"""Commits are made in order, one at a time, and the ledger row comes last."""

from pathlib import Path

import numpy as np
import pytest

from model.errors import RunError
from storage.making import Making
from storage.segment_file import read_segment
from storage.store import Store, open_store
from tasks import commit
from tasks.commit import RECENT, Committer, EditedWork
from tasks.prefetch import AHEAD
from tests.storage.memories import SIZE, make_latents, make_row


def work_of(number: int) -> EditedWork:
    frames = np.random.default_rng(number).integers(0, 256, (3, 16, 16, 3), np.uint8)
    return EditedWork(make_row(number), frames, *make_latents(number), seconds=0.5, making=Making())


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
        with Committer(store) as committer:
            for work in works:
                committer.commit(work)
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


def test_a_store_of_many_short_turns_is_tended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fragments are counted in the store: turns of one segment add up."""
    monkeypatch.setattr(commit, "MOST_FRAGMENTS", 4)
    for number in range(9):
        with open_store(tmp_path, SIZE) as store:
            with Committer(store) as committer:
                committer.commit(work_of(number))
            assert store.memory.fragments <= 4
            assert len(store.memory.rows()) == number + 1
