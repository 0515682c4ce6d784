"""The counter against arithmetic on paper at toy size, against every block at full depth, and at one real shape."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flops import FORWARDS, count, scoring_cost
from benchmarks.shapes import REAL, Base, Case

TOY = Base(heads=2, head_dim=12, ffn=40, channels=4, latent=(4, 16, 16), text=(7, 10), phases=(2, 1, 3))
WIDTH, WORDS, DEPTH = 24, 7, 6
TARGET, FINE, COARSE = 4 * 64, 4 * 16, 4 * 4


def by_hand(target: int, memory: int, keys: int) -> float:
    """One block: queries, keys, values and output; scores and their use; the same for words; feed-forward."""
    tokens = target + memory
    projections = 4 * 2 * tokens * WIDTH**2
    attention = 2 * 2 * tokens * keys * WIDTH
    words = 2 * 2 * tokens * WIDTH**2 + 2 * 2 * WORDS * WIDTH**2 + 2 * 2 * tokens * WORDS * WIDTH
    return projections + attention + words + 2 * 2 * tokens * WIDTH * 40


TIMES = 4  # times are embedded in fours


def around_blocks() -> float:
    """Patches and output of the target, the words, and the modulation of all times."""
    patches = 2 * TARGET * (8 * 4) * WIDTH + 2 * TARGET * WIDTH * (4 * 4)
    words = 2 * WORDS * (10 * WIDTH + WIDTH**2)
    return patches + words + TIMES * 2 * (256 * WIDTH + WIDTH**2 + 6 * WIDTH**2)


def tokenizing(tokens: int, patch: int) -> float:
    return 2 * tokens * (8 * patch**2) * WIDTH


def test_the_base_model_costs_what_arithmetic_says() -> None:
    expected = around_blocks() + DEPTH * by_hand(TARGET, 0, TARGET)
    assert count(Case(TOY, "lucy", 0), "dynamic") * 1e12 == pytest.approx(expected, rel=1e-9)


def test_memory_costs_its_tokens() -> None:
    memory = 3 * FINE + 2 * COARSE
    patches = tokenizing(3 * FINE, 4) + tokenizing(2 * COARSE, 8)
    expected = around_blocks() + patches + DEPTH * by_hand(TARGET, memory, TARGET + memory)
    assert count(Case(TOY, "lucy", 5), "dynamic") * 1e12 == pytest.approx(expected, rel=1e-9)
    uniform = around_blocks() + tokenizing(5 * TARGET, 2) + DEPTH * by_hand(TARGET, 5 * TARGET, 6 * TARGET)
    assert count(Case(TOY, "lucy", 5), "uniform") * 1e12 == pytest.approx(uniform, rel=1e-9)


def test_cached_memory_is_paid_once_and_looked_at_every_time() -> None:
    memory = FINE
    forward = around_blocks() + DEPTH * by_hand(TARGET, 0, TARGET + memory)
    assert count(Case(TOY, "lucy", 1), "cached") * 1e12 - forward == pytest.approx(
        remembering(memory) / FORWARDS, rel=1e-6
    )


def remembering(memory: int) -> float:
    """A pass without a target: two sets of words are embedded."""
    words = 2 * 2 * WORDS * (10 * WIDTH + WIDTH**2)
    times = TIMES * 2 * (256 * WIDTH + WIDTH**2 + 6 * WIDTH**2)
    return words + times + tokenizing(memory, 4) + DEPTH * by_hand(0, memory, memory)


@pytest.mark.parametrize("style", ["lucy", "recam"])
@pytest.mark.parametrize("variant", ["dynamic", "merge_memory", "merge_all"])
@torch.no_grad()
def test_one_block_of_a_phase_stands_for_all_of_it(style: str, variant: str) -> None:
    case = Case(TOY, style, 5)
    merging = case.merging.model_copy(update={"blocks": (3, 4)})  # where the phases of 2, 1 and 3 blocks begin
    deep, model = replace(case, merging=merging), case.model(TOY.phases)
    with FlopCounterMode(display=False) as counter:
        given = deep.planned(model, variant)
    with FlopCounterMode(display=False) as counter:
        deep.run(model, given)
    assert count(case, variant) * 1e12 == pytest.approx(counter.get_total_flops(), rel=1e-12)


def test_merging_saves_and_the_user_video_is_merged_last() -> None:
    figures = [count(Case(TOY, "recam", 5), variant) for variant in ("uniform", "dynamic", "merge_memory", "merge_all")]
    assert figures == sorted(figures, reverse=True)
    assert len(set(figures)) == 4
    lucy = [count(Case(TOY, "lucy", 5), variant) for variant in ("merge_memory", "merge_all")]
    assert lucy[0] == lucy[1]


def test_choosing_frames_costs_little() -> None:
    told, chosen, alone = scoring_cost(Case(TOY, "lucy", 5))
    assert told < chosen < 1.2 * told
    assert alone < chosen


@pytest.mark.parametrize(
    ("model", "style", "memories", "variant", "expected"),
    [
        ("wan-5b", "lucy", 0, "uniform", 98.0),
        ("wan-5b", "lucy", 10, "uniform", 3792),
        ("wan-5b", "lucy", 10, "dynamic", 299.2),
        ("wan-5b", "lucy", 10, "merge_all", 235.0),
        ("wan-1.3b", "recam", 10, "merge_all", 1568),
    ],
)
def test_real_shapes_cost_what_an_independent_count_found(model, style, memories, variant, expected) -> None:
    assert count(Case(REAL[model], style, memories), variant) == pytest.approx(expected, rel=0.02)


def test_ten_cached_memories_cost_at_most_a_third_more_than_none() -> None:
    base = REAL["wan-5b"]
    assert count(Case(base, "lucy", 10), "cached") <= 1.35 * count(Case(base, "lucy", 0), "uniform")
