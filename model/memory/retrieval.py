"""Which memories a segment recalls (paper section 3.2): by likeness in a long edit, by field of view for new views.

Numpy half: no torch. In a long edit (supplement D.2, Algorithm 2) segments are compared by descriptors of their
*source*; text is not compared (the paper found it unreliable). For new views (Eq. 1-3, supplement D.1, Algorithm 1) the
directions that a camera path sees are compared, and nothing of the pictures. Does not know where memories are kept.
Beyond the paper: across a cut the segment edited last is an ordinary candidate, picks may be kept from repeating one
another, and memories may be left out that their edit hardly changed (docs/decisions/0016), or that are copies of others
(0018).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, UInt8

from model.camera.fov import FieldOfView, cover, rank
from model.config import RecallBy, RetrievalConfig
from model.types import Reason, Recall

UNKNOWN = -1.0  # change of a memory that nobody measured: it may be recalled
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


def change_of(edited: Float[np.ndarray, "..."], source: Float[np.ndarray, "..."]) -> float:
    """How much an edit changed a segment: the root mean square of the difference of its latents."""
    return float(np.sqrt(np.square(edited.astype(np.float32) - source.astype(np.float32)).mean(dtype=np.float64)))


def is_changed(change: float, most: float, config: RetrievalConfig) -> bool:
    """Whether a memory was changed enough to be recalled; of the memories of its turn one was changed `most`."""
    return change == UNKNOWN or change >= config.least_change * most


def leave_out_copies(candidates: Sequence[Candidate], margin: float, place: str | None = None) -> list[Candidate]:
    """The memories of each turn that are not taken for copies, in the order in which they were made (ours).

    What a later edit shows, it has read off earlier ones, and every reading errs a little: copies of copies drift. So
    the earliest stays, and a later one only if its score is above that of all kept before it by more than `margin`; it
    then shows what they do not. `place` names one that has nothing to copy, which stays.
    """
    kept, best = [], dict[int, float]()
    for one in sorted(candidates, key=lambda candidate: candidate.made):
        turn, _ = one.made
        if one.id == place:
            kept.append(one)
        elif turn not in best or one.score > best[turn] + margin:
            kept.append(one)
            best[turn] = one.score
    return kept


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


@dataclass(frozen=True, eq=False)
class SeenView:
    """A view that could be recalled: the packed bitmap of what it saw, and the (turn, segment) in which it was made."""

    id: str
    made: tuple[int, int]
    seen: UInt8[np.ndarray, " bytes"]


def choose_by_view(
    target: FieldOfView, views: Sequence[SeenView], config: RetrievalConfig, by: RecallBy = "views", seed: int = 0
) -> list[Recall]:
    """At most `config.top_k` views for a target, each with its field-of-view score in [0, 1] (Eq. 1-3), best first.

    All bitmaps are drawn around the target's reference. Views of equal score keep the order in which they are
    given. With `config.coverage` each pick is the one that sees most of what is not covered yet (ours). The other ways
    of `by` are baselines: `recency` takes those made last, `random` any, drawn from `seed`, `none` nothing.
    """
    wanted = 0 if by == "none" else min(config.top_k, len(views))
    if wanted == 0:
        return []
    packed = np.stack([view.seen for view in views])
    scores = rank(target, packed)
    if by == "views":
        best = cover(target, packed, wanted) if config.coverage else np.argsort(-scores, kind="stable")[:wanted]
        picks = [int(pick) for pick in best if scores[pick] >= config.least]
    else:
        picks = _baseline(by, views, wanted, seed)
    return [Recall(views[pick].id, float(scores[pick]), REASONS[by]) for pick in picks]


REASONS: dict[RecallBy, Reason] = {"views": "view", "recency": "recent", "random": "random"}


def _baseline(by: RecallBy, views: Sequence[SeenView], wanted: int, seed: int) -> list[int]:
    by_age = sorted(range(len(views)), key=lambda index: (*views[index].made, views[index].id), reverse=True)
    if by == "recency":
        return by_age[:wanted]
    return np.random.default_rng(seed).permutation(by_age)[:wanted].tolist()
