"""A catalog told in words."""

from dataclasses import replace

from storage.run_report import RunRecord
from storage.video_states import VideoState
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
