"""Which weights train, and how fast: new modules alone, with self-attention, with LoRA, or everything."""

from typing import Any

from torch import nn

from model.config import OptimConfig

NEW_MODULES = ("memory_tokenizers.", "merger.", ".camera.", ".projector.")
SELF_ATTENTION = ".attn1."
LORA_TARGETS = r".*attn1\.(to_q|to_k|to_v|to_out\.0)"


def choose_parameters(transformer: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """Groups for the optimiser; everything else is frozen. With `lora`, adapters are put into self-attention first.

    The first group are the base's weights, the second the memory's.
    """
    if config.trained == "lora":
        _add_lora(transformer, config.lora_rank)
    base, memory = [], []
    for name, parameter in transformer.named_parameters():
        new = any(part in name for part in NEW_MODULES)
        parameter.requires_grad_(new or _is_trained(name, config))
        if parameter.requires_grad:
            (memory if new else base).append(parameter)
    groups = [{"params": base, "lr": config.rate}, {"params": memory, "lr": config.memory_rate}]
    return [group for group in groups if group["params"]]


def _is_trained(name: str, config: OptimConfig) -> bool:
    if config.trained == "lora":
        return "lora_" in name
    return config.trained == "all" or (config.trained == "memory+attention" and SELF_ATTENTION in name)


def _add_lora(transformer: Any, rank: int) -> None:
    from peft import LoraConfig

    transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=LORA_TARGETS))
