"""Whether an edit holds still where its source does: warping error, flicker, seams. Numpy half: no torch.

All three follow the motion of the *source*, so they are for edits that keep it. Of novel views, give the view in the
place of the source: its own motion is followed then, warping error and flickering mean what they say, and there is no
excess and no seam to see. Definitions are those of `motion.py`, on pictures with a short side of 240 pixels.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float64

from model.metrics.plan import Gap
from model.metrics.score import Measurement, Score, mean_score
from model.types import Span

BURST = 4  # pairs of frames
FLOOR = 0.5  # levels: less is noise

BySegment = Float64[np.ndarray, " segment"]


def warping_error(warping: Float[np.ndarray, " frame"]) -> Measurement:
    """Mean squared difference in [0, 1] between each frame and the next one moved back; lower is steadier.

    Lai et al. (2018): E = sum M (V_t - warp(V_{t+1}))^2 / sum M, where M is what both frames show, a mean over channels
    and pairs. The flow is of the source, by DIS instead of FlowNet 2, at 240 lines; no weights.
    """
    return mean_score(warping, "pairs of frames within a shot that show the same")


def flicker(series: Float[np.ndarray, " frame"]) -> Measurement:
    """How much an edit changes from frame to frame beyond what its source does, in levels of 255; lower is steadier.

    0 is an edit that moves with its source. The mean over pairs within shots; no weights; ours (`motion.py:excess`).
    """
    return mean_score(series, "pairs of frames within a shot that show the same")


def flicker_bursts(series: Float[np.ndarray, " frame"], led: Sequence[Span]) -> BySegment:
    """The worst stretch of each segment: the largest mean of `flicker` over four pairs in a row of the frames it leads.

    In levels of 255; lower is steadier. A single bad frame makes two bad pairs, so half of its jump counts. NaN where
    a segment has no pair of frames.
    """
    return np.array([_worst(series[span.start + 1 : span.stop]) for span in led])


def seams(jumps: Mapping[Gap, float], segments: int) -> BySegment:
    """How visible the join is with which each segment begins: its jump, in parts of jumps inside the two segments.

    1 is no seam to be seen, 2 a jump twice as large as elsewhere. The jump is `motion.py:jump_of`, between the frames
    before and after the cross-fade; it is held against the median over pairs of the same distance inside. NaN where
    none begins: the first segment of a shot, and segments too short to be compared with. Ours; no weights.
    """
    found: list[dict[Gap, float]] = [{} for _ in range(segments)]
    for gap, jump in jumps.items():
        found[gap.segment][gap] = jump
    return np.array([_seam(each) for each in found])


def worst_seam(by_segment: BySegment) -> Measurement:
    """The most visible seam of a video; 1 is none to be seen."""
    return _largest(by_segment, "joins within a shot")


def worst_burst(by_segment: BySegment) -> Measurement:
    """The worst burst of flicker of a video, in levels of 255."""
    return _largest(by_segment, "pairs of frames within a shot that show the same")


def _largest(by_segment: BySegment, of_what: str) -> Measurement:
    mean = mean_score(by_segment, of_what)
    return Score(float(np.nanmax(by_segment)), mean.cases) if isinstance(mean, Score) else mean


def _seam(jumps: Mapping[Gap, float]) -> float:
    joins, controls = (
        [jump for gap, jump in jumps.items() if gap.crosses is crosses and np.isfinite(jump)]
        for crosses in (True, False)
    )
    if not joins or not controls:
        return float("nan")
    return (joins[0] + FLOOR) / (float(np.median(controls)) + FLOOR)


def _worst(pairs: Float[np.ndarray, " pair"]) -> float:
    found = pairs[np.isfinite(pairs)]
    if not len(found):
        return float("nan")
    length = min(BURST, len(found))
    return float(np.convolve(found, np.full(length, 1 / length), mode="valid").max())
