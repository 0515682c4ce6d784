"""Cosine ranking and the choice of memories, previous segment and coverage included; views by what they saw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from model.camera.fov import FieldOfView, fov_score, video_fov
from model.camera.presets import PRESETS, preset
from model.camera.projection import Intrinsics
from model.camera.trajectory import Trajectory
from model.config import RetrievalConfig
from model.memory.retrieval import Candidate, SeenView, choose, choose_by_view, leave_out_copies, rank_by_descriptor
from model.types import Recall


def candidates_for(query: np.ndarray, rows: dict[str, list[float]]) -> list[Candidate]:
    descriptors = {id: np.array(row, np.float32) for id, row in rows.items()}
    return [Candidate(id, float(rank_by_descriptor(query, row[None])[0]), row) for id, row in descriptors.items()]


@st.composite
def pools(draw: st.DrawFn) -> tuple[np.ndarray, list[Candidate]]:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    rows = rng.normal(size=(draw(st.integers(0, 12)), 6)).astype(np.float32)
    query = rng.normal(size=6).astype(np.float32)
    return query, candidates_for(query, {f"id{index:02}": row.tolist() for index, row in enumerate(rows)})


def test_scores_are_cosines() -> None:
    rows = np.array([[2, 0], [0, 5], [-1, 0], [1, 1]], np.float32)
    assert_allclose(rank_by_descriptor(np.array([3, 0], np.float32), rows), [1, 0, -1, 0.5**0.5], atol=1e-12)


def test_a_blank_descriptor_is_like_nothing() -> None:
    rows = np.array([[0, 0], [1, 0]], np.float32)
    assert_array_equal(rank_by_descriptor(np.zeros(2, np.float32), rows), [0, 0])
    assert_array_equal(rank_by_descriptor(np.array([1, 0], np.float32), rows), [0, 1])


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_scores_ignore_length_and_company(seed: int, scale: float) -> None:
    rows = np.random.default_rng(seed).normal(size=(7, 33)).astype(np.float32)
    scores = rank_by_descriptor(rows[0], rows)
    assert scores[0] == pytest.approx(1)
    assert_allclose(rank_by_descriptor((rows[0] * scale).astype(np.float32), rows), scores, atol=1e-5)
    assert_array_equal(np.concatenate([rank_by_descriptor(rows[0], row[None]) for row in rows]), scores)


@given(pools(), st.integers(0, 8))
def test_without_a_previous_segment_the_most_similar_come_in_order(pool: tuple, top_k: int) -> None:
    _, candidates = pool
    recalled = choose(candidates, top_k)
    scores = [memory.score for memory in recalled]
    assert scores == sorted((candidate.score for candidate in candidates), reverse=True)[:top_k]
    assert {memory.reason for memory in recalled} <= {"similar"}


@given(pools(), st.integers(1, 8), st.booleans())
def test_the_previous_segment_always_comes_first_and_once(pool: tuple, top_k: int, coverage: bool) -> None:
    _, candidates = pool
    for previous in candidates:
        recalled = choose(candidates, top_k, previous.id, coverage)
        assert recalled[0] == Recall(previous.id, previous.score, "previous")
        assert [memory.id for memory in recalled].count(previous.id) == 1
        assert {memory.reason for memory in recalled[1:]} <= {"similar"}
        assert len(recalled) == min(top_k, len(candidates))


@given(pools(), st.integers(0, 8), st.booleans(), st.randoms())
def test_the_order_of_the_candidates_does_not_matter(pool: tuple, top_k: int, coverage: bool, random: object) -> None:
    _, candidates = pool
    shuffled = list(candidates)
    random.shuffle(shuffled)
    assert choose(shuffled, top_k, None, coverage) == choose(candidates, top_k, None, coverage)


def test_ties_are_broken_by_id() -> None:
    query = np.array([1, 0], np.float32)
    candidates = candidates_for(query, {"c": [1, 1], "a": [1, 1], "b": [1, 1]})
    for coverage in (False, True):
        assert [memory.id for memory in choose(candidates, 2, None, coverage)] == ["a", "b"]


def test_of_equals_the_latest_comes_first() -> None:
    """A span is as like itself turn after turn; ids differ between sessions that are otherwise the same."""
    query, row = np.array([1, 0], np.float32), np.array([1, 1], np.float32)
    made = {"c": (1, 4), "a": (1, 5), "b": (2, 0)}
    candidates = [Candidate(id, 0.5, row, when) for id, when in made.items()]
    for coverage in (False, True):
        assert [memory.id for memory in choose(candidates, 3, None, coverage)] == ["b", "a", "c"]
    better = Candidate("d", 0.6, query, (0, 0))
    assert choose([*candidates, better], 1)[0].id == "d"


def test_across_a_cut_the_last_segment_is_recalled_only_if_it_looks_alike() -> None:
    query = np.array([1, 0, 0], np.float32)
    candidates = candidates_for(query, {"last": [0, 1, 0], "alike": [1, 0.1, 0], "near": [1, 0.5, 0]})
    assert [memory.id for memory in choose(candidates, 2, previous=None)] == ["alike", "near"]
    assert [memory.id for memory in choose(candidates, 2, previous="last")] == ["last", "alike"]


def test_coverage_prefers_another_view_to_a_repetition() -> None:
    query = np.array([1, 1, 0], np.float32)
    candidates = candidates_for(query, {"a": [1, 0.9, 0], "a again": [1, 0.89, 0], "b": [0.6, 1, 0], "off": [0, 0, 1]})
    assert [memory.id for memory in choose(candidates, 2, None)] == ["a", "a again"]
    assert [memory.id for memory in choose(candidates, 2, None, coverage=True)] == ["a", "b"]


@given(pools())
def test_coverage_reports_likeness_to_the_query(pool: tuple) -> None:
    _, candidates = pool
    scores = {candidate.id: candidate.score for candidate in candidates}
    recalled = choose(candidates, 5, None, coverage=True)
    assert all(memory.score == scores[memory.id] for memory in recalled)
    assert not recalled or recalled[0].score == max(scores.values())


def test_top_k_of_zero_recalls_nothing() -> None:
    candidates = candidates_for(np.array([1, 0], np.float32), {"a": [1, 0]})
    assert choose(candidates, 0, "a") == []


def test_a_previous_segment_that_is_no_candidate_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="not among the candidates"):
        choose([], 3, "missing")


LENS = Intrinsics.from_lens(96, 64)
CAMERAS = ("pan-right", "pan-left", "tilt-up", "zoom-in", "arc-left")


def drawn(camera: str) -> FieldOfView:
    return video_fov(preset(camera, 9), LENS, np.eye(4))


def views_of(*cameras: str) -> list[SeenView]:
    return [SeenView(camera, (turn, 0), drawn(camera).packed) for turn, camera in enumerate(cameras, start=1)]


@pytest.mark.parametrize("camera", PRESETS)
def test_views_are_recalled_by_what_they_saw(camera: str) -> None:
    target, views = drawn(camera), views_of(*CAMERAS)
    recalled = choose_by_view(target, views, RetrievalConfig(top_k=3))
    scores = {view.id: fov_score(target, drawn(view.id)) for view in views}
    assert [one.id for one in recalled] == sorted(scores, key=lambda id: -scores[id])[:3]
    assert [one.score for one in recalled] == [scores[one.id] for one in recalled]
    assert {one.reason for one in recalled} == {"view"}
    assert recalled[0].id == camera or camera not in CAMERAS


def test_equal_views_keep_their_order() -> None:
    twins = [SeenView(name, (1, 0), drawn("pan-left").packed) for name in "cab"]
    recalled = choose_by_view(drawn("tilt-up"), twins, RetrievalConfig(top_k=2))
    assert [one.id for one in recalled] == ["c", "a"]


def test_views_with_too_little_in_common_are_left_out() -> None:
    target, views = drawn("pan-left"), views_of("pan-left", "pan-right")
    assert len(choose_by_view(target, views, RetrievalConfig(top_k=2))) == 2
    assert [one.id for one in choose_by_view(target, views, RetrievalConfig(top_k=2, least=0.99))] == ["pan-left"]


def test_covering_views_do_not_repeat_one_another() -> None:
    """A view to either side: the second pick is the other side, not the first one's twin."""
    wide = video_fov(Trajectory(np.concatenate([preset(name, 9).poses for name in ("pan-left", "pan-right")])), LENS)
    views = [*views_of("pan-left", "pan-right"), SeenView("twin", (3, 0), drawn("pan-left").packed)]
    recalled = choose_by_view(wide, views, RetrievalConfig(top_k=2, coverage=True))
    assert {one.id for one in recalled} in ({"pan-left", "pan-right"}, {"twin", "pan-right"})


def test_baselines_choose_without_looking() -> None:
    target, views = drawn("pan-right"), views_of(*CAMERAS)
    config = RetrievalConfig(top_k=3, least=0.9)
    recent = choose_by_view(target, views[::-1], config, "recency")
    assert [(one.id, one.reason) for one in recent] == [(name, "recent") for name in CAMERAS[:-4:-1]]
    assert choose_by_view(target, views, config, "none") == []
    assert choose_by_view(target, [], config) == []
    draws = {tuple(one.id for one in choose_by_view(target, views, config, "random", seed)) for seed in range(20)}
    assert len(draws) > 5
    again = [choose_by_view(target, some, config, "random", 7) for some in (views, views[::-1])]
    assert again[0] == again[1]


def made(id: str, score: float, turn: int, segment: int) -> Candidate:
    return Candidate(id, score, np.ones(2), (turn, segment))


def test_a_later_memory_is_a_copy_unless_it_is_more_alike() -> None:
    row = [made("first", 0.1, 0, 0), made("same", 0.2, 0, 1), made("alike", 0.5, 0, 2), made("again", 0.6, 0, 3)]
    assert [one.id for one in leave_out_copies(row[::-1], 0.2)] == ["first", "alike"]
    assert [one.id for one in leave_out_copies(row, 0.0)] == ["first", "same", "alike", "again"]
    assert [one.id for one in leave_out_copies(row, 2.0)] == ["first"]


def test_small_steps_add_up_to_something_new() -> None:
    """What a memory is held against is what was kept before it."""
    row = [made(str(at), 0.1 * at, 0, at) for at in range(9)]
    assert [one.id for one in leave_out_copies(row, 0.15)] == ["0", "2", "4", "6", "8"]


def test_turns_do_not_copy_each_other_and_a_place_copies_nothing() -> None:
    row = [made("a", 0.9, 0, 0), made("b", 0.9, 0, 5), made("c", 0.2, 1, 0), made("d", 0.3, 1, 5)]
    assert [one.id for one in leave_out_copies(row, 0.2)] == ["a", "c"]
    assert [one.id for one in leave_out_copies(row, 0.2, "d")] == ["a", "c", "d"]
    assert [one.id for one in leave_out_copies(row, 0.2, "c")] == ["a", "c", "d"]
