"""Which weights train, how fast and by what: new modules alone, with self-attention, with LoRA, or everything."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer

from model.config import OptimConfig
from model.training.muon import Muon

NEW_MODULES = ("memory_tokenizers.", "merger.", ".camera.", ".projector.")
SELF_ATTENTION = ".attn1."
LORA_TARGETS = r".*attn1\.(to_q|to_k|to_v|to_out\.0)"


def choose_parameters(transformer: nn.Module, config: OptimConfig) -> None:
    """Freeze all that does not train. With `lora`, adapters are put into self-attention first."""
    if config.trained == "lora":
        _add_lora(transformer, config.lora_rank)
    for name, parameter in transformer.named_parameters():
        parameter.requires_grad_(_is_new(name) or _is_trained(name, config))


def build_optimisers(transformer: nn.Module, config: OptimConfig) -> list[Optimizer]:
    """AdamW for what trains; with `muon`, the matrices in blocks have an optimiser of their own, the first."""
    trained = {name: each for name, each in transformer.named_parameters() if each.requires_grad}
    matrices = {name for name, each in trained.items() if config.by == "muon" and _is_matrix(name, each)}
    optimisers: list[Optimizer] = []
    if matrices:
        groups = _groups({name: trained[name] for name in matrices}, config)
        optimisers.append(Muon(groups, weight_decay=config.weight_decay))
    others = {name: each for name, each in trained.items() if name not in matrices}
    return [*optimisers, AdamW(_groups(others, config), betas=config.betas, weight_decay=config.weight_decay)]


def _groups(trained: Mapping[str, nn.Parameter], config: OptimConfig) -> list[dict[str, Any]]:
    """The base's weights, then the memory's, each with its rate."""
    base = [each for name, each in trained.items() if not _is_new(name)]
    memory = [each for name, each in trained.items() if _is_new(name)]
    groups = [{"params": base, "lr": config.rate}, {"params": memory, "lr": config.memory_rate}]
    return [group for group in groups if group["params"]]


def _is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Of a block: what comes in and goes out of the network is no matter of Muon."""
    return name.startswith("blocks.") and parameter.ndim == 2


def _is_new(name: str) -> bool:
    return any(part in name for part in NEW_MODULES)


def _is_trained(name: str, config: OptimConfig) -> bool:
    if config.trained == "lora":
        return "lora_" in name
    return config.trained == "all" or (config.trained == "memory+attention" and SELF_ATTENTION in name)


def _add_lora(transformer: Any, rank: int) -> None:
    from peft import LoraConfig

    transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=LORA_TARGETS))
