"""How stable responsiveness is over the blocks of a transformer (paper Table 1). Numpy half: no torch.

Merging chooses frames at one block for all that follow, so what it finds there must hold later. The first block of each
third of the depth is held against every later block, by three numbers over the condition frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

Responses = Float[np.ndarray, "block frame"]
"""Eq. 5 of every condition frame in every block, in one forward pass."""

BOTTOM = 0.5  # the share of frames that counts as unresponsive (the paper's k)


@dataclass(frozen=True)
class Spread:
    """A mean with its standard deviation, over `n` comparisons of two blocks."""

    mean: float
    deviation: float
    n: int


def first_blocks(depth: int) -> tuple[int, ...]:
    """The first block of each third, 1-based: 1, 11 and 21 of 30. The last block has none behind it."""
    return tuple(sorted({1 + third * depth // 3 for third in range(3)} - {depth}))


def stability(passes: Sequence[Responses]) -> dict[int, Mapping[str, Spread]]:
    """By first block (1-based): `pearson`, `spearman` and `bottom_overlap` with all later blocks, over all passes.

    Blocks in which all frames respond alike have no correlation, and do not count. A first block without any that does
    is left out.
    """
    found: dict[int, Mapping[str, Spread]] = {}
    for first in first_blocks(len(passes[0])):
        pairs = [(scores[first - 1], later) for scores in passes for later in scores[first:]]
        varied = [(one, other) for one, other in pairs if np.ptp(one) > 0 and np.ptp(other) > 0]
        if varied:
            measures = (pearson, spearman, bottom_overlap)
            found[first] = {measure.__name__: _spread([measure(*pair) for pair in varied]) for measure in measures}
    return found


def pearson(one: Float[np.ndarray, " frame"], other: Float[np.ndarray, " frame"]) -> float:
    """The correlation of two series, -1 to 1."""
    return float(np.corrcoef(one, other)[0, 1])


def spearman(one: Float[np.ndarray, " frame"], other: Float[np.ndarray, " frame"]) -> float:
    """The correlation of their ranks; equal values share a rank."""
    return pearson(_ranks(one), _ranks(other))


def bottom_overlap(one: Float[np.ndarray, " frame"], other: Float[np.ndarray, " frame"]) -> float:
    """The share of the least responsive half that both have in common, 0 to 1; 0.5 is chance."""
    count = max(round(BOTTOM * len(one)), 1)
    lowest = (set(np.argsort(series, kind="stable")[:count].tolist()) for series in (one, other))
    return len(set.intersection(*lowest)) / count


def _ranks(series: Float[np.ndarray, " frame"]) -> Float64[np.ndarray, " frame"]:
    _, places, counts = np.unique(series, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[places].astype(np.float64)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(float(np.mean(values)), float(np.std(values)), len(values))
