"""The memory of views keeps poses and bitmaps to the bit, shares latents with text edits, and looks back only."""

from dataclasses import asdict, replace
from pathlib import Path

import duckdb
import lance
import numpy as np
import pytest

from model.camera.fov import video_fov
from model.camera.presets import preset
from model.camera.projection import Intrinsics
from model.errors import StoreError
from storage.kinds import forget
from storage.memory import MemoryStore
from storage.remembered import Reach
from storage.store import open_view_store
from storage.views import ViewRow, ViewStore
from tests.storage.memories import SIZE, STARTED, keys_of, make_latents, make_row

LENS = Intrinsics.from_lens(96, 64)


def make_view(segment: int, *, turn: int = 1, session: str = "holiday", video: str = "film", shot: int = 0) -> ViewRow:
    """Segment `segment` of a pan to the right."""
    path = preset("pan-right", 45).part(9 * segment, 9 * segment + 9, 9)
    return ViewRow(
        id=f"{session} {video} {turn} {segment}",
        session=session,
        video=video,
        turn=turn,
        segment=segment,
        shot=shot,
        start=9 * segment,
        stop=9 * segment + 9,
        instruction="a garden",
        seed=segment,
        recalled=("a", "b"),
        scores=(0.5, 0.25),
        reasons=("view", "random"),
        model="tiny",
        created=STARTED,
        camera="pan-right",
        trajectory=path.rows,
        seen=video_fov(path, LENS, np.eye(4)).packed,
    )


def fill(store: ViewStore, *rows: ViewRow) -> None:
    for row in rows:
        store.remember(row, *make_latents(row.segment))


def assert_equal(kept: ViewRow, made: ViewRow) -> None:
    one, other = asdict(kept), asdict(made)
    for name in ("trajectory", "seen"):
        array = one.pop(name)
        np.testing.assert_array_equal(array, other[name])
        assert array.dtype == other.pop(name).dtype
    assert one == other


def test_rows_come_back_to_the_bit(tmp_path: Path) -> None:
    rows = [make_view(0), make_view(1), make_view(0, turn=2)]
    fill(ViewStore(tmp_path), *reversed(rows))
    store = ViewStore(tmp_path)
    for kept, made in zip(store.rows(), rows, strict=True):
        assert_equal(kept, made)
    assert_equal(store.rows_of(("holiday", 2))[0], rows[2])
    np.testing.assert_array_equal(store.row(rows[1].id).cameras.poses, rows[1].cameras.poses)
    assert [one.reason for one in store.row(rows[0].id).recalls] == ["view", "random"]


def test_only_earlier_views_of_the_same_shot_are_looked_at(tmp_path: Path) -> None:
    mine = [make_view(segment, turn=turn) for turn in (1, 2, 3) for segment in range(3)]
    others = [make_view(0, session="x' OR '1'='1"), make_view(0, video="another"), make_view(4, shot=1)]
    others += [replace(make_view(3, turn=turn), model="another") for turn in (0, 1)]
    store = ViewStore(tmp_path)
    fill(store, *mine, *others)
    for before in [(1, 0), (2, 1), (3, 2), (9, 0)]:
        reach = Reach(before[0], range(before[1]), "tiny")
        found = {row.id for row in store.earlier(keys_of("holiday"), "film", 0, reach)}
        assert found == {row.id for row in mine if (row.turn, row.segment) < before}


def test_latents_are_shared_with_text_edits(tmp_path: Path) -> None:
    views, edits = ViewStore(tmp_path), MemoryStore(tmp_path, SIZE)
    fill(views, make_view(0))
    edits.remember(make_row(1), *make_latents(1))
    for store in (views, edits):
        for pair, number in zip(store.latents([make_view(0).id, make_row(1).id]), (0, 1), strict=True):
            for kept, made in zip(pair, make_latents(number), strict=True):
                np.testing.assert_array_equal(kept.view(np.uint16), made.view(np.uint16))
    assert lance.dataset(str(tmp_path / "latents.lance")).count_rows() == 2


def test_forgetting_and_missing_views_are_told(tmp_path: Path) -> None:
    store = ViewStore(tmp_path)
    fill(store, make_view(0), make_view(1))
    forget(tmp_path, [make_view(0).id], [make_view(0).id])
    assert [row.segment for row in store.rows()] == [1]
    assert list(store.find([make_view(1).id, make_view(0).id])) == [make_view(1).id]
    with pytest.raises(StoreError, match="memory holiday film 1 0 is missing"):
        store.row(make_view(0).id)


def test_maintenance_changes_no_answer(tmp_path: Path) -> None:
    rows = [make_view(segment, turn=turn) for turn in range(1, 7) for segment in range(3)]
    with open_view_store(tmp_path) as store:
        fill(store.memory, *rows)
        store.memory.maintain()
        for kept, made in zip(store.memory.rows(), rows, strict=True):
            assert_equal(kept, made)


def test_the_store_holds_no_place_and_is_open_to_sql(tmp_path: Path) -> None:
    with open_view_store(tmp_path) as store:
        fill(store.memory, make_view(0))
    views = lance.dataset(str(tmp_path / "memory" / "views.lance"))
    assert str(tmp_path) not in str(views.to_table().drop_columns(["seen"]).to_pylist())
    assert duckdb.sql("select camera, len(trajectory) from views").fetchall() == [("pan-right", 9 * 12)]
