"""Which weights train, and how fast: new modules alone, with self-attention, with LoRA, or everything."""

from typing import Any

from torch import nn

from model.config import OptimConfig

NEW_MODULES = ("memory_tokenizers.", "merger.", ".camera.", ".projector.")
SELF_ATTENTION = ".attn1."
LORA_TARGETS = r".*attn1\.(to_q|to_k|to_v|to_out\.0)"


def choose_parameters(transformer: nn.Module, config: OptimConfig) -> None:
    """Freeze all that does not train. With `lora`, adapters are put into self-attention first."""
    if config.trained == "lora":
        _add_lora(transformer, config.lora_rank)
    for name, parameter in transformer.named_parameters():
        parameter.requires_grad_(_is_new(name) or _is_trained(name, config))


def group_parameters(transformer: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """Groups for the optimiser of what trains: the base's weights, then the memory's."""
    trained = [(name, each) for name, each in transformer.named_parameters() if each.requires_grad]
    base = [each for name, each in trained if not _is_new(name)]
    memory = [each for name, each in trained if _is_new(name)]
    groups = [{"params": base, "lr": config.rate}, {"params": memory, "lr": config.memory_rate}]
    return [group for group in groups if group["params"]]


def _is_new(name: str) -> bool:
    return any(part in name for part in NEW_MODULES)


def _is_trained(name: str, config: OptimConfig) -> bool:
    if config.trained == "lora":
        return "lora_" in name
    return config.trained == "all" or (config.trained == "memory+attention" and SELF_ATTENTION in name)


def _add_lora(transformer: Any, rank: int) -> None:
    from peft import LoraConfig

    transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=LORA_TARGETS))
