"""Curves as pictures: round numbers on the axes, every line in its colour."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from storage.plot import BOTTOM, COLOURS, TICKS, TOP, draw_bars, draw_lines, round_numbers

NUMBERS = st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=8)


@given(NUMBERS)
def test_round_numbers_enclose_all_values(values: list[float]) -> None:
    ticks = round_numbers(values)
    slack = 1e-9 * max(1, abs(ticks[0]), abs(ticks[-1]))
    assert ticks[0] - slack <= min(values)
    assert max(values) <= ticks[-1] + slack
    assert 2 <= len(ticks) <= TICKS + 3


def colours_of(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as picture:
        assert picture.size == (960, 560)
        return {tuple(pixel) for pixel in np.asarray(picture.convert("RGB")).reshape(-1, 3).tolist()}


def test_every_line_is_drawn(tmp_path: Path) -> None:
    lines = {"training": [(0, 1.0), (10, 0.2)], "validation": [(0, 0.5), (10, 0.9)]}
    found = colours_of(draw_lines(tmp_path / "curve.png", lines, "Training", "step", "loss"))
    assert set(COLOURS[:2]) <= found
    assert COLOURS[2] not in found


def test_a_lone_value_lies_in_the_middle_of_its_scale() -> None:
    for value in (0.0, 0.0015, 0.97, 1000, -3):
        ticks = round_numbers([value])
        assert 0.25 < (value - ticks[0]) / (ticks[-1] - ticks[0]) < 0.75


def test_one_point_is_a_curve_too(tmp_path: Path) -> None:
    assert COLOURS[0] in colours_of(draw_lines(tmp_path / "curve.png", {"training": [(5, 0.3)]}, "", "step", "loss"))


def test_bars_are_as_high_as_their_values(tmp_path: Path) -> None:
    bars = {"ind": {"agreement": (0.2, 0.1, 0.3), "edits": (0.9, 0.9, 0.9)}, "memory": {"agreement": (1.0, 0.9, 1.0)}}
    path = draw_bars(tmp_path / "bars.png", bars, "Proof")
    assert colours_of(path) >= set(COLOURS[:2])
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))[: BOTTOM // 2]
    filled = [(pixels == colour).all(-1).sum(axis=0) / ((BOTTOM - TOP) / 2) for colour in COLOURS[:2]]
    left, right = (slice(None, 480), slice(480, None))
    seen = [float(np.median(each[part][each[part] > 0])) for each, part in ((filled[0], left), (filled[0], right))]
    seen.append(float(np.median(filled[1][filled[1] > 0])))
    assert np.allclose(seen, (0.2, 1.0, 0.9), atol=0.02)
