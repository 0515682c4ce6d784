"""Values with their intervals, a row each, as a picture. Rows have scales of their own, for units differ."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw

from storage.plot import COLOURS, GRID, INK, PAPER, Number, draw_key, font, round_numbers, save

WIDTH, ROW, HEAD, FOOT = 1920, 72, 120, 100
LEFT, RIGHT = 640, 1740  # of the scales
TEXT, TITLE, SMALL = 32, 40, 24

Spread = tuple[Number, Number | None, Number | None]
"""A value, and from where to where it may lie; None where that is not known."""


def draw_rows(path: Path, rows: Mapping[str, Mapping[str, Spread]], title: str) -> Path:
    """Draw rows of named values, three names at most, each row on the scale of its own values; by row and name."""
    picture = Image.new("RGB", (WIDTH, HEAD + ROW * len(rows) + FOOT), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((WIDTH / 2, HEAD / 2), title, INK, font(TITLE), anchor="mm")
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    for number, (label, row) in enumerate(rows.items()):
        _draw_row(draw, HEAD + ROW * (number + 0.5), label, row, names)
    draw_key(draw, names, LEFT, picture.height - 48)
    return save(picture, path)


def _draw_row(draw: ImageDraw.ImageDraw, at: float, label: str, row: Mapping[str, Spread], names: list[str]) -> None:
    ends = [number for spread in row.values() for number in spread if number is not None]
    ticks = round_numbers(ends)
    first, last = ticks[0], ticks[-1]
    draw.text((24, at), label, INK, font(TEXT), anchor="lm")
    draw.line([(LEFT, at), (RIGHT, at)], GRID, 3)
    draw.text((LEFT - 16, at), f"{first:g}", INK, font(TEXT), anchor="rm")
    draw.text((RIGHT + 16, at), f"{last:g}", INK, font(TEXT), anchor="lm")

    def place(value: Number) -> float:
        return LEFT + (value - first) / (last - first) * (RIGHT - LEFT)

    for name, (value, low, high) in row.items():
        colour = COLOURS[names.index(name)]
        height = at + 14 * (names.index(name) - (len(names) - 1) / 2)
        if low is not None and high is not None:
            draw.line([(place(low), height), (place(high), height)], colour, 6)
        draw.ellipse([place(value) - 9, height - 9, place(value) + 9, height + 9], colour)
        if len(row) == 1:
            draw.text((place(value), height - 14), f"{value:.3g}", INK, font(SMALL), anchor="mb")
