"""A catalog told in words."""

from dataclasses import replace

import pytest

from model.errors import CatalogError
from storage.run_report import RunRecord
from storage.video_states import VideoState
from tasks.catalog_measure import require_few_failures
from tasks.catalog_told import by_state, counted, report_markdown, status_text

RUN = RunRecord("a", "2026-01-01", 34.2, 60.0, {"done": 1, "failed": 1}, {"edited": 4, "reused": 0}, None, None, None)
DONE = VideoState("a", "line", "done")
FAILED = replace(DONE, id="b", state="failed", error="no such file")


def test_states_are_counted_in_their_order() -> None:
    counts = by_state([DONE, FAILED, DONE])
    assert list(counts) == ["failed", "partial", "editing", "queued", "done", "skipped"]
    assert counted(counts, zeros=False) == "1 failed, 2 done"
    assert counted({"edited": 3, "reused": 0}) == "3 edited, 0 reused"


def test_a_status_names_what_wants_a_person() -> None:
    assert status_text([], []) == "no videos"
    assert status_text([], [DONE, FAILED]) == "1 failed, 1 done\nfailed  b: no such file"


def test_a_report_begins_with_what_was_done_and_how_long_it_took() -> None:
    lines = report_markdown(RUN, [DONE, FAILED]).splitlines()
    assert lines[0] == "**1 done, 1 failed** in 34.2 s; segments: 4 edited, 0 reused."
    assert "The plan said 1 min 00 s: off by +75 %." in lines


def test_a_report_of_shards_counts_all_videos_and_says_whose_times_it_tells() -> None:
    """Also where only some videos were run again."""
    states = [replace(DONE, id=f"take-{number}", edited=4) for number in range(5)] + [
        FAILED,
        replace(DONE, state="queued"),
    ]
    figures = {"done": 1, "partial": 0, "failed": 0, "skipped": 0}
    one = replace(RUN, id="20261128T180000-2-of-8", videos=figures, editor_utilisation=0.9, overhead_p50_ms=1.0)
    assert (one.shard, RUN.shard) == ("2/8", None)
    lines = report_markdown(replace(one, overhead_p95_ms=2.0), states).splitlines()
    assert lines[0] == "**5 done, 1 failed, 1 queued**; segments: 20 edited, 0 reused, 0 quarantined."
    assert lines[2] == "The last run, of shard 2/8, took 34.2 s: 1 done; segments: 4 edited, 0 reused."
    assert any(line.startswith("Editors of shard 2/8 were at work 90.0 %") for line in lines)
    assert "The plan of shard 2/8 said 1 min 00 s: off by +75 %." in lines
    again = report_markdown(replace(RUN, videos=figures), states).splitlines()
    assert again[0] == lines[0]
    assert again[2] == "The last run took 34.2 s: 1 done; segments: 4 edited, 0 reused."


def test_what_is_skipped_is_no_part_of_the_failures() -> None:
    """Half of the videos that were to be edited failed, however many there are that were not."""
    lost = replace(RUN, videos={"done": 2, "partial": 1, "failed": 1, "skipped": 96})
    with pytest.raises(CatalogError, match="2 of 4 videos are not done"):
        require_few_failures(lost, 0.4)
    require_few_failures(lost, 0.5)
    require_few_failures(replace(lost, videos={"done": 0, "partial": 0, "failed": 0, "skipped": 3}), 0.0)
