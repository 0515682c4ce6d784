"""Tables of states that an earlier version wrote, and that other shards write to."""

from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from lance.optimize import Compaction

from model.errors import StoreError
from storage import video_states
from storage.tables import open_table
from storage.video_states import ADDED, SCHEMA, VideoState, VideoStates


def test_states_of_an_earlier_version_are_read_and_go_on(tmp_path: Path) -> None:
    VideoStates(tmp_path).write([VideoState("one", "line", "done", flagged=3)])
    old = pa.schema([field for field in SCHEMA if field.name not in ADDED])
    table = open_table(tmp_path / "old", "videos", old)
    rows = open_table(tmp_path, "videos", SCHEMA).search().to_arrow().select(old.names)
    table.add(rows.cast(old))
    states = VideoStates(tmp_path / "old")
    assert (states.read()["one"].flagged, states.read()["one"].folder) == (0, "")
    states.write([VideoState("two", "line", "done", flagged=2, folder="season")])
    assert {id: state.flagged for id, state in VideoStates(tmp_path / "old").read().items()} == {"one": 0, "two": 2}
    assert VideoStates(tmp_path / "old").read()["two"].folder == "season"


def test_a_table_with_other_columns_is_still_refused(tmp_path: Path) -> None:
    open_table(tmp_path, "videos", pa.schema([*list(SCHEMA)[:5], pa.field("other", pa.string())]))
    with pytest.raises(StoreError, match="another version"):
        VideoStates(tmp_path)


def test_a_shard_outlives_another_that_writes_while_it_tends_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = VideoStates(tmp_path), VideoStates(tmp_path)
    for id in ("one", "two"):
        ours.write([VideoState(id, "line", "queued")])
    met: list[Exception] = []

    def merge_while_they_write(**_: Any) -> None:
        dataset = lance.dataset(str(tmp_path / "videos.lance"))
        merged = [task.execute(dataset) for task in Compaction.plan(dataset, {}).tasks]
        theirs.write([VideoState("two", "line", "done")])
        try:
            Compaction.commit(dataset, merged)
        except (RuntimeError, OSError) as fault:
            met.append(fault)
            raise

    monkeypatch.setattr(ours._rows, "optimize", merge_while_they_write)
    monkeypatch.setattr(video_states, "TENDED", ours._writes + 1)
    ours.write([VideoState("one", "line", "editing")])
    assert len(met) == 1, "the two do not conflict"
    assert {id: state.state for id, state in ours.read().items()} == {"one": "editing", "two": "done"}


def test_a_full_disk_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise OSError("No space left on device")

    states = VideoStates(tmp_path)
    monkeypatch.setattr(states._rows, "optimize", fail)
    monkeypatch.setattr(video_states, "TENDED", 1)
    with pytest.raises(OSError, match="No space left"):
        states.write([VideoState("one", "line", "queued")])
