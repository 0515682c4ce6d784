"""Which frames of a video are compared with one another: never two of different shots. Numpy half: no torch.

A segment's own frames are those that it alone gives to the output. Where one segment takes over from another inside a
shot is a join; with a cross-fade that is the whole of the fade, so the frames before and after it are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from model.stitching import Share, share_frames
from model.types import Segment, Shot, Span

CONTROLS = 4  # pairs in each of both segments that a join is held against
COLOUR_SAMPLES = 8  # frames of a segment whose colours are looked at


@dataclass(frozen=True)
class Gap:
    """Two frames to compare, on both sides of the join with which segment `segment` begins, or for control in one."""

    segment: int
    before: int
    after: int
    crosses: bool


@dataclass(frozen=True)
class Plan:
    """Shots and segments of a video, and how many frames the stitching cross-fades."""

    shots: tuple[Shot, ...]
    segments: tuple[Segment, ...]
    overlap: int

    @property
    def frames(self) -> int:
        return self.shots[-1].span.stop

    @cached_property
    def firsts(self) -> frozenset[int]:
        """The first frame of every shot, which forms no pair with the frame before."""
        return frozenset(shot.span.start for shot in self.shots)

    @cached_property
    def own(self) -> tuple[Span, ...]:
        """The frames that each segment gives alone; all that it gives to the output, where there are none."""
        return tuple(_own_frames(share) for share in self._shares)

    @cached_property
    def led(self) -> tuple[Span, ...]:
        """The frames of each segment from where it begins to fade in to where the next one does: every frame once."""
        return tuple(Span(share.start, max(share.fade, share.start + 1)) for share in self._shares)

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """All joins, each with the pairs of the same distance inside the two segments that it is held against."""
        return tuple(
            gap
            for before, after in pairwise(range(len(self.segments)))
            if self.segments[before].shot == self.segments[after].shot
            for gap in self._gaps(before, after)
        )

    @cached_property
    def colour_frames(self) -> dict[int, tuple[int, ...]]:
        """Frames whose colours are looked at, with the segments that they stand for."""
        wanted: dict[int, tuple[int, ...]] = {}
        for index, span in enumerate(self.own):
            for frame in _spread(span.start, span.stop - 1, COLOUR_SAMPLES):
                wanted[frame] = (*wanted.get(frame, ()), index)
        return wanted

    @cached_property
    def _shares(self) -> list[Share]:
        return share_frames(self.segments, self.overlap)

    def _gaps(self, before: int, after: int) -> list[Gap]:
        share = self._shares[after]
        join = Gap(after, max(share.start - 1, 0), share.full, crosses=True)
        distance = join.after - join.before
        starts = [
            start
            for span in (self.own[before], self.own[after])
            if len(span) > distance
            for start in _spread(span.start, span.stop - 1 - distance, CONTROLS)
        ]
        return [join, *(Gap(after, start, start + distance, crosses=False) for start in starts)]


def plan_measurement(shots: Sequence[Shot], segments: Sequence[Segment], overlap: int) -> Plan:
    """The plan of a video whose segments are stitched with cross-fades of at most `overlap` frames."""
    return Plan(tuple(shots), tuple(segments), overlap)


def _own_frames(share: Share) -> Span:
    return Span(share.full, share.fade) if share.full < share.fade else Span(share.start, share.stop)


def _spread(first: int, last: int, count: int) -> list[int]:
    """At most `count` different numbers from `first` to `last`, evenly spread."""
    return [int(number) for number in np.unique(np.linspace(first, last, count).round())]
