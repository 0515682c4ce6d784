"""A scene that moves, and edits of it with one known fault each."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from model.metrics.course import Course, follow
from model.metrics.plan import Plan, plan_measurement
from model.metrics.score import Measurement, Score
from model.segments import plan_segments
from model.stitching import share_frames
from model.types import Shot, Span

FRAMES, OVERLAP, WINDOW = 61, 4, 17
SHOTS = (Shot(0, Span(0, 41)), Shot(1, Span(41, FRAMES)))
SEGMENTS = tuple(plan_segments(SHOTS, WINDOW, OVERLAP))
SHARES = share_frames(SEGMENTS, OVERLAP)
PLAN: Plan = plan_measurement(SHOTS, SEGMENTS, OVERLAP)


def scene(index: int) -> np.ndarray:
    """Frame `index`, 120 x 160: smooth texture that moves by 1.5 pixels a frame; the second shot is another place."""
    shot, y, x = int(index >= SHOTS[1].span.start), *np.mgrid[:120, :160]
    moved = x[..., None] + 1.5 * index + 400 * shot
    wave = np.sin(moved / 7 + np.arange(3)) + np.sin(y[..., None] / 5 + moved / 11) + 0.5 * np.cos(moved / 3)
    return (120 - 30 * shot + 35 * wave).clip(0, 255).astype(np.uint8)


SOURCE = np.stack([scene(index) for index in range(FRAMES)])


def edited(change: Callable[[int, np.ndarray], np.ndarray]) -> Iterator[np.ndarray]:
    """Every frame of the scene as `change(index, frame)` makes it, rounded."""
    for index, frame in enumerate(SOURCE):
        yield np.rint(change(index, frame.astype(np.float64)).clip(0, 255)).astype(np.uint8)


def brighter(index: int, frame: np.ndarray) -> np.ndarray:
    """An edit that adds contrast and warmth, alike everywhere."""
    return (1.2 * (frame - 128) + 120) * (1.05, 1.0, 0.95)


def shifted(segment: int, by: float = 1.04) -> Callable[[int, np.ndarray], np.ndarray]:
    """That edit, with one segment's levels 4 % higher; cross-faded as segments are."""
    return lambda index, frame: brighter(index, frame) * (1 + (by - 1) * SHARES[segment].weight(index))


def measured(change: Callable[[int, np.ndarray], np.ndarray]) -> Course:
    """What one pass finds of the scene and an edit of it."""
    return follow(iter(SOURCE), edited(change), PLAN)


def is_number(found: Measurement, value: float, cases: int) -> bool:
    """Whether a measurement is that number, but for rounding, over so many cases."""
    return isinstance(found, Score) and found.value == pytest.approx(value, abs=1e-6) and found.cases == cases
