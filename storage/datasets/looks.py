"""Looks: one change of colours over a whole video, fixed by the text ("make it sepia") or open ("give it a new look").

A look turns the hue about the grey axis, stretches contrast about mid grey, tints each channel, and darkens the
corners, in this order, on RGB in [0, 1]. `recover` reads these numbers off a picture and its edit, which is how
evaluation knows whether two segments have the same look.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float

Picture = Float[np.ndarray, "*frame height width 3"]
Numbers = Float[np.ndarray, "6"]
"""Hue, contrast, the three tints and the vignette, in parts of their ranges."""

RANGES = {"hue": (-150.0, 150.0), "contrast": (0.5, 1.5), "tint": (0.45, 1.2), "vignette": (0.0, 0.9)}
"""What open looks are drawn from: degrees, and factors."""

LOWEST, HIGHEST = np.array([RANGES[name] for name in ("hue", "contrast", "tint", "tint", "tint", "vignette")]).T
WIDTHS = HIGHEST - LOWEST
MIDDLE = (LOWEST + HIGHEST) / 2 / WIDTHS
PULL = 0.0015  # of a whole range from its middle, in RGB
CELLS = 16  # along each side of a picture
ROUNDS, STEP, FARTHEST = 8, 1e-3, 0.3  # of a descent; the step of its derivatives, and the longest of its own

OPEN_PHRASES = ("give it a new look", "change the look of it", "make it look new")
HELD_OUT_OPEN_PHRASE = "change it to a new look"
FIXED_PHRASES: dict[str, tuple[str, ...]] = {
    "night": ("make it night", "change it to night"),
    "sepia": ("make it sepia", "give it a sepia look"),
    "grey": ("make it grey", "give it a grey look"),
}
HELD_OUT_FIXED_PHRASE = "make it look {look}"


@dataclass(frozen=True)
class Look:
    """`hue` in degrees, `contrast` and `tint` as factors, `vignette` as the share of light lost in the corners."""

    hue: float
    contrast: float
    tint: tuple[float, float, float]
    vignette: float

    def numbers(self) -> Numbers:
        """All of it in parts of the range that open looks are drawn from: 0.1 is a tenth of it."""
        return np.array([self.hue, self.contrast, *self.tint, self.vignette]) / WIDTHS


def draw_look(random: np.random.Generator) -> Look:
    """An open look that nobody could take for the source: its hue is turned by at least 30 degrees."""
    hue = float(random.choice([-1, 1]) * random.uniform(30, RANGES["hue"][1]))
    tint = tuple(float(each) for each in random.uniform(*RANGES["tint"], 3))
    contrast, vignette = (float(random.uniform(*RANGES[name])) for name in ("contrast", "vignette"))
    return Look(hue, contrast, (tint[0], tint[1], tint[2]), vignette)


def apply_look(look: Look, picture: Picture) -> Picture:
    """The picture with this look, in [0, 1]."""
    return np.clip(_toned(look, picture, _radius(*picture.shape[-3:-1])), 0, 1).astype(np.float32)


def apply_fixed(name: str, picture: Picture) -> Picture:
    """The picture as `night`, `sepia` or `grey`, in [0, 1]."""
    light = picture @ np.array([0.299, 0.587, 0.114], np.float32)
    if name == "grey":
        return np.repeat(light[..., None], 3, axis=-1)
    if name == "sepia":
        return np.clip(light[..., None] * np.array([1.1, 0.85, 0.6], np.float32), 0, 1)
    assert name == "night", name
    return np.clip(0.5 * picture + 0.2 * light[..., None] - 0.08, 0, 1) * np.array([0.5, 0.65, 1.0], np.float32)


def recover(source: Picture, edited: Picture) -> Look:
    """The look that turns `source` into `edited` best, by least squares over averages of `CELLS` x `CELLS` cells.

    Averages, since a codec loses detail and keeps them; light is clipped as a look clips it. Reads the first frame and
    the last. Descends from the hue that fits best on its own, and from others beside it. What a picture without
    contrast leaves open is settled by a slight pull towards the middle of what looks are drawn from.
    """
    ends = slice(None, None, max(1, len(source) - 1))
    before, after, radius = source[ends], _averages(edited[ends]), _radius(*source.shape[-3:-1])

    def errors(numbers: Numbers) -> Float[np.ndarray, " error"]:
        missed = _averages(np.clip(_toned(_look_of(numbers), before, radius), 0, 1)) - after
        return np.concatenate([missed.ravel() / np.sqrt(missed.size), PULL * (numbers - MIDDLE)[1:]])

    def error(numbers: Numbers) -> float:
        return float(np.square(errors(numbers)).sum())

    turned = [_with_hue(hue) for hue in np.linspace(-150, 180, 12)]
    first = min(turned, key=error)[0]
    starts = [_with_hue(first * WIDTHS[0] + aside) for aside in (0, 60, -60, 180)]
    return _look_of(min((_descend(errors, start) for start in starts), key=error))


def distance(one: Look, other: Look) -> float:
    """Mean difference of the six numbers of two looks, each in parts of its range; hues the short way round."""
    difference = np.abs(one.numbers() - other.numbers())
    circle = 360 / WIDTHS[0]
    difference[0] = min(difference[0], circle - difference[0])
    return float(difference.mean())


def _toned(look: Look, colours: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Colours `[..., 3]` with a look, not clipped; `radius` as in `_radius`."""
    toned = ((colours @ _hue_matrix(look.hue).T - 0.5) * look.contrast + 0.5) * np.asarray(look.tint, np.float32)
    return toned * (1 - np.float32(look.vignette) * radius)


def _averages(pictures: Picture) -> Float[np.ndarray, "*frame row column 3"]:
    return np.stack([cv2.resize(each, (CELLS, CELLS), interpolation=cv2.INTER_AREA) for each in pictures])


def _descend(errors: Callable[[Numbers], np.ndarray], numbers: Numbers) -> Numbers:
    """Levenberg-Marquardt with numerical slopes: no step that makes it worse is taken, and the next is damped."""
    missed, damping, axes = errors(numbers), 1e-3, np.eye(len(numbers))
    for _ in range(ROUNDS):
        slopes = np.stack([errors(numbers + STEP * axis) - missed for axis in axes], axis=1) / STEP
        damped, wanted = np.concatenate([slopes, damping * axes]), np.concatenate([-missed, 0 * numbers])
        tried = numbers + np.clip(np.linalg.lstsq(damped, wanted, rcond=None)[0], -FARTHEST, FARTHEST)
        left = errors(tried)
        if np.square(left).sum() < np.square(missed).sum():
            numbers, missed = tried, left
        else:
            damping = max(10 * damping, 0.01)
    return numbers


def _with_hue(degrees: float) -> Numbers:
    """The middle of all ranges, but for the hue."""
    return np.array([degrees / WIDTHS[0], *MIDDLE[1:]])


def _look_of(numbers: Numbers) -> Look:
    """What `Look.numbers` tells, as a look again."""
    hue, contrast, red, green, blue, vignette = (float(each) for each in numbers * WIDTHS)
    return Look((hue + 180) % 360 - 180, contrast, (red, green, blue), vignette)


def _hue_matrix(degrees: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about the grey axis: grey stays as it is."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    grey, cross = np.full((3, 3), 1 / 3), np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    return (cos * np.eye(3) + (1 - cos) * grey + sin * cross).astype(np.float32)


@cache
def _radius(height: int, width: int) -> Float[np.ndarray, "height width 1"]:
    """Squared distance from the middle, 1 in the corners."""
    y, x = (np.linspace(-1, 1, length) ** 2 / 2 for length in (height, width))
    return (y[:, None] + x[None, :])[..., None].astype(np.float32)


def looks_wording(random: np.random.Generator, held_out: bool) -> tuple[str, str | None]:
    """An instruction, and the look that it fixes, or None where it leaves it open."""
    if random.random() < 0.6:
        return (HELD_OUT_OPEN_PHRASE if held_out and random.random() < 0.5 else str(random.choice(OPEN_PHRASES))), None
    name = str(random.choice(sorted(FIXED_PHRASES)))
    if held_out and random.random() < 0.5:
        return HELD_OUT_FIXED_PHRASE.format(look=name), name
    return str(random.choice(FIXED_PHRASES[name])), name


def all_phrases() -> Sequence[str]:
    """Every instruction of this file."""
    fixed = [text for texts in FIXED_PHRASES.values() for text in texts]
    held_out = [HELD_OUT_FIXED_PHRASE.format(look=name) for name in FIXED_PHRASES]
    return [*OPEN_PHRASES, HELD_OUT_OPEN_PHRASE, *fixed, *held_out]
