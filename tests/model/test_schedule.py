"""Every segment once, anchors spread and first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import RequestError
from model.schedule import Order, order
from model.types import Segment, Span

schedules = st.one_of(st.sampled_from(["sequential", "auto"]), st.integers(1, 50).map("anchors:{}".format))


def make_segments(count: int) -> list[Segment]:
    return [Segment(index, 0, Span(index, index + 5), 5) for index in range(count)]


@given(st.integers(1, 60), schedules, st.integers(1, 8))
def test_every_segment_is_edited_once(count: int, schedule: str, editors: int) -> None:
    segments = make_segments(count)
    planned = order(segments, schedule, editors)
    assert sorted([*planned.line, *planned.fan], key=lambda segment: segment.index) == segments
    assert all(list(part) == sorted(part, key=lambda segment: segment.index) for part in (planned.line, planned.fan))


def test_sequential_is_one_after_the_other() -> None:
    segments = make_segments(4)
    assert order(segments, "sequential", editors=8) == Order(tuple(segments))


def test_anchors_are_spread_and_come_first() -> None:
    planned = order(make_segments(40), "anchors:4")
    assert [segment.index for segment in planned.line] == [5, 15, 25, 35]
    assert len(planned.fan) == 36


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 8))
def test_only_auto_looks_at_the_number_of_editors(count: int, anchors: int, editors: int) -> None:
    segments = make_segments(count)
    assert order(segments, f"anchors:{anchors}", editors) == order(segments, f"anchors:{anchors}", 1)


def test_auto_takes_anchors_only_where_editors_would_be_idle() -> None:
    segments = make_segments(40)
    assert order(segments, "auto", editors=1) == order(segments, "sequential")
    assert order(segments, "auto", editors=4) == order(segments, "anchors:4")


@pytest.mark.parametrize("schedule", ["", "anchors", "anchors:0", "anchors:-1", "anchors:x", "anchors:4 ", "Auto"])
def test_unknown_schedules_are_refused(schedule: str) -> None:
    with pytest.raises(RequestError, match="use sequential, auto, or anchors:K"):
        order(make_segments(3), schedule)
