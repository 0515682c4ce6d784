"""What is claimed, as inequalities over measured figures: each holds or falls short, and says by which number."""

from collections.abc import Callable
from dataclasses import dataclass

from model.metrics.agreement import Figures


@dataclass(frozen=True)
class Claim:
    """`value` of figures is at least, or at most, `bound`."""

    text: str
    value: Callable[[Figures], float]
    at_least: bool
    bound: float

    def holds(self, figures: Figures) -> bool:
        """Whether it does; a figure that no video had a case of proves nothing.

        Raises:
            KeyError: a method or measure that it is about was not measured.
        """
        value = self.value(figures)
        return value >= self.bound if self.at_least else value <= self.bound


def _of(method: str, measure: str) -> Callable[[Figures], float]:
    def value(figures: Figures) -> float:
        found = figures[method][measure].value
        return float("nan") if found is None else found

    return value


def _after_gaps(method: str) -> Callable[[Figures], float]:
    return _of(method, "agreement_after_gap")


def _difference(one: Callable[[Figures], float], other: Callable[[Figures], float]) -> Callable[[Figures], float]:
    return lambda figures: one(figures) - other(figures)


def _apart(one: Callable[[Figures], float], other: Callable[[Figures], float]) -> Callable[[Figures], float]:
    return lambda figures: abs(one(figures) - other(figures))


def _ratio(one: Callable[[Figures], float], other: Callable[[Figures], float]) -> Callable[[Figures], float]:
    return lambda figures: one(figures) / max(other(figures), 1e-9)


def _best_forgetful(figures: Figures) -> float:
    return max(_after_gaps("ind")(figures), _after_gaps("fifo")(figures))


EDITS = (
    Claim("the region is repainted wherever it is visible", _of("memory", "edit_rate"), True, 0.95),
    Claim("other things are changed", _of("memory", "wrongly_changed"), False, 0.05),
    Claim("something is painted where there is nothing to edit", _of("memory", "smeared"), False, 0.05),
    Claim("a named colour is the colour painted", _of("memory", "instruction_followed"), True, 0.95),
    Claim("PSNR outside all things, dB", _of("memory", "psnr_outside"), True, 32.0),
)
"""That it really edits, and what it was told to."""

REMEMBERS = (
    Claim("agreement after gaps: memory", _after_gaps("memory"), True, 0.95),
    Claim("agreement after gaps: every segment alone", _after_gaps("ind"), False, 0.35),
    Claim("agreement after gaps: previous segment only", _after_gaps("fifo"), False, 0.35),
    Claim("memory above the better of these two", _difference(_after_gaps("memory"), _best_forgetful), True, 0.6),
)
"""That memory keeps what earlier edits invented, and nothing else does."""

PARTS = (
    Claim("lost by merging", _difference(_after_gaps("memory"), _after_gaps("memory_merging")), False, 0.05),
    Claim("lost by random memories", _difference(_after_gaps("memory"), _after_gaps("random")), True, 0.15),
    Claim("memories of another video against none", _apart(_after_gaps("shuffled"), _after_gaps("ind")), False, 0.1),
    Claim("cached against joint attention", _apart(_after_gaps("cached"), _after_gaps("memory")), False, 0.03),
)
"""That each part does its work."""

LOOKS = (
    Claim("open looks on footage: distance between segments", _of("memory", "look_distance"), False, 0.1),
    Claim(
        "times farther apart, every segment alone",
        _ratio(_of("ind", "look_distance"), _of("memory", "look_distance")),
        True,
        3.0,
    ),
)
"""The same on real pictures."""

CLAIMS = (*REMEMBERS, *PARTS, *EDITS, *LOOKS)
