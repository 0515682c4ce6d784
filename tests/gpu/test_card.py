"""What only a card can show. Without one these tests are skipped; models are small, with random weights."""

import pytest
import torch

from model.backbones.acceleration import ON_GPUS, _seconds_of, accelerate, fastest_attention
from model.backbones.placement import offload_blocks
from model.backbones.transformer import Conditioning, MemoryWanTransformer
from model.config import MergeConfig, SpeedConfig
from shapes import SMALL, Case

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
CUDA = torch.device("cuda")


@pytest.fixture
def case() -> Case:
    """A small LucyEdit with three memories, in bfloat16."""
    return Case(SMALL["small-lucy"], "lucy", 3, device="cuda", dtype=torch.bfloat16).at_depth((2, 2, 2))


def result(case: Case, model: MemoryWanTransformer, cached: bool = False) -> torch.Tensor:
    torch.manual_seed(1)
    return case.run(model, case.ready(model, "cached_merge" if cached else "merge_all")).float()


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@torch.no_grad()
def test_the_card_agrees_with_the_processor() -> None:
    base = Case(SMALL["small-lucy"], "lucy", 3).at_depth((2, 2, 2))
    torch.manual_seed(0)
    here = Case(base.base, "lucy", 3, base.merging, device="cpu").model(base.base.phases)
    latents, timestep, words = here_inputs(base)
    with_nothing = {"conditioning": Conditioning()}
    expected = here(latents, timestep, words, attention_kwargs=with_nothing).sample
    there = here.to(CUDA)
    found = there(latents.to(CUDA), timestep.to(CUDA), words.to(CUDA), attention_kwargs=with_nothing).sample
    assert distance(found.cpu(), expected) < 1e-3


def here_inputs(case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    drawn = Case(case.base, "lucy", 0, device="cpu")
    return drawn.latents(), drawn.timestep(), drawn.words()


@torch.no_grad()
def test_every_back_end_that_runs_computes_the_same(case: Case) -> None:
    torch.manual_seed(0)
    model = case.model(case.base.phases)
    expected = result(case, model)
    states = torch.randn(1, 64, case.base.heads, case.base.head_dim, device=CUDA, dtype=case.dtype)
    for name in (each for each in ON_GPUS if _seconds_of(each, states) is not None):
        accelerate(model, SpeedConfig(attention=name), CUDA)
        assert distance(result(case, model), expected) < 0.02, name


def test_one_of_the_back_ends_is_the_fastest(case: Case) -> None:
    assert fastest_attention(case.model(case.base.phases), CUDA) in ON_GPUS


@pytest.mark.parametrize("cached", [False, True], ids=["joint", "cached"])
@torch.no_grad()
def test_offloaded_blocks_need_less_of_the_card_for_the_same(case: Case, cached: bool) -> None:
    torch.manual_seed(0)
    model = case.model(case.base.phases)
    expected, whole = result(case, model, cached), peak(case, model, cached)
    offload_blocks(model, CUDA)
    torch.cuda.empty_cache()
    assert distance(result(case, model, cached), expected) < 1e-3
    assert peak(case, model, cached) < whole


def peak(case: Case, model: MemoryWanTransformer, cached: bool) -> int:
    torch.cuda.reset_peak_memory_stats()
    result(case, model, cached)
    return torch.cuda.max_memory_allocated()


@torch.no_grad()
def test_merging_and_caching_need_less_memory_than_the_naive_way(case: Case) -> None:
    model = case.model(case.base.phases)
    needed = {}
    for variant in ("uniform", "dynamic"):
        given = case.conditioning(variant)
        torch.cuda.reset_peak_memory_stats()
        case.run(model, given)
        needed[variant] = torch.cuda.max_memory_allocated()
    assert needed["dynamic"] < needed["uniform"]
    assert case.merging == MergeConfig(fraction=0.5, blocks=(3, 5))
