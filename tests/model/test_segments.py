"""Windows cover every frame, stay inside shots, and overlap as promised."""

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.segments import padded_length, plan_segments
from model.shots import shots_from_cuts
from model.types import Segment, Shot, Span


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Lengths of the shots, frames of a window, overlap."""
    window = 4 * draw(st.integers(1, 25)) + 1
    lengths = draw(st.lists(st.integers(1, 6 * window), min_size=1, max_size=4))
    return lengths, window, draw(st.integers(0, window // 2))


def plan(lengths: list[int], window: int, overlap: int) -> tuple[list[Shot], list[Segment]]:
    *cuts, frames = accumulate(lengths)
    shots = shots_from_cuts(cuts, frames)
    return shots, plan_segments(shots, window, overlap)


@given(requests())
def test_every_frame_is_covered_and_no_segment_crosses_a_cut(drawn: tuple[list[int], int, int]) -> None:
    shots, segments = plan(*drawn)
    covered = {frame for segment in segments for frame in range(segment.span.start, segment.span.stop)}
    assert covered == set(range(shots[-1].span.stop))
    for segment in segments:
        shot = shots[segment.shot].span
        assert shot.start <= segment.span.start < segment.span.stop <= shot.stop


@given(requests())
def test_segments_are_in_order_and_numbered(drawn: tuple[list[int], int, int]) -> None:
    _, segments = plan(*drawn)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert all(left.span < right.span and left.shot <= right.shot for left, right in pairwise(segments))


@given(requests())
def test_lengths_fit_the_model(drawn: tuple[list[int], int, int]) -> None:
    (shots, segments), window = plan(*drawn), drawn[1]
    for segment in segments:
        assert segment.frames % 4 == 1
        assert 5 <= segment.frames <= window
        assert segment.padding == 0 or (segment.padding < 5 and segment.span == shots[segment.shot].span)


@given(requests())
def test_neighbours_overlap_enough_and_others_less(drawn: tuple[list[int], int, int]) -> None:
    (_, segments), overlap = plan(*drawn), drawn[2]
    for distance, least, most in ((1, overlap, None), (2, None, overlap), (3, None, 0)):
        for left, right in zip(segments, segments[distance:], strict=False):
            common = left.span.stop - right.span.start
            if left.shot == right.shot:
                assert least is None or common >= least
                assert most is None or common <= most
            else:
                assert common <= 0


@given(requests())
def test_no_fewer_windows_would_do(drawn: tuple[list[int], int, int]) -> None:
    shots, segments = plan(*drawn)
    _, window, overlap = drawn
    for shot in shots:
        count = sum(segment.shot == shot.index for segment in segments)
        assert count == 1 or window + (count - 2) * (window - overlap) < len(shot.span)


def test_windows_are_spread_evenly() -> None:
    segments = plan_segments([Shot(0, Span(10, 260))], 81, 8)
    starts = [segment.span.start for segment in segments]
    assert starts == [10, 66, 123, 179]


@pytest.mark.parametrize(("frames", "padded"), [(1, 5), (4, 5), (5, 5), (6, 9), (80, 81), (81, 81)])
def test_padded_length(frames: int, padded: int) -> None:
    assert padded_length(frames) == padded


@pytest.mark.parametrize(("frames", "overlap"), [(80, 8), (1, 0), (81, 41), (81, -1)])
def test_impossible_windows_are_refused(frames: int, overlap: int) -> None:
    with pytest.raises(AssertionError):
        plan_segments([Shot(0, Span(0, 9))], frames, overlap)
