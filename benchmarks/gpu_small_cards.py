"""The part `small_cards` of `benchmarks/gpu.py`: a whole model where there is not enough of a card for all of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from transformers import UMT5Config, UMT5EncoderModel

from gpu_parts import TILE, Bench, add, time_and_peak
from model.backbones.acceleration import accelerate
from model.backbones.backbone import Codec
from model.backbones.placement import bytes_in_main_memory, settle
from model.config import Quantization, SpeedConfig
from reporting import Figures

CARDS_GB = (24, 16)


@torch.no_grad()
def measure_small_cards(bench: Bench) -> Figures:
    """A whole LucyEdit with all memories under a cap, as an Editor places it; None does not fit."""
    figures: Figures = {}
    for gigabytes in CARDS_GB if bench.on_card else (None,):
        for kind in ("none", "int8") if find_spec("torchao") else ("none",):
            with _capped(gigabytes):
                add(figures, f"{gigabytes} GB, quantize {kind}", partial(_measure_small_card, bench, kind))
    return figures


def _measure_small_card(bench: Bench, kind: Quantization) -> Figures:
    """What visits the card, and by piece of an edit its seconds and the peak; a text is read once, as in an edit."""
    device, frames = torch.device(bench.device), bench.video
    model = _whole_lucy(bench)
    accelerate(model.transformer, SpeedConfig(quantize=kind), device)
    settle(model, device)
    visiting = [name for name, part in model.components.items() if bench.on_card and bytes_in_main_memory(part)]
    codec, video = Codec(model.vae), torch.rand(1, 3, *frames, device=device) * 2 - 1
    words = torch.zeros(1, bench.lucy.base.text[0], dtype=torch.int64, device=device)
    latents = torch.zeros(1, bench.vae["z_dim"], *bench.lucy.base.latent, device=device)

    def step(variant: str) -> Callable[[], object]:
        return partial(bench.lucy.run, model.transformer, bench.lucy.ready(model.transformer, variant))

    def tiled() -> object:
        model.vae.enable_tiling(TILE, TILE, TILE * 3 // 4, TILE * 3 // 4)
        return codec.decode(latents)

    once = replace(bench, repetitions=1)
    pieces: dict[str, Callable[[], Figures]] = {
        "a text": lambda: time_and_peak(once, lambda: model.text_encoder(words)),
        "encode": lambda: time_and_peak(once, lambda: codec.encode(video)),
        "a step": lambda: time_and_peak(bench, step("merge_all")),
        "a step, cached": lambda: time_and_peak(bench, step("cached_merge")),
        "decode": lambda: time_and_peak(once, lambda: codec.decode(latents)),
        "decode in tiles": lambda: time_and_peak(once, tiled),
    }
    return {"visiting": ", ".join(visiting) or "nothing"} | {name: _fit(piece) for name, piece in pieces.items()}


def _whole_lucy(bench: Bench) -> Any:
    """The parts of a model as they are read from a folder: in main memory. Their weights have no values."""
    with torch.device("meta"):
        text = UMT5EncoderModel(UMT5Config(**bench.text)).eval().to(bench.lucy.dtype)
        vae = AutoencoderKLWan(**bench.vae).eval()
    transformer = replace(bench.lucy, device="meta").model(bench.lucy.base.phases)
    parts = {"text_encoder": text, "vae": vae, "transformer": transformer}
    for part in parts.values():
        part.to_empty(device="cpu")
    return SimpleNamespace(components=parts, **parts)


def _fit(measured: Callable[[], Figures]) -> Figures | None:
    try:
        return measured()
    except torch.OutOfMemoryError:
        return None


@contextmanager
def _capped(gigabytes: int | None) -> Iterator[None]:
    """No more than so many gigabytes of the card; a tenth of them is left to the driver."""
    if gigabytes is None:
        yield
        return
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.9 * gigabytes * 1e9 / total)
    try:
        yield
    finally:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1.0)
