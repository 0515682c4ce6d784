"""What people write to have a shape changed: phrases for training, and others held out for evaluation.

A fixed instruction names the colour, never one close to what the shape has already; an open one leaves it to the model,
so that only memory can keep it. Held out are three phrases of each sort, and for every shape one colour that training
never names together with it.
"""

from typing import Literal

import numpy as np

from model.metrics.agreement import hue_distance
from storage.datasets.shapes import OWN_HUES, Kind

Wording = Literal["training", "held-out"]

HUES = {"red": 0.0, "yellow": 60.0, "green": 120.0, "cyan": 180.0, "blue": 240.0, "pink": 300.0}
CLOSE = 25.0  # degrees
HELD_OUT_PAIRS = {"circle": "green", "square": "pink", "triangle": "blue", "cross": "yellow"}

OPEN: dict[Kind, tuple[str, ...]] = {
    "colour": ("give the {shape} a new colour", "paint the {shape} a new colour", "change the colour of the {shape}"),
    "stripes": ("give the {shape} stripes", "paint stripes on the {shape}"),
    "hat": ("give the {shape} a hat", "put a hat on the {shape}"),
}
FIXED: dict[Kind, tuple[str, ...]] = {
    "colour": (
        "paint the {shape} {colour}",
        "make the {shape} {colour}",
        "change the colour of the {shape} to {colour}",
    ),
    "stripes": ("give the {shape} {colour} stripes", "paint {colour} stripes on the {shape}"),
    "hat": ("give the {shape} a {colour} hat", "put a {colour} hat on the {shape}"),
}
HELD_OUT_OPEN: dict[Kind, str] = {
    "colour": "make the {shape} a new colour",
    "stripes": "put stripes on the {shape}",
    "hat": "make a hat on the {shape}",
}
HELD_OUT_FIXED: dict[Kind, str] = {
    "colour": "give the {shape} a {colour} colour",
    "stripes": "put {colour} stripes on the {shape}",
    "hat": "make a {colour} hat on the {shape}",
}


def phrase(
    shape: str, kind: Kind, named: bool, random: np.random.Generator, wording: Wording
) -> tuple[str, float | None]:
    """An instruction, and the hue in degrees that it names, or None where it names none."""
    kept = HELD_OUT_PAIRS[shape]
    name = None
    if named:
        apart = [colour for colour, hue in HUES.items() if hue_distance(hue, OWN_HUES[shape]) > CLOSE]
        others = [colour for colour in apart if colour != kept]
        name = str(random.choice(others))
        if wording == "held-out" and random.random() < 0.5:
            name = kept
    pool = FIXED if named else OPEN
    text = str(random.choice(pool[kind]))
    if wording == "held-out" and random.random() < 0.5:
        text = (HELD_OUT_FIXED if named else HELD_OUT_OPEN)[kind]
    return text.format(shape=shape, colour=name), None if name is None else HUES[name]


def hue_of(colour: tuple[float, float, float] | np.ndarray) -> float:
    """Hue of an RGB colour, in degrees."""
    red, green, blue = (float(part) for part in colour)
    return float(np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360)
