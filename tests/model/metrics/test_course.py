"""Faults of a known size, put into a scene that moves: each metric sees its own, by about as much, and no other's."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from model.errors import RequestError
from model.metrics.course import Course, follow
from model.metrics.fidelity import structural_similarity as ours
from model.metrics.motion import excess, jump_of, motion_between, shrink
from model.metrics.plan import plan_measurement
from model.metrics.score import NotMeasured, Score
from model.metrics.vbench import temporal_flickering
from model.metrics.video_scores import score_segments
from model.types import Segment, Shot, Span
from tests.model.metrics.scenes import (
    FRAMES,
    PLAN,
    SEGMENTS,
    SHOTS,
    SOURCE,
    brighter,
    edited,
    measured,
    scene,
    shifted,
)

CUT = SHOTS[1].span.start
SHORT = (Segment(0, 0, Span(0, 5), 5),)


@cache
def steady() -> Course:
    """What is found of an edit that is alike everywhere."""
    return measured(brighter)


@cache
def unedited() -> Course:
    """What is found of an edit that is its source."""
    return measured(lambda _, frame: frame)


def test_an_edit_that_is_its_source_has_no_fault() -> None:
    same = unedited()
    segments = score_segments(same)
    assert np.nanmax(same.flicker) == 0
    assert np.all(segments.colour == 0)
    assert np.all(segments.flicker == 0)
    joins = [index for index in range(1, len(SEGMENTS)) if SEGMENTS[index].shot == SEGMENTS[index - 1].shot]
    assert list(np.flatnonzero(np.isfinite(segments.seam))) == joins
    assert np.all(segments.seam[joins] == 1)
    assert np.all(same.squared_error == 0)
    np.testing.assert_allclose(same.similarity, 1, atol=1e-6)


def test_no_pair_lies_over_a_cut() -> None:
    for series in (steady().source_change, steady().edit_change, steady().warping, steady().flicker):
        assert np.isnan(series[[0, CUT]]).all()
        assert np.isfinite(np.delete(series, [0, CUT])).all()
    assert all((gap.before < CUT) == (gap.after < CUT) for gap in PLAN.gaps)


def test_temporal_flickering_is_vbenchs_formula() -> None:
    changes = [
        np.abs(one.astype(np.float64) - other).mean()
        for start, stop in ((0, CUT), (CUT, FRAMES))
        for one, other in pairwise(SOURCE[start:stop])
    ]
    found = temporal_flickering(steady().source_change)
    assert isinstance(found, Score)
    assert found.value == pytest.approx((255 - np.mean(changes)) / 255, abs=1e-12)
    assert found.cases == FRAMES - 2


@cache
def faulty(segment: int) -> Course:
    """The same with the levels of one segment 4 % higher."""
    return measured(shifted(segment))


@pytest.mark.parametrize("segment", [1, 3])
def test_four_percent_of_colour_in_one_segment_stand_out(segment: int) -> None:
    found = score_segments(faulty(segment)).colour
    others = np.delete(found, segment)
    assert found[segment] > 1
    assert found[segment] > 3 * others.max()
    assert score_segments(steady()).colour.max() < 0.5


def test_a_seam_is_seen_where_it_is() -> None:
    sound, found = score_segments(steady()).seam, score_segments(faulty(1)).seam
    assert SEGMENTS[2].shot == SEGMENTS[0].shot
    assert np.nanmax(sound) < 1.5
    assert found[1] > 2 * sound[1]
    assert found[2] > 2 * sound[2]
    np.testing.assert_array_equal(np.isnan(found), np.isnan(sound))


def test_a_burst_of_flicker_is_seen_in_its_segment() -> None:
    middle = (SEGMENTS[1].span.start + SEGMENTS[1].span.stop) // 2

    def bursting(index: int, frame: np.ndarray) -> np.ndarray:
        return brighter(index, frame) + 4 * (-1) ** index * (middle <= index < middle + 4)

    sound, found = score_segments(steady()).flicker, score_segments(measured(bursting)).flicker
    assert 4 < found[1] < 10  # from frame to frame it is 8 levels, and 4 where it begins and ends
    np.testing.assert_allclose(np.delete(found, 1), np.delete(sound, 1))
    assert sound.max() < 2


def test_flicker_of_a_known_size_adds_its_square_to_the_warping_error() -> None:
    flickering = measured(lambda index, frame: frame + 6 * (-1) ** index)
    clean = unedited()
    assert np.nanmean(flickering.flicker) == pytest.approx(12, rel=0.05)
    added = np.nanmean(flickering.warping) - np.nanmean(clean.warping)
    assert added == pytest.approx((12 / 255) ** 2, rel=0.1)
    assert np.nanmean(clean.warping) < 0.1 * added


def test_a_jump_is_as_large_as_it_was_made() -> None:
    one, other = shrink(scene(3)), shrink(scene(7))
    motion = motion_between(one, other)
    jump = jump_of(excess((one, other), (one, (other + 5 / 255).astype(np.float32)), motion), motion)
    assert jump == pytest.approx(5, rel=1e-3)


def test_motion_is_followed() -> None:
    motion = motion_between(shrink(scene(3)), shrink(scene(5)))
    assert np.median(motion.flow[motion.seen], axis=0) == pytest.approx([-3, 0], abs=0.2)
    assert motion.seen.mean() > 0.6


def test_fidelity_is_scikit_images() -> None:
    rng = np.random.default_rng(0)
    rough = SOURCE[0]
    for other in (scene(4), np.clip(rough + rng.normal(0, 20, rough.shape), 0, 255).astype(np.uint8)):
        grey = [np.rint(frame @ [0.299, 0.587, 0.114]) for frame in (rough, other)]
        theirs = structural_similarity(*grey, data_range=255, gaussian_weights=True, use_sample_covariance=False)
        assert ours(rough, other) == pytest.approx(theirs, abs=2e-3)
        pair = follow([rough], [other], plan_measurement((Shot(0, Span(0, 1)),), SEGMENTS[:1], 0))
        assert pair.squared_error[0] == pytest.approx(mean_squared_error(rough, other), rel=1e-12)
        psnr = peak_signal_noise_ratio(rough, other, data_range=255)
        assert 10 * np.log10(255**2 / pair.squared_error[0]) == pytest.approx(psnr, rel=1e-12)


def test_similarity_is_lost_with_sharpness() -> None:
    blurred = [gaussian_filter(SOURCE[0], (spread, spread, 0)) for spread in (1, 2, 4)]
    found = [ours(SOURCE[0], frame) for frame in blurred]
    assert found == sorted(found, reverse=True)
    assert np.isnan(ours(SOURCE[0][:8], SOURCE[0][:8]))


@pytest.mark.parametrize(
    ("source", "edit", "told"),
    [
        (SOURCE[:4], SOURCE[:5], "the source has only 4 frames"),
        (SOURCE[:5], SOURCE[:3], "the edit has only 3 frames"),
        (SOURCE[:4], SOURCE[:4], "the video has 4 frames, its shots 5"),
        (SOURCE[:6], SOURCE[:6], "more than the 5 frames"),
        (SOURCE[:5], SOURCE[:5, :, :-2], "frame 0 is 160x120 in the source and 158x120 in the edit"),
    ],
)
def test_what_does_not_belong_together_is_refused(source: np.ndarray, edit: np.ndarray, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        follow(iter(source), iter(edit), plan_measurement((Shot(0, Span(0, 5)),), SHORT, 0))


def test_a_single_frame_has_no_pairs() -> None:
    alone = follow(SOURCE[:1], list(edited(brighter))[:1], plan_measurement((Shot(0, Span(0, 1)),), SEGMENTS[:1], 0))
    assert temporal_flickering(alone.edit_change) == NotMeasured("the video has no pairs of frames within a shot")
