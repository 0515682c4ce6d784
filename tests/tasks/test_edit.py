"""What the segments of a phase may recall: the same however it is found out."""

from collections.abc import Collection

import pytest

from model.types import Segment, Span
from tasks.edit import Phase, plan_phases

SEGMENTS = tuple(Segment(index, index // 40, Span(4 * index, 4 * index + 5), 5) for index in range(100))


def before(phase: Phase, segment: Segment) -> Collection[int]:
    return sorted({*phase.base, *(one.index for one in phase.segments[: phase.segments.index(segment)])})


@pytest.mark.parametrize("base", [(), (0, 1), (97, 0, 50)])
@pytest.mark.parametrize("schedule", ["sequential", "anchors:7", "anchors:100"])
def test_a_segment_may_recall_those_before_it_and_the_base(schedule: str, base: tuple[int, ...]) -> None:
    """What begins with the video is told as a range, which a search is quick at."""
    left = tuple(one for one in SEGMENTS if one.index not in base)
    for phase in plan_phases(left, schedule, 2, base):
        for segment in phase.segments:
            known = phase.known(segment)
            if phase.in_line:
                assert list(known) == before(phase, segment)
                assert isinstance(known, range) == (list(known) == list(range(len(known))))
            else:
                assert known == phase.base


def test_a_long_video_is_not_looked_through_for_each_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def equal(one: Segment, other: object) -> bool:
        nonlocal compared
        compared += 1
        return one is other

    (phase,) = plan_phases(SEGMENTS, "sequential", 1)
    monkeypatch.setattr(Segment, "__eq__", equal)
    assert [phase.known(one) for one in SEGMENTS] == [range(index) for index in range(len(SEGMENTS))]
    assert compared <= len(SEGMENTS)
