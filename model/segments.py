"""Divide shots into the windows that the model edits at once (paper section 3.4: segments of the base model's window).

Numpy half: no torch. Beyond the paper, windows lie inside shots, and neighbours in a shot overlap, to be cross-faded
(`model/stitching.py`). Knows nothing of pixels.
"""

from collections.abc import Sequence

from model.types import Segment, Shot, Span

SHORTEST = 5  # frames of the shortest window: the video VAE's first frame and one group of four


def plan_segments(shots: Sequence[Shot], frames: int = 81, overlap: int = 8) -> list[Segment]:
    """Segments of all shots, in order of time; together they cover every frame, and none crosses a cut.

    A shot of up to `frames` frames is one segment, padded to the next 4k+1. A longer one gets as few windows of
    `frames` as overlap by at least `overlap`, spread evenly: a few frames too many widen the overlaps instead of
    making a stump. A window then may overlap the next but one too, by less than `overlap`.
    """
    assert frames % 4 == 1, f"a window is 4k+1 frames, not {frames}"
    assert frames >= SHORTEST, f"a window is at least {SHORTEST} frames, not {frames}"
    assert 0 <= overlap <= frames // 2, f"overlap {overlap} is not within 0 and {frames // 2}"
    segments: list[Segment] = []
    for shot in shots:
        for span in _windows(shot.span, frames, overlap):
            segments.append(Segment(len(segments), shot.index, span, padded_length(len(span))))
    return segments


def padded_length(frames: int) -> int:
    """The least 4k+1, at least 5, that holds `frames` frames."""
    return max(SHORTEST, -(-(frames - 1) // 4) * 4 + 1)


def _windows(shot: Span, frames: int, overlap: int) -> list[Span]:
    length = len(shot)
    if length <= frames:
        return [shot]
    gaps = -(-(length - overlap) // (frames - overlap)) - 1
    starts = [shot.start + _rounded(index * (length - frames), gaps) for index in range(gaps + 1)]
    return [Span(start, start + frames) for start in starts]


def _rounded(dividend: int, divisor: int) -> int:
    """`dividend / divisor` to the nearest integer, halves up: equal steps never differ by more than 1 (`round`: 2)."""
    return (2 * dividend + divisor) // (2 * divisor)
