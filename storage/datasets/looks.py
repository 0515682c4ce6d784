"""Looks: one change of colours over a whole video, fixed by the text ("make it sepia") or open ("give it a new look").

A look turns the hue about the grey axis, stretches contrast about mid grey, tints each channel, and darkens the
corners, in this order, on RGB in [0, 1]. `recover` reads these numbers off a picture and its edit, which is how
evaluation knows whether two segments have the same look.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

Picture = Float[np.ndarray, "*frame height width 3"]

RANGES = {"hue": (-150.0, 150.0), "contrast": (0.6, 1.3), "tint": (0.7, 1.15), "vignette": (0.0, 0.6)}
"""What open looks are drawn from: degrees, and factors."""

OPEN_PHRASES = ("give it a new look", "change the look of it", "make it look new")
HELD_OUT_OPEN_PHRASE = "give it another look"
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

    def numbers(self) -> Float[np.ndarray, "6"]:
        """All of it in parts of the range that open looks are drawn from: 0.1 is a tenth of it."""
        hue, contrast, tint, vignette = astuple(self)
        widths = {name: high - low for name, (low, high) in RANGES.items()}
        values = [hue / widths["hue"], contrast / widths["contrast"], *(each / widths["tint"] for each in tint)]
        return np.array([*values, vignette / widths["vignette"]])


def draw_look(random: np.random.Generator) -> Look:
    """An open look that nobody could take for the source: its hue is turned by at least 30 degrees."""
    hue = float(random.choice([-1, 1]) * random.uniform(30, RANGES["hue"][1]))
    tint = tuple(float(each) for each in random.uniform(*RANGES["tint"], 3))
    contrast, vignette = (float(random.uniform(*RANGES[name])) for name in ("contrast", "vignette"))
    return Look(hue, contrast, (tint[0], tint[1], tint[2]), vignette)


def apply_look(look: Look, picture: Picture) -> Picture:
    """The picture with this look, in [0, 1]."""
    turned = picture @ _hue_matrix(look.hue).T
    toned = ((turned - 0.5) * look.contrast + 0.5) * np.asarray(look.tint, np.float32)
    return np.clip(toned * _falloff(look.vignette, *picture.shape[-3:-1]), 0, 1).astype(np.float32)


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
    """The look that turns `source` into `edited` best, from pixels that were not clipped.

    For each of a number of vignettes the rest is linear, and solved for; the one with the least error is taken.
    """
    tried = [_solve(source, edited, vignette) for vignette in np.linspace(0, 0.8, 33)]
    return min(tried, key=lambda pair: pair[0])[1]


def distance(one: Look, other: Look) -> float:
    """Mean difference of the six numbers of two looks, each in parts of its range; hues the short way round."""
    difference = np.abs(one.numbers() - other.numbers())
    circle = 360 / (RANGES["hue"][1] - RANGES["hue"][0])
    difference[0] = min(difference[0], circle - difference[0])
    return float(difference.mean())


def _solve(source: Picture, edited: Picture, vignette: float) -> tuple[float, Look]:
    """Error and look at one vignette: edited / falloff = matrix @ source + offset, by least squares."""
    falloff = _falloff(vignette, *source.shape[-3:-1])
    kept = ((edited > 0.03) & (edited < 0.97)).all(axis=-1)
    inputs = np.concatenate([source, np.ones_like(source[..., :1])], axis=-1)[kept]
    outputs = (edited / falloff)[kept]
    solution, *_ = np.linalg.lstsq(inputs, outputs, rcond=None)
    error = np.mean(((inputs @ solution - outputs) * np.broadcast_to(falloff, edited.shape)[kept][:, :1]) ** 2)
    matrix, offset = solution[:3].T, solution[3]
    gains = matrix.sum(axis=1)
    tint = np.maximum(2 * offset + gains, 1e-3)
    contrast = max(float(np.mean(gains / tint)), 1e-3)
    turned = matrix / (tint[:, None] * contrast)
    return float(error), Look(_angle_of(turned), contrast, (float(tint[0]), float(tint[1]), float(tint[2])), vignette)


def _hue_matrix(degrees: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about the grey axis: grey stays as it is."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    grey, cross = np.full((3, 3), 1 / 3), np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    return (cos * np.eye(3) + (1 - cos) * grey + sin * cross).astype(np.float32)


def _angle_of(matrix: Float[np.ndarray, "3 3"]) -> float:
    """Angle, in degrees, of the rotation about the grey axis that is nearest to a matrix."""
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    cos = (np.trace(matrix) - matrix.sum() / 3) / 2
    return float(np.degrees(np.arctan2((matrix * cross).sum() / 2, cos)))


@cache
def _radius(height: int, width: int) -> Float[np.ndarray, "height width 1"]:
    """Squared distance from the middle, 1 in the corners."""
    y, x = (np.linspace(-1, 1, length) ** 2 / 2 for length in (height, width))
    return (y[:, None] + x[None, :])[..., None].astype(np.float32)


def _falloff(vignette: float, height: int, width: int) -> Float[np.ndarray, "height width 1"]:
    return 1 - np.float32(vignette) * _radius(height, width)


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
