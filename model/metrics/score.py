"""What a measurement gives: a number, or the reason why there is none. Numpy half: no torch."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Score:
    """A mean over `cases`: frames, pairs of frames or segments, as the metric says."""

    value: float
    cases: int


@dataclass(frozen=True)
class NotMeasured:
    """There is no number, and never a substitute for it; `reason` is one sentence for the user."""

    reason: str


Measurement = Score | NotMeasured


def mean_score(series: Float[np.ndarray, " case"], of_what: str) -> Measurement:
    """The mean of what is finite: frames and pairs that do not count are NaN in every series."""
    counted = series[np.isfinite(series)]
    if not len(counted):
        return NotMeasured(f"the video has no {of_what}")
    return Score(float(counted.mean(dtype=np.float64)), len(counted))
