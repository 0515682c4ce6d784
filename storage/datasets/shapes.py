"""The things that live in the synthetic world: outlines and markings as signed distances, and what can be done to them.

Every shape has a colour of its own, as an orange has, which an edit replaces, and a marking, white or dark, that an
edit leaves as it is: like real things, shapes are known by much more than their outline.

Lengths are in views, x to the right and y down; a signed distance is negative inside. Coverage of a pixel is the
distance to the outline, cut off at half a pixel on either side: edges are smooth, and move by fractions of a pixel.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float

Field = Float[np.ndarray, "frame #height #width"]
Kind = Literal["colour", "stripes", "hat"]
KINDS: tuple[Kind, ...] = ("colour", "stripes", "hat")

STRIPE = 3 / 32  # width of a stripe; coloured and plain ones take turns
BRIM = 1 / 16  # thickness of a hat's brim
HAT_WIDTH, HAT_HEIGHT = 2.0, 1.0  # of the radius


def circle(x: Field, y: Field, radius: float) -> Field:
    return np.hypot(x, y) - radius


def square(x: Field, y: Field, radius: float) -> Field:
    return np.maximum(np.abs(x), np.abs(y)) - 0.9 * radius


def diamond(x: Field, y: Field, radius: float) -> Field:
    return (np.abs(x) + np.abs(y) - 1.2 * radius) / np.sqrt(2)


def triangle(x: Field, y: Field, radius: float) -> Field:
    """Points up; as high as it is wide."""
    sides = (2 * np.abs(x) - y - radius) / np.sqrt(5)
    return np.maximum(sides, y - radius)


def cross(x: Field, y: Field, radius: float) -> Field:
    beams = (np.maximum(np.abs(a) - radius, np.abs(b) - radius / 3) for a, b in ((x, y), (y, x)))
    return np.minimum(*beams)


OUTLINES: dict[str, Callable[[Field, Field, float], Field]] = {
    "circle": circle,
    "square": square,
    "triangle": triangle,
    "cross": cross,
    "diamond": diamond,
}


WHITE, DARK = (0.95, 0.95, 0.95), (0.08, 0.08, 0.08)
MARKINGS: dict[str, tuple[tuple[float, float, float], Callable[[Field, Field, float], Field]]] = {
    "circle": (WHITE, lambda x, y, radius: circle(x, y, 0.35 * radius)),
    "square": (DARK, lambda x, y, radius: np.maximum(square(x, y, radius), -square(x, y, 0.7 * radius))),
    "triangle": (WHITE, lambda x, y, radius: np.maximum(triangle(x, y, radius), 0.45 * radius - y)),
    "cross": (DARK, lambda x, y, radius: square(x, y, 0.4 * radius)),
    "diamond": (WHITE, lambda x, y, radius: np.abs(diamond(x, y, 0.6 * radius)) - 0.12 * radius),
}
"""What is on a shape: its colour, and where."""

OWN_HUES = {"circle": 220.0, "square": 140.0, "triangle": 20.0, "cross": 280.0, "diamond": 70.0}
"""The middle of a shape's own colours, in degrees. They are dark, which no edit is, so that every edit shows."""


def coverage(distance: Field, size: int) -> Field:
    """How much of each pixel lies inside, 0 to 1, in a picture of `size` pixels."""
    return np.clip(0.5 - distance * size, 0, 1)
