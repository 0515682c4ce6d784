"""Time stamps of frames where a file does not tell all of them, or tells them wrongly: numbers, in ticks of its clock.

Pure arithmetic; opens nothing.
"""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import floor


def usual_step(pts: Sequence[int]) -> int:
    """From one frame to the next, in the mean, in ticks; at least one."""
    return max(1, round((pts[-1] - pts[0]) / (len(pts) - 1))) if len(pts) > 1 else 1


def mend(stamps: Sequence[int | None], step: Fraction) -> tuple[int, ...]:
    """Time stamps that ascend: those that are missing, told twice or out of order are put evenly between the others.

    Before the first good one and behind the last one frames are a `step` apart, of one tick or more. Where that leads
    below zero, all are, from the first stamp on.
    """
    good = _ascending(stamps) or [(0, 0)]
    (first, start), (last, end) = good[0], good[-1]
    mended = [start - floor((first - number) * step) for number in range(first)]
    for (left, before), (right, after) in pairwise(good):
        mended += [before + number * (after - before) // (right - left) for number in range(right - left)]
    mended += [end + floor(number * step) for number in range(len(stamps) - last)]
    origin = next((stamp for stamp in stamps if stamp is not None), 0)
    if mended and mended[0] < min(origin, 0):
        return tuple(origin + floor(number * step) for number in range(len(stamps)))
    return tuple(mended)


def _ascending(stamps: Sequence[int | None]) -> list[tuple[int, int]]:
    """The most frames whose time stamps ascend, with a tick left for each frame between them: numbers and stamps."""
    first: dict[int | None, int] = {}
    for number, stamp in enumerate(stamps):
        first.setdefault(stamp, number)
    ahead: list[int] = []  # of the rows of each length, the least by which the last is ahead of one tick a frame
    ends: list[tuple[int, int]] = []
    before: dict[int, tuple[int, int] | None] = {}
    for stamp, number in first.items():
        if stamp is not None:
            place = bisect_right(ahead, stamp - number)
            before[number] = ends[place - 1] if place else None
            ahead[place : place + 1], ends[place : place + 1] = [stamp - number], [(number, stamp)]
    row, link = [], ends[-1] if ends else None
    while link:
        row.append(link)
        link = before[link[0]]
    return row[::-1]
