"""Camera moves in a sentence: "pan right 30deg over 41 frames, then dolly in 0.5m". Numpy half: no torch.

    sentence = step { [","] "then" step }
    step     = ("hold" | "stay" | move { "and" move }) ["over" frames "frames"]
    move     = "pan" | "truck" | "roll"    ("left" | "right")               amount
             | "tilt" | "pedestal"         ("up" | "down")                  amount
             | "dolly"                     ("in" | "out" | "forward" | "back") amount
             | "zoom"                      ("in" | "out")                   amount
             | "move"                      ("left" | "right" | "up" | "down" | "forward" | "back") amount
             | "orbit" | "arc"             ("left" | "right")               amount ["around" amount]
    amount   = number ("deg" | "degrees" | "°" | "rad"  |  "m" | "metres" | "meters" | "cm" | "mm")

The camera is a head on a stand, and the horizon stays level unless it rolls. **pan** turns it about the upright axis,
**tilt** up and down, **roll** about the way it looks, clockwise to the right. **dolly**, and **zoom**, which leaves the
lens as it is, go the way the camera looked when the step began; **truck** to its right, level; **pedestal** upright.
**orbit** goes around a point that far ahead and carries all else that the step does. Upright is the first camera's.

Moves joined by "and" happen together. Steps follow one another at constant speed. The first frame is where the camera
starts; each step ends with its last frame. Steps without "over" share out the frames that are left.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float64

from model.camera.trajectory import Trajectory, pitch, roll, yaw
from model.errors import RequestError

Freedom = Literal["pan", "tilt", "roll", "forward", "right", "up", "orbit"]
Vector = Float64[np.ndarray, "3"]
Found = TypeVar("Found")

LONGEST_SENTENCE = 1000
FARTHEST_TURN, FARTHEST_MOVE = math.radians(3600), 1000.0  # ten times around; metres
NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+")
WORD = re.compile(rf"{NUMBER.pattern}|[a-z]+(?:-[a-z]+)*|\S")


def _ways(freedom: Freedom, less: str, more: str) -> dict[str, tuple[Freedom, int]]:
    return {less: (freedom, -1), more: (freedom, 1)}


VERBS: Mapping[str, Mapping[str, tuple[Freedom, int]]] = {
    "pan": _ways("pan", "left", "right"),
    "tilt": _ways("tilt", "down", "up"),
    "roll": _ways("roll", "left", "right"),
    "dolly": _ways("forward", "out", "in") | _ways("forward", "back", "forward"),
    "zoom": _ways("forward", "out", "in"),
    "truck": _ways("right", "left", "right"),
    "pedestal": _ways("up", "down", "up"),
    "move": _ways("right", "left", "right") | _ways("up", "down", "up") | _ways("forward", "back", "forward"),
    "orbit": _ways("orbit", "left", "right"),
    "arc": _ways("orbit", "left", "right"),
}
"""What each verb moves, and which way is positive: right, up, forward."""
STILL = ("hold", "stay")

TURNS: tuple[Freedom, ...] = ("pan", "tilt", "roll", "orbit")
ANGLES = {"deg": math.radians(1), "degrees": math.radians(1), "°": math.radians(1), "rad": 1.0}
LENGTHS = {"m": 1.0, "metres": 1.0, "meters": 1.0, "cm": 0.01, "mm": 0.001}


@dataclass(frozen=True)
class Step:
    """What happens together: radians and metres, the frames it was given, if any, and how far ahead the point lies
    that it orbits, if that was said."""

    amounts: Mapping[Freedom, float]
    frames: int | None = None
    distance: float | None = None


@dataclass(frozen=True)
class Sentence:
    """The steps of a sentence, at least one, and its text."""

    text: str
    steps: tuple[Step, ...]

    def share_out(self, frames: int) -> list[int]:
        """How many of `frames` each step gets: as many as it says, or its share of those that are left."""
        wanting = sum(step.frames is None for step in self.steps)
        said = sum(step.frames or 0 for step in self.steps)
        if said + wanting > frames:
            raise _wrong(self.text, f"it takes at least {said + wanting} frames, there are {frames}; shorten it")
        each, more = divmod(frames - said, max(wanting, 1))
        shares = iter([each + 1] * more + [each] * (wanting - more))
        counts = [step.frames or next(shares) for step in self.steps]
        if counts[0] == 1 < frames and self.steps[0].amounts:
            raise _wrong(self.text, "the first frame is where the camera starts; give the first step 2 frames or more")
        return counts

    def follow(self, frames: int, distance: float | int = 4.0) -> Trajectory:
        """The camera that does in `frames` frames what the sentence says, and then stands still.

        It starts at the origin, looks along +z, and orbits a point `distance` metres ahead where a step says no other.
        """
        place, turn = np.zeros((1, 3)), np.zeros((1, 3))
        places, turns = [], []
        for index, (step, count) in enumerate(zip(self.steps, self.share_out(frames), strict=True)):
            share = np.linspace(0, 1, count) if index == 0 else np.arange(1, count + 1) / count
            place, turn = _moved(place[-1], turn[-1], step, share, step.distance or distance)
            places.append(place)
            turns.append(turn)
        rest = ((0, frames - sum(map(len, places))), (0, 0))
        position = np.pad(np.concatenate(places), rest, "edge")
        pan, tilt, lean = np.pad(np.concatenate(turns), rest, "edge").T
        rotation = yaw(pan) @ pitch(tilt) @ roll(lean)
        return Trajectory.from_rows(np.concatenate([rotation, position[:, :, None]], axis=2))


def parse_sentence(text: str) -> Sentence:
    """Raises `RequestError` with the word that was not understood, what was expected instead, and the sentence."""
    if len(text) > LONGEST_SENTENCE:
        raise _wrong(text, f"it is longer than {LONGEST_SENTENCE} characters; shorten it")
    words = _Words(text)
    steps = [_step(words)]
    while words.next:
        if words.next != "then":
            words.take({",": None}, "'and', 'over', 'then' or the end")
        words.take({"then": None}, "'then'")
        steps.append(_step(words))
    return Sentence(words.text, tuple(steps))


def _moved(
    place: Vector, turn: Vector, step: Step, share: Float64[np.ndarray, " frames"], distance: float | int
) -> tuple[Float64[np.ndarray, "frames 3"], Float64[np.ndarray, "frames 3"]]:
    """Position, and angles (pan, tilt, roll), after each `share` of a step that begins at `place` and `turn`."""
    amount = {
        freedom: step.amounts.get(freedom, 0.0) * share[:, None] for freedom in (*TURNS, "forward", "right", "up")
    }
    level = yaw(turn[:1])[0]
    right, up, ahead = level[:, 0], np.array([0, -1.0, 0]), level @ pitch(turn[1:2])[0][:, 2]
    subject = place + distance * ahead
    offset = amount["forward"] * ahead + amount["right"] * right + amount["up"] * up - distance * ahead
    around = amount["orbit"]
    places = subject + (yaw(-around[:, 0]) @ offset[:, :, None])[:, :, 0]
    return places, turn + np.concatenate([amount["pan"] - around, amount["tilt"], amount["roll"]], axis=1)


class _Words:
    """The words of a sentence, taken one by one."""

    def __init__(self, text: str) -> None:
        self.text = " ".join(text.split())
        self._words = WORD.findall(text.lower())

    @property
    def next(self) -> str:
        """The word that comes, or nothing at the end."""
        return self._words[0] if self._words else ""

    def take(self, choices: Mapping[str, Found], expected: str) -> Found:
        """What the next word, one of `choices`, stands for."""
        if self.next not in choices:
            raise self._unexpected(expected)
        return choices[self._words.pop(0)]

    def number(self, expected: str) -> str:
        """The digits of a number."""
        if not NUMBER.fullmatch(self.next):
            raise self._unexpected(expected)
        return self._words.pop(0)

    def skip(self, word: str) -> bool:
        """Whether the next word is `word`, which is then taken."""
        if self.next != word:
            return False
        self._words.pop(0)
        return True

    def _unexpected(self, expected: str) -> RequestError:
        found = f"{self.next!r} was not understood" if self.next else "its end comes too early"
        return _wrong(self.text, f"{found}; expected {expected}")


def _step(words: _Words) -> Step:
    amounts: dict[Freedom, float] = {}
    distance = None
    still = any(words.skip(word) for word in STILL)
    while not still:
        freedom, amount = _move(words)
        if freedom in amounts:
            raise _wrong(words.text, f"it moves twice in one step ({freedom}); expected 'then' between the two")
        amounts[freedom] = amount
        if freedom == "orbit" and words.skip("around"):
            distance = _amount(words, LENGTHS, "4m")
            if distance == 0:
                raise _wrong(words.text, "nothing can be gone around at 0 m; give the distance of the subject")
        if not words.skip("and"):
            break
    return Step(amounts, _frames(words), distance)


def _move(words: _Words) -> tuple[Freedom, float]:
    ways = words.take(VERBS, f"a move: {', '.join((*VERBS, *STILL))}")
    freedom, sign = words.take(ways, " or ".join(ways))
    units, example = (ANGLES, "20deg") if freedom in TURNS else (LENGTHS, "0.5m")
    return freedom, sign * _amount(words, units, example)


def _amount(words: _Words, units: Mapping[str, float], example: str) -> float:
    number = float(words.number(f"an amount, such as {example}"))
    unit = words.next
    amount = number * words.take(units, f"a unit: {', '.join(units)}")
    if amount > (FARTHEST_TURN if units is ANGLES else FARTHEST_MOVE):
        raise _wrong(words.text, f"{number:.4g}{unit} is too far; expected at most 3600deg, or 1000m")
    return amount


def _frames(words: _Words) -> int | None:
    if not words.skip("over"):
        return None
    number = words.number("a number of frames, such as 40 frames")
    words.take({"frames": None, "frame": None}, "'frames'")
    if not (number.isdecimal() and len(number) <= 6 and int(number) >= 1):
        raise _wrong(words.text, f"no step has {number[:20]} frames; expected a whole number, at least 1")
    return int(number)


def _wrong(text: str, what: str) -> RequestError:
    """`what` is wrong with a sentence; a long one is named by its beginning."""
    named = text if len(text) <= LONGEST_SENTENCE else f"{text[:40]}..."
    return RequestError(f"camera {named!r}: {what}")
