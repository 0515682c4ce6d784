"""Tables of states that an earlier version wrote."""

from pathlib import Path

import pyarrow as pa
import pytest

from model.errors import StoreError
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
