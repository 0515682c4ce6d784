"""VideoFOV against closed forms, its score, and ranking from bitmaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from model.camera.fov import PACKED_BYTES, cell_sizes, cover, fov_score, overlap_matrix, rank, sphere, video_fov
from model.camera.presets import PRESETS, Moves, preset
from model.camera.projection import Intrinsics
from model.camera.trajectory import Trajectory, rotations
from model.errors import RequestError

LENS = Intrinsics.from_angle(60, 640, 480)
STILL = Trajectory.still(1)


def yawed(degrees: float) -> Trajectory:
    return Trajectory(preset("pan-right", 2, Moves(pan=degrees)).poses[1:])


def random_motion(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotations(rng.normal(size=(1, 4)))[0], 5 * rng.normal(size=3)
    return motion


def frustum(lens: Intrinsics) -> float:
    """Solid angle of a rectangular pyramid seen from its apex."""
    half_width, half_height = lens.width / 2 / lens.fx, lens.height / 2 / lens.fy
    return 4 * np.arcsin(half_width * half_height / np.sqrt((1 + half_width**2) * (1 + half_height**2)))


def overlap_after_yaw(lens: Intrinsics, degrees: float) -> float:
    """Solid angle shared by two frustums a yaw apart, by integrating the elevation over the shared longitudes."""
    half = np.arctan(lens.width / 2 / lens.fx)
    shift = np.radians(degrees)
    borders = np.linspace(shift - half, half, 20_001)
    longitude = (borders[1:] + borders[:-1]) / 2
    slope = lens.height / 2 / lens.fy
    elevation = np.minimum(np.arctan(slope * np.cos(longitude)), np.arctan(slope * np.cos(longitude - shift)))
    return float((2 * np.sin(elevation)).sum() * (borders[1] - borders[0]))


def test_the_sphere_is_one_unit_vector_a_direction() -> None:
    assert sphere().shape == (3, 64_800)
    assert_allclose(np.linalg.norm(sphere(), axis=0), 1, atol=1e-6)
    assert_allclose(cell_sizes("solid_angle").sum() * 360, 4 * np.pi)
    assert cell_sizes("count").sum() * 360 == 64_800


@pytest.mark.parametrize("size", [(60, 640, 480), (90, 500, 500), (50, 832, 480), (120, 480, 832)])
def test_one_frame_sees_its_frustum(size: tuple[int, int, int]) -> None:
    lens = Intrinsics.from_angle(*size)
    assert video_fov(STILL, lens).area == pytest.approx(frustum(lens), rel=0.03)


def test_looking_up_sees_as_much_as_looking_ahead_by_solid_angle_but_not_by_count() -> None:
    up = Trajectory(preset("tilt-up", 2, Moves(tilt=90)).poses[1:])
    ahead, zenith = video_fov(STILL, LENS), video_fov(up, LENS, STILL.poses[0])
    assert zenith.area == pytest.approx(ahead.area, rel=0.02)
    counted = [video_fov(path, LENS, STILL.poses[0], weighting="count") for path in (STILL, up)]
    assert counted[1].area > 2 * counted[0].area
    assert counted[1].area == zenith.seen.sum()


@pytest.mark.parametrize("degrees", [5, 15, 30, 45])
def test_a_yaw_leaves_the_analytic_overlap(degrees: float) -> None:
    shared = overlap_after_yaw(LENS, degrees)
    whole = frustum(LENS)
    expected = 0.5 * shared / (2 * whole - shared) + 0.5 * shared / whole
    score = fov_score(video_fov(STILL, LENS), video_fov(yawed(degrees), LENS))
    assert score == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize("name", PRESETS)
def test_a_trajectory_matches_itself_perfectly(name: str) -> None:
    seen = video_fov(preset(name, 9), LENS)
    assert fov_score(seen, seen) == pytest.approx(1)


def test_looking_away_shares_nothing() -> None:
    assert fov_score(video_fov(STILL, LENS), video_fov(yawed(180), LENS)) == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_moving_the_whole_world_changes_no_score(seed: int) -> None:
    target, cached, motion = preset("arc-left", 5), preset("pan-right", 5), random_motion(seed)
    before = fov_score(video_fov(target, LENS), video_fov(cached, LENS))
    after = fov_score(video_fov(target.moved(motion), LENS), video_fov(cached.moved(motion), LENS))
    assert after == pytest.approx(before, abs=2e-3)  # float32: directions on the very border may change sides


def test_containment_is_not_symmetric() -> None:
    narrow, wide = video_fov(STILL, LENS), video_fov(preset("pan-left", 21, Moves(pan=90)), LENS)
    share = narrow.area / wide.area
    assert not (narrow.seen & ~wide.seen).any()
    assert fov_score(narrow, wide) == pytest.approx(0.5 * share + 0.5, abs=1e-6)
    assert fov_score(wide, narrow) == pytest.approx(share, abs=1e-6)


def test_a_video_sees_the_union_of_its_frames() -> None:
    path = preset("pan-right", 7, Moves(pan=80))
    frames = [video_fov(Trajectory(path.poses[[index]]), LENS, path.poses[0]).seen for index in range(7)]
    assert_array_equal(video_fov(path, LENS).seen, np.logical_or.reduce(frames))


def test_cached_trajectories_are_seen_from_the_target() -> None:
    """The same pair, given relative to the target, to itself, or to the world, scores the same."""
    target, cached = preset("zoom-in", 5), preset("arc-right", 5)
    goal = video_fov(target, LENS)
    alone = video_fov(cached, LENS, cached.poses[-1])
    assert fov_score(goal, alone) == fov_score(goal, alone.around(goal.reference))
    assert fov_score(goal, alone) == rank(goal, alone.around(goal.reference).packed[None])[0]


def test_radius_decides_how_much_a_step_matters() -> None:
    near, far = (
        fov_score(video_fov(STILL, LENS, radius=radius), video_fov(preset("arc-left", 2), LENS, radius=radius))
        for radius in (5.0, 500.0)
    )
    assert near != far
    small, large = (video_fov(preset("zoom-out", 2), LENS, radius=radius).area for radius in (1.0, 100.0))
    assert small > 2 * large  # from outside the paper's unit sphere all of its near side is in view


def test_plain_arrays_are_taken() -> None:
    path = preset("tilt-down", 5)
    lens = Intrinsics.from_angle(60, 640, 480)
    expected = video_fov(path, lens).packed
    assert_array_equal(video_fov(path.poses, lens.matrix).packed, expected)
    assert_array_equal(video_fov(path.poses[:, :3], lens).packed, expected)


def test_an_impossible_sphere_is_refused() -> None:
    with pytest.raises(RequestError, match="radius 0"):
        video_fov(STILL, LENS, radius=0)


@pytest.mark.parametrize("weighting", ["solid_angle", "count"])
def test_ranking_many_bitmaps_is_scoring_each(weighting) -> None:
    target = video_fov(preset("pan-right", 5), LENS, weighting=weighting)
    cached = [video_fov(preset(name, 5), LENS, target.reference, weighting=weighting) for name in PRESETS]
    packed = np.stack([one.packed for one in cached])
    assert packed.shape == (10, PACKED_BYTES)
    many = rank(target, np.tile(packed, (7, 1)))
    assert_array_equal(many, np.tile([fov_score(target, one) for one in cached], 7))
    for score, one in zip(many, cached, strict=False):
        sizes = np.repeat(cell_sizes(weighting), 360).reshape(180, 360)
        both, either = (sizes[mask].sum() for mask in (target.seen & one.seen, target.seen | one.seen))
        assert score == pytest.approx(0.5 * both / either + 0.5 * both / sizes[target.seen].sum(), rel=1e-4)


def test_a_score_does_not_depend_on_what_else_is_ranked() -> None:
    target = video_fov(preset("arc-right", 5), LENS)
    views = [preset("pan-left", 5), preset("tilt-up", 5, Moves(tilt=90)), preset("tilt-down", 5, Moves(tilt=80))]
    packed = np.stack([video_fov(view, LENS, target.reference).packed for view in views])
    assert_array_equal(rank(target, packed), [rank(target, packed[[index]])[0] for index in range(3)])
    assert rank(target, packed[:0]).shape == (0,)
    blind = np.zeros((1, PACKED_BYTES), np.uint8)
    assert_array_equal(rank(target, blind), [0])


def test_coverage_does_not_repeat_itself() -> None:
    """Two looks to the left are more like the target than one to the right, but only one of them is needed."""
    target = video_fov(preset("pan-right", 9, Moves(pan=60)), LENS)
    packed = np.stack([video_fov(yawed(angle), LENS, target.reference).packed for angle in (12, 10, 80, 180)])
    assert rank(target, packed)[:2].min() > rank(target, packed)[2]
    assert cover(target, packed, 2) == [0, 2]
    assert cover(target, packed, 9) == [0, 2, 1, 3]


def test_when_all_is_covered_the_rest_follow_by_score() -> None:
    target = video_fov(STILL, LENS)
    packed = np.stack([video_fov(yawed(angle), LENS, target.reference).packed for angle in (40, 0, 10)])
    assert cover(target, packed, 3) == [1, 2, 0]
    assert cover(target, packed, 0) == []


def test_the_matrix_is_the_score_of_every_pair() -> None:
    """Also of views that start elsewhere than others, and with lenses of their own."""
    views = [preset("pan-right", 3), preset("arc-left", 3), yawed(90)]
    lenses = [LENS, LENS, Intrinsics.from_angle(120, 640, 480)]
    drawn = [video_fov(view, lens) for view, lens in zip(views, lenses, strict=True)]
    scores = overlap_matrix(views, lenses)
    assert_allclose(scores, [[fov_score(target, cached) for cached in drawn] for target in drawn])
    assert_allclose(np.diag(scores), 1)
    assert scores[0, 2] > scores[2, 0]  # the wide view has seen more of the narrow one than the other way round
    assert_allclose(overlap_matrix(views[:2], LENS), scores[:2, :2])


def test_one_view_shares_all_with_itself() -> None:
    assert_allclose(overlap_matrix([STILL], LENS), [[1]])
