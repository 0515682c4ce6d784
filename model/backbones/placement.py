"""Where the parts of a model lie: on the card that computes them, or in main memory, from where they visit it.

All lie on a card that has room for them and for a segment. On a smaller one the text encoder visits: much of a large
model, which reads an instruction once for all segments of a turn. On one smaller still the transformer's blocks do, in
every step, which is slow. What is computed is the same. The visits are diffusers' group offloading.
"""

import sys
from collections.abc import Mapping
from typing import Any

import torch
from diffusers.hooks.group_offloading import apply_group_offloading

from model.errors import WeightsError, first_line

GB = 10**9
ROOM = 11 * GB  # for a segment of 81 frames of 480x832 beside the weights, where the VAE decodes whole pictures
LEAST_ROOM = 5 * GB  # the same where it decodes tiles; ten memories are cached
WORTHWHILE = GB  # a part that is smaller stays
TEXT, BLOCKS = "text_encoder", "transformer"
MAIN_MEMORY = torch.device("cpu")


def settle(pipeline: Any, device: torch.device) -> None:
    """Put a loaded model on the device that computes it, or as much of it as there is room for.

    Raises:
        WeightsError: it does not fit all the same; or see `place`.
    """
    parts = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    coming = {name: bytes_in_main_memory(part) for name, part in parts.items()}
    visiting = choose_visitors(coming, free_bytes(device))
    for name, part in parts.items():
        if name not in visiting:
            place(part, device)
    offload(pipeline, device, visiting)


def choose_visitors(coming: Mapping[str, int], free: int) -> tuple[str, ...]:
    """Which parts are to visit a card with so many bytes free, of those that come to it, by their bytes."""
    everything = sum(coming.values())
    if everything + ROOM <= free:
        return ()
    room_without_text = everything - coming[TEXT] + LEAST_ROOM <= free
    visiting = (TEXT,) if room_without_text else (TEXT, BLOCKS)
    return tuple(name for name in visiting if coming[name] >= WORTHWHILE)


def offload(pipeline: Any, device: torch.device, parts: tuple[str, ...] = (TEXT, BLOCKS)) -> None:
    """Keep parts of a model in main memory, from where they visit `device`; what does so already goes on."""
    if TEXT in parts:
        apply_group_offloading(pipeline.text_encoder, device, MAIN_MEMORY, "leaf_level")
    if BLOCKS in parts:
        offload_blocks(pipeline.transformer, device)


def offload_blocks(transformer: Any, device: torch.device) -> None:
    """Keep the blocks in main memory, from where each visits `device` while it is computed: slow, for small cards.

    One after the other, not the next one ahead of its turn on a stream: a block that chooses what is merged is called
    twice, and diffusers would have sent it away after the first time.
    """
    transformer.enable_group_offload(device, MAIN_MEMORY, offload_type="block_level", num_blocks_per_group=1)


def place(model: Any, device: torch.device) -> Any:
    """A model, or a part of one, on the device on which it will compute.

    Raises:
        WeightsError: it does not fit there, or torch cannot use the GPU: whatever is edited would meet the same.
    """
    if device.type == "cpu":
        return model
    try:
        return model.to(device)
    except torch.cuda.OutOfMemoryError as fault:
        raise does_not_fit(fault) from None
    except (AssertionError, RuntimeError) as fault:  # of a torch without CUDA, and of one that the driver does not suit
        raise WeightsError(
            f"torch cannot use this machine's GPU ({first_line(fault)}); update its driver, or use --device cpu"
        ) from None


def does_not_fit(fault: torch.cuda.OutOfMemoryError) -> WeightsError:
    """What to say of a card that was full before the model was there."""
    return WeightsError(
        f"the model does not fit this card ({first_line(fault)}); end what else runs on it, choose a smaller model "
        "or a larger card (docs/performance.md, small cards), or use --device cpu"
    )


def require_usable(device: torch.device) -> None:
    """Move one number to a device, before a model is read for it.

    Raises:
        WeightsError: torch cannot use it.
    """
    place(torch.zeros(1), device)


def free_card() -> None:
    """Give back what torch keeps of a card without using it: other processes may want it."""
    torch.cuda.empty_cache()


def free_bytes(device: torch.device) -> int:
    """Bytes of a card that this process may still take; a processor computes where weights lie: it has room for all."""
    if device.type == "cpu":
        return sys.maxsize
    free_card()
    free, total = torch.cuda.mem_get_info(device)
    share = torch.cuda.get_per_process_memory_fraction(device.index)
    return min(free, int(share * total) - torch.cuda.memory_reserved(device))


def bytes_in_main_memory(model: torch.nn.Module) -> int:
    """Bytes of the weights that do not lie on a card yet; weights in 8 bits hold tensors of their own."""
    weights = [*model.parameters(), *model.buffers()]
    return sum(_bytes_of(weight) for weight in weights if weight.device.type == "cpu")


def _bytes_of(weight: torch.Tensor) -> int:
    flatten = getattr(weight, "__tensor_flatten__", None)
    if flatten is None:
        return weight.nbytes
    names, _ = flatten()
    return sum(_bytes_of(getattr(weight, name)) for name in names)
