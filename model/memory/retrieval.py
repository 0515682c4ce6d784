"""Which memories a segment recalls in a long edit (paper section 3.2, supplement D.2, Algorithm 2).

Numpy half: no torch. Segments are compared by descriptors of their *source*; text is not compared (the paper found
it unreliable). Does not know where memories are kept. Beyond the paper: across a cut the segment edited last is an
ordinary candidate, and picks may be kept from repeating one another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from model.types import Recall

RELEVANCE = 0.6  # coverage: weight of likeness to the query against unlikeness to what is chosen


@dataclass(frozen=True, eq=False)
class Candidate:
    """A memory that could be recalled; `score` is its cosine similarity to the query, in [-1, 1].

    `made` is its turn and segment: what was made last comes first among equals, as one span has them turn after turn.
    Ids decide only where that is equal too: they differ between sessions that are otherwise the same.
    """

    id: str
    score: float
    descriptor: Float[np.ndarray, " dimension"]
    made: tuple[int, int] = (0, 0)

    @property
    def precedence(self) -> tuple[float, int, int, str]:
        """The smallest comes first."""
        turn, segment = self.made
        return -self.score, -turn, -segment, self.id


def rank_by_descriptor(
    query: Float[np.ndarray, " dimension"], candidates: Float[np.ndarray, "candidate dimension"]
) -> Float64[np.ndarray, " candidate"]:
    """Cosine similarity of each candidate to the query, in [-1, 1]; 0 where either is all zeros (a blank picture).

    Row by row in double precision: a candidate's score does not depend on its company, so that ties stay ties.
    """
    rows, query = candidates.astype(np.float64), query.astype(np.float64)
    lengths = np.sqrt((rows**2).sum(axis=1) * (query**2).sum())
    return np.clip((rows * query).sum(axis=1) / np.where(lengths > 0, lengths, 1), -1, 1)


def choose(
    candidates: Sequence[Candidate], top_k: int, previous: str | None = None, coverage: bool = False
) -> list[Recall]:
    """At most `top_k` memories, best first.

    `previous` names the candidate edited just before in the same shot, which always comes first; None at the start of
    a shot. The others follow by falling score, of equals the latest first. With `coverage` they follow by maximal
    marginal relevance: each pick is the one most like the query and least like those already chosen.
    """
    ranked = sorted(candidates, key=lambda candidate: candidate.precedence)
    first = [candidate for candidate in ranked if candidate.id == previous][:top_k]
    assert first or previous is None or top_k == 0, f"the previous segment {previous} is not among the candidates"
    others = [candidate for candidate in ranked if candidate.id != previous]
    wanted = top_k - len(first)
    similar = _spread(others, first, wanted) if coverage else others[:wanted]
    return [
        *(Recall(pick.id, pick.score, "previous") for pick in first),
        *(Recall(pick.id, pick.score, "similar") for pick in similar),
    ]


def _spread(ranked: Sequence[Candidate], first: Sequence[Candidate], wanted: int) -> list[Candidate]:
    """Pick greedily by likeness to the query less likeness to the nearest one chosen so far; ties go by rank."""
    left, chosen = list(ranked), list(first)
    while left and len(chosen) < len(first) + wanted:
        worth = [RELEVANCE * one.score - (1 - RELEVANCE) * _nearest(one, chosen) for one in left]
        chosen.append(left.pop(int(np.argmax(worth))))
    return chosen[len(first) :]


def _nearest(candidate: Candidate, chosen: Sequence[Candidate]) -> float:
    """Greatest cosine similarity of `candidate` to one of `chosen`; 0 where nothing is chosen yet."""
    if not chosen:
        return 0.0
    return float(rank_by_descriptor(candidate.descriptor, np.stack([one.descriptor for one in chosen])).max())
