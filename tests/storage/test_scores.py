"""Scores beside a finished video: what is written is read, and nothing else is taken."""

from pathlib import Path

import pytest

from model.errors import RequestError
from storage.scores import SegmentScores, read_scores, scores_path, write_scores

GOOD = '{"segments": [{"index": 0, "scores": {"drift": 1.2}, "flags": ["seam"]}]}'


def test_what_is_written_is_read(tmp_path: Path) -> None:
    video = tmp_path / "clip_edit_v001.mp4"
    told = SegmentScores(index=3, scores={"drift": 1.25}, flags=("seam", "flicker"))
    assert write_scores(video, [told]) == tmp_path / "clip_edit_v001_scores.json"
    assert read_scores(video).of(3) == told
    assert read_scores(video).of(4) == SegmentScores(index=4)
    assert [path.name for path in tmp_path.iterdir()] == ["clip_edit_v001_scores.json"]


def test_an_unjudged_video_has_no_scores(tmp_path: Path) -> None:
    assert read_scores(tmp_path / "clip.mp4").segments == ()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("{", "", "not JSON"),
        ('"index": 0', '"index": -1', "segments.0.index"),
        ('"index": 0', '"index": "0"', "segments.0.index"),
        ("1.2", '"1.2"', "segments.0.scores.drift"),
        ("1.2", "NaN", "segments.0.scores.drift"),
        ('"drift"', '"Drift!"', "segments.0.scores"),
        ('"seam"', '"a\\nb"', "segments.0.flags.0"),
        ('"flags"', '"flag"', "segments.0.flag"),
        ("}]}", '}, {"index": 0}]}', "named twice"),
    ],
)
def test_anything_else_is_one_line(before: str, after: str, told: str, tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    scores_path(video).write_text(GOOD)
    assert read_scores(video).of(0).flags == ("seam",)
    scores_path(video).write_text(GOOD.replace(before, after, 1))
    with pytest.raises(RequestError, match=told) as caught:
        read_scores(video)
    assert "\n" not in str(caught.value)
    assert "clip_scores.json" in str(caught.value)
