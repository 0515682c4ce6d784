"""Join edited segments into one video: cross-fades where windows overlap, hard joins at cuts.

Numpy half: no torch. The paper joins windows end to end; here neighbours inside a shot overlap, and a short
cross-fade in the middle of the overlap hides the seam. Blends code values as they are, whatever their transfer
function: over a handful of nearly equal frames the difference to linear light is below a code value.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float32, Shaped

from model.errors import StoreError
from model.types import Segment

Frame = Shaped[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Share:
    """What one segment gives to the output, in source frames: alone from `full` to `fade`, blended around that.

    `start <= full <= fade <= stop`. It fades in over `start` to `full`, while the segment before fades out, and fades
    out over `fade` to `stop`.
    """

    segment: Segment
    start: int
    full: int
    fade: int
    stop: int

    def weight(self, frame: int) -> float:
        """Part of output frame `frame` that comes from this segment; the weights of all segments sum to 1."""
        if frame < self.start or frame >= self.stop:
            return 0.0
        if frame < self.full:
            return _ramp(frame - self.start, self.full - self.start)
        if frame >= self.fade:
            return 1 - _ramp(frame - self.fade, self.stop - self.fade)
        return 1.0


def share_frames(segments: Sequence[Segment], overlap: int) -> list[Share]:
    """Which frames of the output come from which segments; at most two share a frame.

    Cross-fades take `overlap` frames, or all that the two have in common, and lie in its middle. Where windows overlap
    so much that two cross-fades would meet, the later one is shortened.
    """
    fades = [(segments[0].span.start, segments[0].span.start)]
    for before, after in pairwise(segments):
        fades.append(_cross_fade(before, after, overlap, fades[-1][1]))
    fades.append((segments[-1].span.stop, segments[-1].span.stop))
    joins = pairwise(fades)
    return [Share(segment, *left, *right) for segment, (left, right) in zip(segments, joins, strict=True)]


def stitch(segments: Sequence[Segment], read: Callable[[Segment], Iterator[Frame]], overlap: int) -> Iterator[Frame]:
    """Every source frame exactly once, in order, from the edited segments.

    `read` yields the edited frames of one segment, of any integer or float type; surplus ones (its padding) are left
    out. Segments are read one after the other, and at most `overlap` frames are held. Where two segments agree, the
    output is bit for bit theirs.

    Raises:
        StoreError: a segment has fewer frames than its span.
    """
    leaving: deque[Frame] = deque()
    for share in share_frames(segments, overlap):
        span = share.segment.span
        index = span.start - 1
        for index, frame in enumerate(read(share.segment), span.start):
            if share.start <= index < share.full:
                yield blend(leaving.popleft(), frame, share.weight(index))
            elif share.full <= index < share.fade:
                yield frame
            elif share.fade <= index < share.stop:
                leaving.append(frame)
        if index + 1 < span.stop:
            raise StoreError(
                f"segment {share.segment.index} has {index + 1 - span.start} frames, expected {len(span)}; "
                "delete its file and run the same command again"
            )


def blend(
    left: Shaped[np.ndarray, "..."], right: Shaped[np.ndarray, "..."], weight: float | Float32[np.ndarray, "..."]
) -> Shaped[np.ndarray, "..."]:
    """`left` and `right` mixed in float, `weight` being the part of `right`; integers are rounded to the nearest."""
    exact = left.astype(np.result_type(left.dtype, np.float32))
    mixed = exact + (right - exact) * weight
    if np.issubdtype(left.dtype, np.integer):
        mixed = np.rint(mixed)
    return mixed.astype(left.dtype)


def _cross_fade(before: Segment, after: Segment, overlap: int, earliest: int) -> tuple[int, int]:
    """First frame of the cross-fade, and first after it; equal for a hard join."""
    common = before.span.stop - after.span.start
    assert common >= 0, f"no segment covers frames {before.span.stop} to {after.span.start}"
    length = min(overlap, common)
    start = after.span.start + (common - length) // 2
    return max(start, earliest), max(start + length, earliest)


def _ramp(position: int, length: int) -> float:
    """Linear from above 0 to below 1, sampled at the middle of each of `length` frames."""
    return (position + 0.5) / length
