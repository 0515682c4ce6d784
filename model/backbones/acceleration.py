"""A loaded transformer made faster, or smaller: attention back end, 8-bit layers, compiled blocks.

All of it is the work of torch, diffusers and torchao; here it is chosen, and what this machine lacks is told.

A block is always called through its `forward`, so whatever is done here reaches every pass: joint, cached, or merging.
"""

import logging
import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, attention_backend, dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor, nn

from model.backbones.placement import does_not_fit
from model.config import Quantization, SpeedConfig, require_torchao
from model.errors import RequestError, first_line

TIMED_TOKENS, TIMED_RUNS = 8192, 5  # attention is timed at the length of 81 frames of 480x832 in the 5B model
MARGIN = 0.95  # of native's time: a back end that takes more is not taken, lest the next load of a model take another
ON_GPUS = ("native", "_native_cudnn", "_native_flash", "flash", "_flash_3")
"""Back ends that compute attention as it is, in installed code."""
GRAPHS = 64  # of a block, one for each combination of memories, cache and merging that it meets


def accelerate(transformer: WanTransformer3DModel, speed: SpeedConfig, device: torch.device) -> None:
    """Do what `speed` says to a transformer that will compute on `device`, wherever it lies yet.

    Layers in 8 bits go there one by one, so that a card need not have room for them as they were.

    Raises:
        RequestError: this machine has no such back end, no torchao, or no compiler.
        WeightsError: the card has no room for layers in 8 bits.
    """
    attention = speed.attention
    if attention == "auto":
        attention = fastest_attention(transformer, device)
    if attention != "native":
        _attend_by(transformer, attention)
    if speed.quantize != "none":
        _quantize(transformer, speed.quantize, device)
    if speed.compile:
        _require_a_compiler(device)
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, GRAPHS)
        transformer.compile_repeated_blocks()


def fastest_attention(transformer: WanTransformer3DModel, device: torch.device) -> str:
    """The back end that is fastest on `device` for the heads of `transformer`; those that fail are left out.

    That is native unless another is faster by a margin, so that a clock that is not quite steady hardly ever says one
    thing today and another tomorrow: back ends differ in bits. A processor has one.
    """
    if device.type != "cuda":
        return "native"
    heads, size = transformer.config["num_attention_heads"], transformer.config["attention_head_dim"]
    states = torch.randn(1, TIMED_TOKENS, heads, size, device=device, dtype=transformer.dtype)
    times = {name: seconds for name in ON_GPUS if (seconds := _seconds_of(name, states)) is not None}
    fastest = min(times, key=lambda name: times[name], default="native")
    return fastest if times.get(fastest, 0.0) < MARGIN * times.get("native", math.inf) else "native"


def _seconds_of(backend: str, states: Tensor) -> float | None:
    """Median seconds of one attention; None where the back end does not work here."""

    def run() -> None:
        dispatch_attention_fn(states, states, states, backend=AttentionBackendName(backend))
        torch.cuda.synchronize(states.device)

    try:
        run()
        return median(_timed(run) for _ in range(TIMED_RUNS))
    except Exception:
        logging.getLogger(__name__).debug("attention back end %s does not work here", backend, exc_info=True)
        return None


def _timed(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _attend_by(transformer: Any, backend: str) -> None:
    """For this transformer alone: diffusers would make it the process's own, and change what others compute."""
    try:
        with attention_backend(AttentionBackendName.NATIVE):  # what was there before comes back behind it
            transformer.set_attention_backend(backend)
    except (ValueError, RuntimeError, ImportError) as fault:
        reason = first_line(fault)
        raise RequestError(
            f"attention {backend!r}: does not work here: {reason}; give auto, or native, which always does"
        ) from None


def _quantize(transformer: nn.Module, kind: Quantization, device: torch.device) -> None:
    require_torchao(kind)
    from torchao import quantization as ao  # pyright: ignore[reportMissingImports] - an extra

    how = ao.Int8WeightOnlyConfig() if kind == "int8" else ao.Float8DynamicActivationFloat8WeightConfig()
    blocks = transformer.get_submodule("blocks")
    try:
        ao.quantize_(blocks, how, device=device)
    except torch.cuda.OutOfMemoryError as fault:
        raise does_not_fit(fault) from None
    except (AssertionError, RuntimeError, NotImplementedError) as fault:
        raise RequestError(f"quantize {kind}: this device cannot: {first_line(fault)}; give int8") from None


def _require_a_compiler(device: torch.device) -> None:
    """Compile something small now: a missing compiler should not be found out by the first segment."""
    try:
        torch.compile(torch.cos)(torch.ones(2, device=device))
    except Exception as fault:
        needed = "triton" if device.type == "cuda" else "a C++ compiler, such as g++"
        raise RequestError(f"compile: nothing can be compiled here; install {needed}, or use --speed plain") from fault
