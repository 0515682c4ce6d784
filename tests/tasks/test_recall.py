"""What a segment recalls does not depend on when the store was searched."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.config import RetrievalConfig
from model.memory.retrieval import rank_by_descriptor
from model.types import Recall
from storage.memory import MemoryRow, MemoryStore
from storage.remembered import Reach
from tasks.recall import Found, Query
from tests.storage.memories import SIZE, at, keys_of, make_latents, make_row

TURNS = keys_of("holiday")
PAPER = RetrievalConfig(top_k=3, least=-1)


def store_of(folder: Path, rows: Sequence[MemoryRow]) -> MemoryStore:
    memory = MemoryStore(folder / "memory", SIZE)
    for row in rows:
        memory.remember(row, *make_latents(row.segment))
    return memory


def before(row: MemoryRow) -> Reach:
    """What a segment may recall where segments are edited one after the other."""
    return Reach(row.turn, range(row.segment), row.model)


def look_up(
    memory: MemoryStore,
    row: MemoryRow,
    config: RetrievalConfig,
    recent: Sequence[MemoryRow] = (),
    previous: str | None = None,
) -> list[Recall]:
    query = Query(memory, TURNS, row, before(row), config)
    return query.recall(query.find(), recent, previous)


def ids(recalled: Sequence[Recall]) -> list[str]:
    return [one.id for one in recalled]


@pytest.fixture
def rows() -> list[MemoryRow]:
    return [make_row(number) for number in range(10)]


@pytest.mark.parametrize("config", [PAPER, RetrievalConfig(top_k=3, least=-1, coverage=True), RetrievalConfig(top_k=2)])
@pytest.mark.parametrize("late", [1, 2, 5])
def test_rows_on_their_way_rank_as_if_they_had_arrived(
    config: RetrievalConfig, late: int, rows: list[MemoryRow], tmp_path: Path
) -> None:
    *earlier, row = rows
    previous = earlier[-1].id
    early = store_of(tmp_path / "early", earlier[:-late])
    full = store_of(tmp_path / "full", earlier)
    expected = look_up(full, row, config, [], previous)
    assert look_up(early, row, config, earlier[-5:], previous) == expected
    assert look_up(full, row, config, earlier[-5:], previous) == expected


def test_the_previous_segment_comes_first_however_unlike(rows: list[MemoryRow], tmp_path: Path) -> None:
    *earlier, row = rows
    earlier[4] = at(earlier[4], -row.descriptor)
    memory = store_of(tmp_path, earlier)
    recalled = look_up(memory, row, PAPER, [], earlier[4].id)
    assert (recalled[0].id, recalled[0].reason) == (earlier[4].id, "previous")
    assert recalled[0].score == pytest.approx(-1)
    assert len(recalled) == PAPER.top_k


def test_what_is_too_unlike_is_left_out(rows: list[MemoryRow], tmp_path: Path) -> None:
    *earlier, row = rows
    earlier = [at(earlier[0], row.descriptor), *(at(other, -row.descriptor) for other in earlier[1:])]
    memory = store_of(tmp_path, earlier)
    config = RetrievalConfig(top_k=5, least=0.5)
    assert ids(look_up(memory, row, config)) == [earlier[0].id]


def test_later_segments_and_other_sessions_are_never_recalled(rows: list[MemoryRow], tmp_path: Path) -> None:
    row = rows[4]
    strangers = [make_row(number, session="another") for number in range(3)]
    described_otherwise = replace(rows[1], id="x", descriptor_name="thumbnail")
    memory = store_of(tmp_path, [*rows[:3], *rows[5:], *strangers])
    recent = [rows[3], *rows[5:], *strangers, described_otherwise]
    config = RetrievalConfig(top_k=20, least=-1)
    recalled = ids(look_up(memory, row, config, recent, None))
    assert sorted(recalled) == sorted(one.id for one in rows[:4])


def test_memories_of_another_model_are_never_recalled(rows: list[MemoryRow], tmp_path: Path) -> None:
    """A session may go on with other weights, whose latents mean something else; some were found late, some early."""
    *earlier, row = rows
    foreign = [replace(make_row(number, turn=0), model="another") for number in range(4)]
    memory = store_of(tmp_path, [*earlier, *foreign[:2]])
    for top_k in (3, 20):
        recalled = ids(look_up(memory, row, RetrievalConfig(top_k=top_k, least=-1), foreign[2:]))
        assert len(recalled) == min(top_k, len(earlier))
        assert set(recalled) <= {one.id for one in earlier}


def test_nothing_is_recalled_where_nothing_is_wanted(rows: list[MemoryRow], tmp_path: Path) -> None:
    memory = store_of(tmp_path, rows[:3])
    query = Query(memory, TURNS, rows[3], before(rows[3]), RetrievalConfig(top_k=0))
    assert query.find() == Found([], {})
    assert query.recall(Found([], {}), rows[:3], rows[2].id) == []


def test_coverage_prefers_what_does_not_repeat(tmp_path: Path) -> None:
    """Two nearly equal memories and one that is less alike: coverage takes one of the two and the other kind."""
    axes = np.eye(SIZE, dtype=np.float32)
    twins = [at(make_row(number), axes[0] + 0.4 * axes[1] + 0.01 * number * axes[2]) for number in range(2)]
    other = at(make_row(2), axes[0] - 0.6 * axes[1])
    row = at(make_row(3), axes[0])
    memory = store_of(tmp_path, [*twins, other])
    plain, spread = (RetrievalConfig(top_k=2, coverage=coverage) for coverage in (False, True))
    assert set(ids(look_up(memory, row, plain))) == {one.id for one in twins}
    assert other.id in ids(look_up(memory, row, spread))


def test_only_what_is_within_reach_is_recalled(rows: list[MemoryRow], tmp_path: Path) -> None:
    """Segments that are edited at once may recall the anchors, earlier and later ones, and nothing else."""
    anchors, config = (2, 7), RetrievalConfig(top_k=9, least=-1)
    memory, row = store_of(tmp_path, rows[:8]), rows[5]
    query = Query(memory, TURNS, row, Reach(row.turn, anchors, row.model), config)
    found = query.find()
    assert {one.id for one in found.candidates} == {rows[each].id for each in anchors}
    assert set(ids(query.recall(found, rows[3:9], None))) == {rows[each].id for each in anchors}


def changed(rows: Sequence[MemoryRow], changes: Sequence[float]) -> list[MemoryRow]:
    return [replace(row, change=change) for row, change in zip(rows, changes, strict=True)]


@pytest.mark.parametrize("late", [0, 1, 3, 9])
def test_what_was_hardly_changed_is_not_recalled_whenever_the_store_was_searched(
    late: int, rows: list[MemoryRow], tmp_path: Path
) -> None:
    """The greatest change came last, so that what was found before it is out, and makes room for others."""
    *earlier, row = rows
    earlier = changed(earlier, [0.5, 0.1, 0.3, 0.1, 0.6, 0.2, 0.1, 1.0, 0.1])
    memory = store_of(tmp_path, earlier[: len(earlier) - late])
    config = RetrievalConfig(top_k=2, least=-1, least_change=0.5)
    worthy = sorted((earlier[each] for each in (0, 4, 7)), key=lambda one: -cosine(one, row))
    assert ids(look_up(memory, row, config, earlier[-8:] if late < 9 else earlier)) == [one.id for one in worthy[:2]]


@pytest.mark.parametrize("late", [0, 1, 3])
def test_the_previous_segment_is_recalled_however_little_it_was_changed(
    late: int, rows: list[MemoryRow], tmp_path: Path
) -> None:
    """It shows the present place, where perhaps there was nothing to edit."""
    *earlier, row = rows
    earlier = changed(earlier, [0.1] * 4 + [1.0] * 4 + [0.1])
    memory = store_of(tmp_path, earlier[: len(earlier) - late])
    config = RetrievalConfig(top_k=3, least=-1, least_change=0.5)
    recalled = look_up(memory, row, config, earlier[-8:], earlier[-1].id)
    assert (recalled[0].id, recalled[0].reason) == (earlier[-1].id, "previous")
    assert len(recalled) == 3
    assert set(ids(recalled[1:])) < {one.id for one in earlier[4:8]}


@pytest.mark.parametrize("late", [0, 1, 5, 9])
def test_copies_are_not_recalled_whenever_the_store_was_searched(
    late: int, rows: list[MemoryRow], tmp_path: Path
) -> None:
    """All that are more alike than whatever was made before them; the first one has nothing before it."""
    *earlier, row = rows
    memory = store_of(tmp_path, earlier[: len(earlier) - late])
    config = RetrievalConfig(top_k=9, least=-1, copy_margin=0.0)
    scores = [cosine(one, row) for one in earlier]
    originals = [one for at, one in enumerate(earlier) if at == 0 or scores[at] > max(scores[:at])]
    assert 1 < len(originals) < len(earlier)
    recalled = look_up(memory, row, config, earlier[-8:] if late < 9 else earlier, earlier[-1].id)
    assert ids(recalled) == [one.id for one in sorted(originals, key=lambda one: -cosine(one, row))]
    assert {one.reason for one in recalled} == {"similar"}


def test_the_segment_before_is_no_copy_where_nothing_was_edited(rows: list[MemoryRow], tmp_path: Path) -> None:
    *earlier, row = rows
    earlier = changed(earlier, [1.0] * 8 + [0.1])
    config = RetrievalConfig(top_k=9, least=-1, least_change=0.5, copy_margin=2.0)
    recalled = look_up(store_of(tmp_path, earlier), row, config, earlier[-1:], earlier[-1].id)
    assert ids(recalled) == [earlier[-1].id, earlier[0].id]


def test_an_edit_of_a_whole_picture_does_not_shut_out_small_ones_of_another_turn(
    rows: list[MemoryRow], tmp_path: Path
) -> None:
    night = changed([make_row(number, turn=0) for number in range(4)], [9.0, 9.0, 1.0, 9.0])
    hats = changed(rows[:4], [0.2, 0.01, 0.2, 0.2])
    memory = store_of(tmp_path, [*night, *hats])
    recalled = ids(look_up(memory, rows[4], RetrievalConfig(top_k=9, least=-1, least_change=0.5)))
    assert set(recalled) == {one.id for one in (*night, *hats)} - {night[2].id, hats[1].id}


def test_memories_of_an_older_version_are_recalled_as_before(rows: list[MemoryRow], tmp_path: Path) -> None:
    *earlier, row = rows
    memory = store_of(tmp_path, [*earlier[:5], *changed(earlier[5:], [1.0, 0.1, 1.0, 0.1])])
    config = RetrievalConfig(top_k=9, least=-1, least_change=0.5)
    assert set(ids(look_up(memory, row, config))) == {earlier[each].id for each in (0, 1, 2, 3, 4, 5, 7)}


def cosine(one: MemoryRow, other: MemoryRow) -> float:
    return float(rank_by_descriptor(one.descriptor, other.descriptor[None])[0])
