"""A transformer with memory at toy size, and what goes into it, made from a seed."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model.backbones.transformer import Conditioning, MemoryWanTransformer
from model.config import MergeConfig
from model.memory.sequence import ConditionVideo

CHANNELS, TEXT, DEPTH = 4, 8, 3
FRAMES, ROWS, COLUMNS = 3, 8, 12
OFF = MergeConfig(mode="off")


def toy_transformer(seed: int = 0, **options: Any) -> MemoryWanTransformer:
    """Every weight random, the merger and the cameras too, so that nothing is hidden by a zero or an identity."""
    torch.manual_seed(seed)
    sizes = {"num_attention_heads": 2, "attention_head_dim": 12, "in_channels": CHANNELS, "out_channels": CHANNELS}
    others = {"text_dim": TEXT, "freq_dim": 16, "ffn_dim": 32, "num_layers": DEPTH, "rope_max_seq_len": 32}
    model = MemoryWanTransformer(**{**sizes, **others, **options})
    for name, parameter in model.named_parameters():
        if name.startswith("merger") or ".camera." in name or ".projector." in name:
            nn.init.normal_(parameter, std=0.2)
    return model.eval()


def target(batch: int = 1, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, timestep and text."""
    random = torch.Generator().manual_seed(seed)
    latents = torch.randn(batch, CHANNELS, FRAMES, ROWS, COLUMNS, generator=random)
    return latents, torch.rand(batch, generator=random) * 1000, torch.randn(batch, 5, TEXT, generator=random)


def memories(
    patches: Sequence[int] = (4, 4, 8), batch: int = 1, seed: int = 1, **how: Any
) -> tuple[ConditionVideo, ...]:
    """Videos in the memories' range."""
    random = torch.Generator().manual_seed(seed)
    shape = (batch, CHANNELS, FRAMES, ROWS, COLUMNS)
    return tuple(ConditionVideo(torch.randn(shape, generator=random), patch, start=2, **how) for patch in patches)


def predict(model: nn.Module, given: tuple[Tensor, Tensor, Tensor], conditioning: Conditioning | None) -> Tensor:
    """The velocity of the target."""
    return model(*given, attention_kwargs={"conditioning": conditioning}).sample
