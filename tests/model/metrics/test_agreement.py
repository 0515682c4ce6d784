"""Measures of agreement on videos whose faults were put in by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.metrics.agreement import (
    CHANGED,
    HUE_TOLERANCE,
    MEASURES,
    RegionView,
    SegmentView,
    Tally,
    VideoView,
    agreement,
    agreement_after_gap,
    edit_rate,
    hue_distance,
    instruction_followed,
    psnr_outside,
    smeared,
    summarise,
    wrongly_changed,
)

GREY, RED, BLUE = (0.5, 0.5, 0.5), (0.9, 0.14, 0.14), (0.14, 0.14, 0.9)
PAINTED = RegionView(before=GREY, after=RED, truth=BLUE, hue=0.0)
LEFT_ALONE = replace(PAINTED, after=GREY)


def segment(region: RegionView | None = PAINTED, shown: float = 1.0, moved: Sequence[float] = ()) -> SegmentView:
    """A segment without other faults."""
    return SegmentView(shown, region, tuple(moved), error=1e-4, codec_error=1e-4, seconds=0.5, flops=2_000_000_000)


GONE = segment(None, shown=0.0)


def video(*segments: SegmentView, named: float | None = None) -> VideoView:
    """A video of these segments."""
    return VideoView("one", named, segments)


def turned(*hues: float) -> list[SegmentView]:
    """Segments painted in these hues."""
    return [segment(replace(PAINTED, hue=float(hue))) for hue in hues]


@given(st.floats(0, 360), st.floats(0, 360))
def test_hues_are_a_circle(one: float, other: float) -> None:
    assert hue_distance(one, other) == pytest.approx(hue_distance(other, one))
    assert hue_distance(one + 360, other) == pytest.approx(hue_distance(one, other), abs=1e-6)
    assert 0 <= hue_distance(one, other) <= 180
    assert hue_distance(one, one + 180) == pytest.approx(180)


def test_agreement_counts_hues_within_the_tolerance_of_the_first_visible() -> None:
    seen = turned(350, 350 + HUE_TOLERANCE - 1, 350 - HUE_TOLERANCE + 1, 350 + HUE_TOLERANCE + 1, 170)
    assert agreement(video(*seen)) == Tally(2.0, 4)
    hidden = segment(replace(PAINTED, hue=200.0), shown=0.5)
    assert agreement(video(hidden, *seen)) == Tally(2.0, 4)


def test_a_video_seen_once_has_no_agreement() -> None:
    assert agreement(video(GONE, segment(), GONE)) == Tally()
    assert agreement(video(GONE)) == Tally()


def test_strict_agreement_looks_at_returns_alone() -> None:
    first, same, other = turned(10, 15, 190)
    assert agreement_after_gap(video(first, other, GONE, same)) == Tally(1.0, 1)
    assert agreement_after_gap(video(first, same, GONE, GONE, other, same)) == Tally(0.0, 1)
    assert agreement_after_gap(video(first, GONE, same, GONE, other)) == Tally(1.0, 2)


def test_a_subject_that_only_came_into_view_late_has_not_returned() -> None:
    assert agreement_after_gap(video(GONE, *turned(10, 190))) == Tally()


def test_what_stays_partly_in_view_is_no_gap_and_what_is_partly_back_is_not_judged() -> None:
    first, other = turned(10, 190)
    partly = segment(replace(PAINTED, hue=190.0), shown=0.3)
    assert agreement_after_gap(video(first, partly, other)) == Tally()
    assert agreement_after_gap(video(first, GONE, partly, first)) == Tally(1.0, 1)


def test_a_reference_that_was_left_alone_is_no_reference() -> None:
    idle = segment(LEFT_ALONE)
    assert agreement_after_gap(video(idle, GONE, idle)) == Tally()
    assert agreement(video(idle, GONE, idle)) == Tally(1.0, 1)
    assert edit_rate(video(idle, GONE, idle)) == Tally(0.0, 2)


def test_named_colours_need_no_memory() -> None:
    first, same = turned(10, 10)
    assert agreement_after_gap(video(first, GONE, same, named=10.0)) == Tally()


def test_repainted_means_another_colour_that_is_paint() -> None:
    washed_out = replace(PAINTED, after=(0.8, 0.7, 0.7))
    hardly = replace(PAINTED, before=(0.85, 0.2, 0.2))
    assert [each.repainted for each in (PAINTED, LEFT_ALONE, washed_out, hardly)] == [True, False, False, False]
    small_change_wanted = replace(hardly, truth=RED)
    assert small_change_wanted.repainted


def test_a_named_colour_is_followed_only_where_it_was_painted() -> None:
    near, far = turned(HUE_TOLERANCE - 1, HUE_TOLERANCE + 1)
    assert instruction_followed(video(near, far, segment(LEFT_ALONE), GONE, named=0.0)) == Tally(1.0, 3)
    assert instruction_followed(video(near, far)) == Tally()


def test_other_things_count_one_by_one() -> None:
    touched = video(segment(moved=[0.0, CHANGED + 0.01]), segment(moved=[CHANGED - 0.01]), segment())
    assert wrongly_changed(touched) == Tally(1.0, 3)


def test_smears_are_looked_for_where_nothing_is_to_be_edited() -> None:
    clean, dirty = (replace(GONE, strayed=far) for far in (CHANGED - 0.01, CHANGED + 0.01))
    assert smeared(video(segment(), clean, dirty, dirty, segment())) == Tally(2.0, 3)
    assert smeared(video(segment())) == Tally()


def test_decibels_are_those_of_the_mean_error() -> None:
    quiet, loud = replace(segment(), error=1e-4), replace(segment(), error=3e-4)
    assert psnr_outside(video(quiet)).total == pytest.approx(40.0)
    assert psnr_outside(video(quiet, loud)).total == pytest.approx(10 * np.log10(1 / 2e-4))


def test_every_measure_of_the_contract_is_there() -> None:
    wanted = {"agreement", "agreement_after_gap", "edit_rate", "wrongly_changed", "instruction_followed", "smeared"}
    assert wanted | {"psnr_outside", "psnr_codec", "seconds_per_segment", "gigaflops_per_segment"} == set(MEASURES)


def test_an_interval_holds_its_mean_and_is_the_same_every_time() -> None:
    random = np.random.default_rng(3)
    tallies = [Tally(float(random.integers(4)), 3) for _ in range(40)]
    names = [str(index) for index in range(40)]
    figure = summarise(tallies, names)
    assert figure.value == pytest.approx(sum(tally.total for tally in tallies) / 120)
    assert figure.low < figure.value < figure.high  # type: ignore[operator]
    assert figure == summarise(tallies, names)
    assert figure.n == 40


def test_intervals_come_from_videos_not_from_segments() -> None:
    """Twice as many segments in each video, all alike, tell nothing new; nor does the same video under two models."""
    once = [Tally(float(index % 2), 1) for index in range(20)]
    twice = [Tally(2 * tally.total, 2) for tally in once]
    names = [str(index) for index in range(20)]
    assert summarise(once, names) == summarise(twice, names) == summarise([*once, *once], [*names, *names])


def test_a_known_share_lies_within_its_interval_as_often_as_promised() -> None:
    random, hits = np.random.default_rng(0), 0
    for _ in range(100):
        figure = summarise([Tally(float(random.random() < 0.6), 1) for _ in range(60)], [str(n) for n in range(60)])
        hits += figure.low <= 0.6 <= figure.high  # type: ignore[operator]
    assert 88 <= hits <= 100


def test_videos_without_a_case_are_no_videos() -> None:
    assert summarise([Tally(), Tally(1.0, 1)], ["a", "b"]).n == 1
    empty = summarise([Tally()], ["a"])
    assert (empty.value, empty.low, empty.high, empty.n) == (None, None, None, 0)
