"""The benchmarks of speed in short form: ratios of one thread's own time, taken in turn, with room for noise."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

import editing
import gpu
from gpu_parts import rehearsal_bench
from model.backbones.transformer import Conditioning
from shapes import SMALL, Case, stock_of

SHORT = Case(replace(SMALL["small-lucy"], latent=(3, 16, 32), phases=(1, 1, 1)), "lucy", 0, device="cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def lucy() -> dict:
    """What three memories cost the small LucyEdit."""
    torch.manual_seed(0)
    variants = ("uniform", "dynamic", "cached_merge")
    return editing.measure(SHORT, (0, 3), 5, variants)


def times_stock(figures: dict, memories: int, variant: str) -> float:
    return figures[str(memories)][variant]["times_stock"]["median"]


def test_without_memories_it_is_no_slower_than_stock_diffusers(lucy: dict) -> None:
    """Measured: 0.89. The bound leaves a fifth to noise."""
    assert times_stock(lucy, 0, "dynamic") <= 1.1


def test_time_follows_operations(lucy: dict) -> None:
    """Nothing but arithmetic costs time: within two fifths of what the operations say."""
    for variant in ("uniform", "dynamic", "cached_merge"):
        measured, counted = times_stock(lucy, 3, variant), lucy["3"][variant]["operations_times_stock"]
        assert 0.6 * counted <= measured <= 1.4 * counted, variant


def test_the_naive_way_costs_several_times_more(lucy: dict) -> None:
    assert times_stock(lucy, 3, "uniform") >= 2 * times_stock(lucy, 3, "dynamic")
    assert times_stock(lucy, 3, "dynamic") >= 1.2 * times_stock(lucy, 3, "cached_merge")


@torch.no_grad()
def test_one_timestep_for_all_tokens_gives_stock_diffusers_very_bits() -> None:
    """The exact speed-up without memories: no tolerance."""
    case = SHORT
    model = case.model(case.base.phases)
    results = []
    for run in (lambda: case.run_stock(stock_of(model)), lambda: case.run(model, Conditioning())):
        torch.manual_seed(1)
        results.append(run())
    assert torch.equal(*results)


def test_what_needs_a_card_runs_at_toy_size_everywhere() -> None:
    """Every part but the compiled one, which takes a minute: its figures are there, none is a failure."""
    names = [name for name in gpu.PARTS if name != "speed"]
    bench = rehearsal_bench("cuda" if torch.cuda.is_available() else "cpu")
    figures = gpu.measure(bench, names, minutes=9)
    assert set(figures) == set(names)
    told = json.dumps(figures)
    assert "failed" not in told
    assert "left out" not in told
    assert {"visiting", "a text", "decode in tiles"} <= set(figures["small_cards"]["None GB, quantize none"])
    assert set(figures["lucy"]["full"]["3"]) == {"stock", "dynamic", "merge_all", "cached", "cached_merge"}
    assert "mean nothing" in gpu.as_markdown(figures, rehearsal=True)
