"""One run summed up, or two compared in pairs, metric by metric. Numpy half: no torch.

An interval is 95 %, by bootstrap over source videos: turns over one source depend on each other, so they are drawn
together, and the two runs of a pair as well, which is what makes small differences visible. A few sources tell too
little of how others would have come out: their intervals are widened (see `_tail`), and fewer than `LEAST_SOURCES` have
none.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from statistics import NormalDist

from model.metrics.agreement import Figure, Tally, summarise
from model.metrics.score import Measurement, NotMeasured, Score

LEAST_SOURCES = 6
NORMAL = NormalDist()


@dataclass(frozen=True)
class ScoredVideo:
    """The scores of one edited video; `source` names the content that was edited, and `asked` what was asked for."""

    name: str
    source: str
    asked: str
    scores: Mapping[str, Measurement]


@dataclass(frozen=True)
class Compared:
    """A metric of a run, that of the other run, and the mean difference of the pairs, first less second."""

    figure: Figure
    against: Figure
    difference: Figure


Pair = tuple[ScoredVideo, ScoredVideo]
Row = Figure | Compared | NotMeasured


def pair_videos(ours: Sequence[ScoredVideo], theirs: Sequence[ScoredVideo]) -> list[Pair]:
    """Videos made of one source, in the order of `ours`: those that were asked for the same, or the only ones of it."""
    pairs: list[Pair] = []
    for source in dict.fromkeys(video.source for video in ours):
        mine, other = ([video for video in run if video.source == source] for run in (ours, theirs))
        if len(mine) == len(other) == 1:
            pairs.append((mine[0], other[0]))
            continue
        for asked in dict.fromkeys(video.asked for video in mine):
            both = ([video for video in run if video.asked == asked] for run in (mine, other))
            pairs += zip(*both, strict=False)
    return pairs


def summarise_run(videos: Sequence[ScoredVideo], metrics: Sequence[str]) -> dict[str, Row]:
    """The mean of each metric over the videos that have it, with its interval; where none has, why."""
    return {metric: _summary(videos, metric) for metric in metrics}


def compare_runs(pairs: Sequence[Pair], metrics: Sequence[str]) -> dict[str, Row]:
    """Each metric of both runs over the pairs in which both have it, and the difference, with their intervals."""
    return {metric: _comparison(pairs, metric) for metric in metrics}


def row_fields(row: Row) -> dict[str, object]:
    """A row as JSON has it."""
    if isinstance(row, NotMeasured):
        return {"not_measured": row.reason}
    if isinstance(row, Figure):
        return asdict(row)
    difference = {name: value for name, value in asdict(row.difference).items() if name != "n"}
    return {**asdict(row.figure), "against": asdict(row.against), "difference": difference}


def _summary(videos: Sequence[ScoredVideo], metric: str) -> Row:
    measured = [(video.source, score.value) for video in videos if isinstance(score := video.scores[metric], Score)]
    return _figure(measured) if measured else NotMeasured(_reason(videos, metric))


def _comparison(pairs: Sequence[Pair], metric: str) -> Row:
    found: list[tuple[str, float, float]] = []
    for pair in pairs:
        one, other = (video.scores[metric] for video in pair)
        if isinstance(one, Score) and isinstance(other, Score):
            found.append((pair[0].source, one.value, other.value))
    if not found:
        return NotMeasured(_reason([video for pair in pairs for video in pair], metric))
    return Compared(
        _figure([(source, value) for source, value, _ in found]),
        _figure([(source, value) for source, _, value in found]),
        _figure([(source, value - other) for source, value, other in found]),
    )


def _figure(values: Sequence[tuple[str, float]]) -> Figure:
    sources, numbers = zip(*values, strict=True)
    count = len(set(sources))
    figure = summarise([Tally(number, 1) for number in numbers], sources, tail=_tail(max(count, LEAST_SOURCES)))
    return figure if count >= LEAST_SOURCES else replace(figure, low=None, high=None)


def _tail(sources: int) -> float:
    """The share of bootstrap means beyond each end of an interval that is as wide as one by Student's t.

    Percentiles of a bootstrap are too narrow by sqrt((n - 1) / n), and by the normal law in place of t: "expanded
    percentiles" (Hesterberg, arXiv 1411.5279). Of runs that do not differ, 4 to 6 in 100 are said to, with 6 to 15
    sources; without it 8 to 14. Quantiles of t are those of Cornish and Fisher's series in 1 / degrees.
    """
    z, degrees = NORMAL.inv_cdf(0.975), sources - 1
    t = z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    return NORMAL.cdf(-sqrt(sources / degrees) * t)


def _reason(videos: Sequence[ScoredVideo], metric: str) -> str:
    """The commonest reason why there is no number."""
    reasons = [score.reason for video in videos if isinstance(score := video.scores[metric], NotMeasured)]
    return Counter(reasons).most_common(1)[0][0]
