"""Curves and bars as pictures, for people who have no plotting library at hand. Drawn twice as large, then halved."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from storage.durable import whole_file

SIZE = (1920, 1120)
LEFT, TOP, RIGHT, BOTTOM = 184, 112, 1848, 976  # of the axes
INK, GRID, PAPER = (40, 40, 40), (225, 225, 225), (255, 255, 255)
COLOURS = ((31, 119, 180), (214, 96, 20), (44, 140, 60))
TEXT, HEAD = 32, 40
TICKS = 6  # about so many on an axis
DOTS = 60  # a line of more points is drawn without them

Number = int | float
Line = Sequence[tuple[Number, Number]]
Interval = tuple[Number, Number, Number]
"""A value, and from where to where it may lie."""


@dataclass(frozen=True)
class Axes:
    """Round numbers at equal distances along both axes."""

    across: list[float]
    up: list[float]

    def place(self, x: Number, y: Number) -> tuple[float, float]:
        """The pixel of a point."""
        along, high = _share(x, self.across), _share(y, self.up)
        return LEFT + along * (RIGHT - LEFT), BOTTOM - high * (BOTTOM - TOP)


def draw_lines(path: Path, lines: Mapping[str, Line], title: str, across: str, up: str) -> Path:
    """Draw named lines of `(x, y)` points, three at most; `across` and `up` label the axes."""
    picture, draw = _paper(title)
    points = [point for line in lines.values() for point in line]
    axes = Axes(*(round_numbers([point[axis] for point in points]) for axis in (0, 1)))
    _draw_axes(draw, axes)
    draw.text((RIGHT, SIZE[1] - 31), across, INK, font(TEXT), anchor="rm")
    _write_upright(picture, up, (52, (TOP + BOTTOM) // 2))
    for line, colour in zip(lines.values(), COLOURS, strict=False):
        _draw_line(draw, [axes.place(*point) for point in line], colour)
    draw_key(draw, list(lines), LEFT, SIZE[1] - 48)
    return save(picture, path)


def draw_bars(path: Path, bars: Mapping[str, Mapping[str, Interval]], title: str) -> Path:
    """Draw groups of named bars from 0 to 1, three to a group at most, each with its interval; by group and name."""
    picture, draw = _paper(title)
    up = [number / 5 for number in range(6)]
    axes = Axes([0.0, float(len(bars))], up)
    _draw_axes(draw, Axes([], up))
    names = list(dict.fromkeys(name for group in bars.values() for name in group))
    width = 0.8 / max(1, len(names))
    for number, (label, group) in enumerate(bars.items()):
        at, _ = axes.place(number + 0.5, 0)
        draw.text((at, BOTTOM + 16), label.replace(" ", "\n"), INK, font(TEXT), anchor="ma", align="center")
        for place, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
            if name in group:
                _draw_bar(draw, axes, number + 0.1 + place * width, 0.9 * width, group[name], colour)
    draw_key(draw, names, LEFT, SIZE[1] - 48)
    return save(picture, path)


def _paper(title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", SIZE, PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text(((LEFT + RIGHT) / 2, TOP / 2), title, INK, font(HEAD), anchor="mm")
    return picture, draw


def save(picture: Image.Image, path: Path) -> Path:
    """Write a picture at half its size; the file appears whole or not at all."""
    with whole_file(path) as unfinished:
        picture.reduce(2).save(unfinished, "PNG")
    return path


def _draw_axes(draw: ImageDraw.ImageDraw, axes: Axes) -> None:
    for tick in axes.across:
        at, _ = axes.place(tick, axes.up[0])
        draw.line([(at, TOP), (at, BOTTOM)], GRID, 2)
        draw.text((at, BOTTOM + 16), f"{tick:g}", INK, font(TEXT), anchor="ma")
    for tick in axes.up:
        at = BOTTOM - _share(tick, axes.up) * (BOTTOM - TOP)
        draw.line([(LEFT, at), (RIGHT, at)], GRID, 2)
        draw.text((LEFT - 20, at), f"{tick:g}", INK, font(TEXT), anchor="rm")
    draw.line([(LEFT, TOP), (LEFT, BOTTOM), (RIGHT, BOTTOM)], INK, 4)


def _draw_line(draw: ImageDraw.ImageDraw, spots: Line, colour: tuple[int, int, int]) -> None:
    if len(spots) > 1:
        draw.line(list(spots), colour, 5, joint="curve")
    for x, y in spots if len(spots) < DOTS else ():
        draw.ellipse([x - 7, y - 7, x + 7, y + 7], colour)


def _draw_bar(
    draw: ImageDraw.ImageDraw, axes: Axes, start: float, width: float, bar: Interval, colour: tuple[int, int, int]
) -> None:
    """A bar, and its interval as a line with ends."""
    value, low, high = bar
    left, top = axes.place(start, value)
    right, bottom = axes.place(start + width, 0)
    draw.rectangle([left, min(top, bottom - 2), right, bottom], colour)
    middle, (_, lowest), (_, highest) = (left + right) / 2, axes.place(start, low), axes.place(start, high)
    draw.line([(middle, lowest), (middle, highest)], INK, 4)
    for end in (lowest, highest):
        draw.line([(middle - 10, end), (middle + 10, end)], INK, 4)


def draw_key(draw: ImageDraw.ImageDraw, names: Sequence[str], left: Number, top: Number) -> None:
    """Names in one row, with their colours."""
    at: Number = left
    for name, colour in zip(names, COLOURS, strict=False):
        draw.rectangle([at, top, at + 34, top + 34], colour)
        draw.text((at + 50, top + 17), name, INK, font(TEXT), anchor="lm")
        at += 110 + draw.textlength(name, font(TEXT))


def _write_upright(picture: Image.Image, text: str, middle: tuple[int, int]) -> None:
    """Text that reads from below to above."""
    label = Image.new("L", (int(font(TEXT).getlength(text)) + 8, 2 * TEXT), 0)
    ImageDraw.Draw(label).text((label.width / 2, TEXT), text, 255, font(TEXT), anchor="mm")
    turned = label.rotate(90, expand=True)
    picture.paste(INK, (middle[0] - turned.width // 2, middle[1] - turned.height // 2), turned)


def round_numbers(values: Sequence[Number]) -> list[float]:
    """About `TICKS` multiples of 1, 2 or 5 times a power of ten, from below all values to above them."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low == high:
        around = abs(low) / 10 or 1.0
        low, high = low - around, high + around
    least = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
    return [round(step * number, 12) for number in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _share(value: Number, ticks: Sequence[float]) -> float:
    """Where a value lies between the first and the last tick, 0 to 1."""
    return (value - ticks[0]) / (ticks[-1] - ticks[0])


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The letters of all pictures."""
    return ImageFont.load_default(size)
