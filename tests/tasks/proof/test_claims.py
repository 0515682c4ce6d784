"""Claims hold of figures that bear them out, and of no others."""

import math

import pytest

from model.metrics.agreement import Figure
from tasks.proof.claims import CLAIMS, EDITS, LOOKS, PARTS, REMEMBERS, Claim
from tasks.proof.playing import METHODS

GOOD = {
    "agreement_after_gap": 0.15,
    "edit_rate": 0.99,
    "wrongly_changed": 0.01,
    "smeared": 0.01,
    "instruction_followed": 0.98,
    "psnr_outside": 38.0,
    "look_distance": 0.3,
}
REMEMBERED = {"agreement_after_gap": 0.98, "look_distance": 0.05}


def figures(**changed: dict[str, float | None]) -> dict[str, dict[str, Figure]]:
    """Those of a model that does everything right, but for what is `changed` by method."""
    remembers = ("memory", "memory_merging", "cached")
    values = {name: GOOD | (REMEMBERED if name in remembers else {}) | changed.get(name, {}) for name in METHODS}
    return {name: {key: Figure(value, value, value, 60) for key, value in row.items()} for name, row in values.items()}


def test_a_good_model_bears_out_all_claims() -> None:
    assert all(claim.holds(figures()) for claim in CLAIMS)
    assert len({claim.text for claim in CLAIMS}) == len(CLAIMS) == len(REMEMBERS + PARTS + EDITS + LOOKS)


@pytest.mark.parametrize(
    ("claim", "changed"),
    [
        (REMEMBERS[0], {"memory": {"agreement_after_gap": 0.9}}),
        (REMEMBERS[1], {"ind": {"agreement_after_gap": 0.4}}),
        (REMEMBERS[2], {"fifo": {"agreement_after_gap": 0.4}}),
        (REMEMBERS[3], {"fifo": {"agreement_after_gap": 0.39}}),
        (PARTS[0], {"memory_merging": {"agreement_after_gap": 0.9}}),
        (PARTS[1], {"random": {"agreement_after_gap": 0.9}}),
        (PARTS[2], {"shuffled": {"agreement_after_gap": 0.3}}),
        (PARTS[2], {"shuffled": {"agreement_after_gap": 0.0}}),
        (PARTS[3], {"cached": {"agreement_after_gap": 0.94}}),
        (EDITS[0], {"memory": {"edit_rate": 0.9}}),
        (EDITS[1], {"memory": {"wrongly_changed": 0.1}}),
        (EDITS[2], {"memory": {"smeared": 0.1}}),
        (EDITS[3], {"memory": {"instruction_followed": 0.9}}),
        (EDITS[4], {"memory": {"psnr_outside": 31.0}}),
        (LOOKS[0], {"memory": {"look_distance": 0.11}}),
        (LOOKS[1], {"ind": {"look_distance": 0.1}}),
    ],
)
def test_each_claim_falls_with_its_figure(claim: Claim, changed: dict[str, dict[str, float | None]]) -> None:
    assert not claim.holds(figures(**changed))


def test_what_no_video_had_a_case_of_proves_nothing() -> None:
    nothing = figures(memory={"agreement_after_gap": None})
    assert math.isnan(REMEMBERS[0].value(nothing))
    assert not REMEMBERS[0].holds(nothing)
    with pytest.raises(KeyError):
        REMEMBERS[0].holds({})
