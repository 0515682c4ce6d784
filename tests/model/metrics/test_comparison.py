"""Runs summed up and compared: pairs are those of one source, and intervals those of an independent bootstrap."""

import json
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from model.metrics import comparison
from model.metrics.agreement import Figure
from model.metrics.comparison import (
    LEAST_SOURCES,
    Compared,
    ScoredVideo,
    compare_runs,
    pair_videos,
    row_fields,
    summarise_run,
)
from model.metrics.score import NotMeasured, Score

RANDOM = np.random.default_rng(3)
BASE, NOISE = RANDOM.normal(10, 5, 40), RANDOM.normal(0, 0.1, 40)


def video(source: object, asked: str = "night", **scores: float) -> ScoredVideo:
    return ScoredVideo(f"{source}.mp4", str(source), asked, {name: Score(value, 1) for name, value in scores.items()})


def compared(difference: float) -> Compared:
    """Videos that differ much among themselves, and by `difference` between the runs."""
    ours = [
        video(number, flicker=base + difference + noise)
        for number, (base, noise) in enumerate(zip(BASE, NOISE, strict=True))
    ]
    theirs = [video(number, flicker=base) for number, base in enumerate(BASE)]
    row = compare_runs(pair_videos(ours, theirs), ["flicker"])["flicker"]
    assert isinstance(row, Compared)
    return row


def test_a_small_difference_shows_in_pairs_and_not_in_means() -> None:
    row = compared(0.5)
    assert row.difference.value == pytest.approx(0.5, abs=0.05)
    assert 0.4 < row.difference.low < row.difference.value < row.difference.high < 0.6  # type: ignore[operator]
    assert row.figure.low < row.against.value < row.figure.high  # type: ignore[operator]


def test_intervals_are_those_of_a_plain_bootstrap() -> None:
    """Against one written anew: draw, average, sort, take what lies between the tails; and against the normal law."""
    values = BASE.tolist()
    random = np.random.default_rng(99)
    means = sorted(fmean(values[i] for i in random.integers(len(values), size=len(values))) for _ in range(4000))
    row = summarise_run([video(number, psnr=value) for number, value in enumerate(values)], ["psnr"])["psnr"]
    assert isinstance(row, Figure)
    error, tail = BASE.std() / len(BASE) ** 0.5, round(4000 * comparison._tail(len(BASE)))
    assert row.low == pytest.approx(means[tail], abs=0.2 * error)
    assert row.high == pytest.approx(means[-tail - 1], abs=0.2 * error)
    assert row.high - row.low == pytest.approx(2 * 1.96 * error, rel=0.15)  # type: ignore[operator]


@pytest.mark.parametrize("count", [6, 8, 15])
def test_runs_that_do_not_differ_are_seldom_said_to(count: int) -> None:
    """One in twenty, however few sources there are; by plain percentiles it would be one in eight."""
    random = np.random.default_rng(count)
    told = 0
    for _ in range(300):
        drawn = enumerate(random.normal(size=count))
        row = compare_runs([(video(at, psnr=value), video(at, psnr=0.0)) for at, value in drawn], ["psnr"])["psnr"]
        assert isinstance(row, Compared)
        assert row.difference.low is not None
        assert row.difference.high is not None
        told += not row.difference.low <= 0 <= row.difference.high
    assert told / 300 < 0.085


def test_tails_are_those_of_students_t() -> None:
    for count in (6, 10, 40):
        wanted = stats.norm.cdf(-((count / (count - 1)) ** 0.5) * stats.t.ppf(0.975, count - 1))
        assert comparison._tail(count) == pytest.approx(wanted, rel=0.02)


def test_turns_over_one_source_are_no_independent_videos() -> None:
    alone = [video(number, psnr=value) for number, value in enumerate(BASE)]
    thrice = [video(each.source, asked, psnr=each.scores["psnr"].value) for each in alone for asked in "abc"]  # type: ignore[union-attr]
    one, many = (summarise_run(videos, ["psnr"])["psnr"] for videos in (alone, thrice))
    assert isinstance(one, Figure)
    assert isinstance(many, Figure)
    assert (many.n, many.value) == (one.n, pytest.approx(one.value))
    assert many.low == pytest.approx(one.low)


@pytest.mark.parametrize("count", [1, LEAST_SOURCES - 1])
def test_a_few_videos_have_a_value_and_no_interval(count: int) -> None:
    row = summarise_run([video(number, psnr=30.0) for number in range(count)], ["psnr"])["psnr"]
    assert row_fields(row) == {"value": 30.0, "low": None, "high": None, "n": count}


def test_pairs_are_of_one_source_and_one_wish() -> None:
    ours = [video("a", "night"), video("a", "snow"), video("b"), video("c")]
    theirs = [video("a", "snow"), video("b", "rain"), video("d")]
    pairs = pair_videos(ours, theirs)
    assert [(one.source, one.asked, other.asked) for one, other in pairs] == [
        ("a", "snow", "snow"),
        ("b", "night", "rain"),
    ]


def test_what_one_video_lacks_is_left_out_of_both_runs() -> None:
    lacking = ScoredVideo("b.mp4", "b", "night", {"worst_seam": NotMeasured("the video has no joins within a shot")})
    pairs = [(video("a", worst_seam=2.0), video("a", worst_seam=1.0)), (lacking, video("b", worst_seam=9.0))]
    fields = row_fields(compare_runs(pairs, ["worst_seam"])["worst_seam"])
    assert fields["value"] == 2.0
    assert fields["against"] == {"value": 1.0, "low": None, "high": None, "n": 1}
    assert fields["difference"] == {"value": 1.0, "low": None, "high": None}
    nothing = row_fields(compare_runs(pairs[1:], ["worst_seam"])["worst_seam"])
    assert nothing == {"not_measured": "the video has no joins within a shot"}
    assert json.loads(json.dumps(fields)) == fields
