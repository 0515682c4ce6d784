"""The order in which the segments of a turn are edited, and so which of each other's results they may recall.

Numpy half: no torch. `sequential` is the paper (section 3.4). `anchors:K` edits K spread segments first and then all
others at once, each of which may recall the anchors only: it shortens the wait for one video on several GPUs, not the
GPU-hours. The order decides what is recalled, never the noise.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from model.errors import RequestError
from model.types import Segment

SEGMENTS_PER_ANCHOR = 10  # `auto`: 40 segments on 4 GPUs finish 3 times as fast


@dataclass(frozen=True)
class Order:
    """Segments of `line` are edited one after the other, each with those before it to recall; then those of `fan`.

    These may be edited at the same time: they may recall the line, not each other. Both are in the order of the video.
    """

    line: tuple[Segment, ...]
    fan: tuple[Segment, ...] = ()


def order(segments: Sequence[Segment], schedule: str, editors: int = 1) -> Order:
    """Every segment once.

    `schedule` is `sequential`, `anchors:K` or `auto`: one anchor in ten segments where `editors` would else stand
    idle, sequential otherwise. Only `auto` looks at `editors`.

    Raises:
        RequestError: `schedule` is none of these.
    """
    anchors = _count_anchors(schedule, len(segments), editors)
    chosen = {(2 * index + 1) * len(segments) // (2 * anchors) for index in range(anchors)}
    line = tuple(segment for position, segment in enumerate(segments) if position in chosen)
    return Order(line, tuple(segment for position, segment in enumerate(segments) if position not in chosen))


def _count_anchors(schedule: str, segments: int, editors: int) -> int:
    """Segments edited one by one at the start; all of them if `sequential`."""
    if schedule == "sequential":
        return segments
    if schedule == "auto":
        return segments if editors == 1 else ceil(segments / SEGMENTS_PER_ANCHOR)
    given = re.fullmatch(r"anchors:([1-9][0-9]{0,5})", schedule)
    if given is None:
        raise RequestError(f"schedule '{schedule}' is unknown; use sequential, auto, or anchors:K with K from 1 up")
    return min(int(given[1]), segments)
