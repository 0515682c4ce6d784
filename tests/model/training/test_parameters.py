"""Which weights train under which setting."""

import pytest
import torch
from torch import nn

from model.config import Config, MixConfig, OptimConfig, SmallModelConfig
from model.training.muon import Muon
from model.training.parameters import build_optimisers, choose_parameters
from tests.model.toy import toy_transformer


def names_of(model: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    chosen = {id(parameter) for parameter in parameters}
    return {name for name, parameter in model.named_parameters() if id(parameter) in chosen}


def is_new(name: str) -> bool:
    return name.startswith(("memory_tokenizers.", "merger."))


@pytest.mark.parametrize("trained", ["memory", "memory+attention", "lora", "all"])
def test_groups(trained: str) -> None:
    model = toy_transformer()
    plain = {name for name, _ in model.named_parameters()}
    config = OptimConfig.model_validate({"trained": trained, "rate": 1.0, "memory_rate": 2.0})
    choose_parameters(model, config)
    (optimiser,) = build_optimisers(model, config)
    by_rate = {group["lr"]: names_of(model, group["params"]) for group in optimiser.param_groups}
    assert by_rate[2.0] == {name for name in plain if is_new(name)}
    base = by_rate.get(1.0, set())
    expected = {
        "memory": set(),
        "memory+attention": {name for name in plain if ".attn1." in name},
        "lora": {name for name, _ in model.named_parameters() if "lora_" in name},
        "all": {name for name in plain if not is_new(name)},
    }[trained]
    assert base == expected
    assert trained == "memory" or base
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == base | by_rate[2.0]


def test_muon_has_the_matrices_of_blocks_and_nothing_else() -> None:
    model = toy_transformer()
    config = OptimConfig(trained="all", by="muon")
    choose_parameters(model, config)
    muon, adamw = build_optimisers(model, config)
    matrices, others = (
        names_of(model, [each for group in one.param_groups for each in group["params"]]) for one in (muon, adamw)
    )
    assert isinstance(muon, Muon)
    assert isinstance(adamw, torch.optim.AdamW)
    assert {"blocks.0.attn1.to_q.weight", "blocks.0.ffn.net.0.proj.weight"} <= matrices
    assert all(name.startswith("blocks.") and name.endswith(".weight") for name in matrices)
    assert {"patch_embedding.weight", "proj_out.weight", "blocks.0.attn1.to_q.bias"} <= others
    assert matrices | others == {name for name, _ in model.named_parameters()}


def test_muon_and_adapters_are_refused() -> None:
    with pytest.raises(ValueError, match="by muon: it is for whole matrices"):
        OptimConfig(trained="lora", by="muon")


@pytest.mark.parametrize(
    ("form", "settings", "told"),
    [
        (MixConfig, {"memories": ()}, "expected chances"),
        (MixConfig, {"memories": (0.0, 0.0)}, "expected chances"),
        (MixConfig, {"memories": (1.0, -1.0)}, "expected chances"),
        (MixConfig, {"merge_share": (0.5, 1.5)}, "expected two shares"),
        (MixConfig, {"merge_share": (0.7, 0.3)}, "expected two shares"),
        (OptimConfig, {"betas": (0.9, 1.0)}, "less than 1"),
        (SmallModelConfig, {"width": 128, "heads": 5}, "expected a multiple of 10"),
    ],
)
def test_settings_that_cannot_be_are_told(form: type[Config], settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        form.model_validate(settings)
