"""Every source frame once, weights that sum to 1, bit-exact where neighbours agree, little held in memory."""

import weakref
from collections.abc import Iterator
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from model.errors import StoreError
from model.segments import plan_segments
from model.shots import shots_from_cuts
from model.stitching import blend, share_frames, stitch
from model.types import Segment, Shot, Span


def frame(value: float, dtype: type = np.uint16) -> np.ndarray:
    return np.full((2, 3, 3), value, dtype)


def truth(segment: Segment) -> Iterator[np.ndarray]:
    """The segment's frames, each filled with its index; its padding repeats the last."""
    for index in range(segment.span.start, segment.span.start + segment.frames):
        yield frame(min(index, segment.span.stop - 1))


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Lengths of the shots, frames of a window, overlap."""
    window = 4 * draw(st.integers(1, 8)) + 1
    lengths = draw(st.lists(st.integers(1, 5 * window), min_size=1, max_size=3))
    return lengths, window, draw(st.integers(0, window // 2))


def plan(lengths: list[int], window: int, overlap: int) -> tuple[list[Segment], int]:
    *cuts, frames = accumulate(lengths)
    return plan_segments(shots_from_cuts(cuts, frames), window, overlap), overlap


@given(requests())
def test_every_source_frame_once_and_bit_exact_where_segments_agree(drawn: tuple[list[int], int, int]) -> None:
    segments, overlap = plan(*drawn)
    values = [int(out[0, 0, 0]) for out in stitch(segments, truth, overlap)]
    assert values == list(range(segments[-1].span.stop))


@given(requests())
def test_weights_sum_to_one_and_two_segments_at_most_share_a_frame(drawn: tuple[list[int], int, int]) -> None:
    segments, overlap = plan(*drawn)
    shares = share_frames(segments, overlap)
    for index in range(segments[-1].span.stop):
        weights = [share.weight(index) for share in shares]
        assert sum(weights) == pytest.approx(1)
        assert sum(weight > 0 for weight in weights) in (1, 2)


@given(requests())
def test_a_segment_gives_only_frames_of_its_span_and_never_over_a_cut(drawn: tuple[list[int], int, int]) -> None:
    segments, overlap = plan(*drawn)
    for share in share_frames(segments, overlap):
        span = share.segment.span
        assert span.start <= share.start <= share.full <= share.fade <= share.stop <= span.stop
        assert share.full - share.start <= overlap


@given(requests())
def test_blending_follows_the_weights(drawn: tuple[list[int], int, int]) -> None:
    segments, overlap = plan(*drawn)

    def read(segment: Segment) -> Iterator[np.ndarray]:
        return (frame(100.0 * segment.index, np.float32) for _ in range(segment.frames))

    shares = share_frames(segments, overlap)
    for index, out in enumerate(stitch(segments, read, overlap)):
        expected = sum(share.weight(index) * 100 * share.segment.index for share in shares)
        assert out[0, 0, 0] == pytest.approx(expected, rel=1e-5)


def test_the_cross_fade_lies_in_the_middle_of_the_overlap() -> None:
    segments = plan_segments([Shot(0, Span(0, 31))], 17, 4)
    first, second, third = share_frames(segments, 4)
    assert [segment.span.start for segment in segments] == [0, 7, 14]
    assert (first.fade, first.stop) == (second.start, second.full) == (10, 14)
    assert (second.fade, second.stop) == (third.start, third.full) == (17, 21)
    assert [second.weight(index) for index in range(10, 14)] == [0.125, 0.375, 0.625, 0.875]


def test_no_more_than_a_cross_fade_is_held() -> None:
    segments, overlap = plan([200], 41, 6)
    alive = most = 0

    def died() -> None:
        nonlocal alive
        alive -= 1

    def read(segment: Segment) -> Iterator[np.ndarray]:
        nonlocal alive
        for pixels in truth(segment):
            alive += 1
            weakref.finalize(pixels, died)
            yield pixels

    for _ in stitch(segments, read, overlap):
        most = max(most, alive)
    assert overlap <= most <= overlap + 3
    assert alive <= 1


@given(st.integers(0, 65535), st.integers(0, 65535), st.floats(0.001, 0.999))
def test_integers_are_rounded_between_both_sides(left: int, right: int, weight: float) -> None:
    mixed = blend(frame(left), frame(right), weight)
    assert mixed.dtype == np.uint16
    assert min(left, right) <= mixed[0, 0, 0] <= max(left, right)
    assert abs(float(mixed[0, 0, 0]) - (left + (right - left) * weight)) <= 0.51


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_blending_equal_frames_changes_nothing(dtype: type) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 5, 3)).astype(dtype)
    mixed = blend(pixels, pixels.copy(), 0.3)
    assert mixed.dtype == pixels.dtype
    assert_array_equal(mixed, pixels)


@pytest.mark.parametrize("frames", [0, 6])
def test_a_segment_with_too_few_frames_is_named(frames: int) -> None:
    segments = plan_segments([Shot(0, Span(0, 9)), Shot(1, Span(9, 18))], 9, 0)

    def read(segment: Segment) -> Iterator[np.ndarray]:
        return (frame(0) for _ in range(9 if segment.index == 0 else frames))

    with pytest.raises(StoreError, match=f"segment 1 has {frames} frames, expected 9"):
        list(stitch(segments, read, 0))
