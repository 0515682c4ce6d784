"""Which weights train under which setting."""

import pytest
from torch import nn

from model.config import OptimConfig
from model.training.parameters import choose_parameters, group_parameters
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
    groups = group_parameters(model, config)
    by_rate = {group["lr"]: names_of(model, group["params"]) for group in groups}
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
