"""The parts of `benchmarks/gpu.py`: what is measured on a card, each side by side with what it is compared to."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

import editing
from model.backbones.acceleration import ON_GPUS, accelerate
from model.backbones.transformer import MemoryWanTransformer
from model.config import SpeedConfig
from model.memory.conditioning import Conditioning
from reporting import Figures, ratio, say, spread, take_turns, tidy
from shapes import REAL, SMALL, Case, stock_of

PEAK_TFLOPS = {"H100": 989, "H200": 989, "A100": 312, "4090": 165}
"""Dense bfloat16, by what is in a card's name."""
REPETITIONS = 5
MEMORIES = (0, 1, 3, 5, 10)
TILE = 256  # pixels, as of an Editor that ran out of memory
GIB = 2**30
WAY_SECONDS = 60.0  # that a way of `speed` may take, compiled


@dataclass(frozen=True)
class Bench:
    """What is measured on: the models at their sizes, the VAE, the text encoder, a video, and the back ends to try.

    At `deadline`, by `time.monotonic`, whatever is left is left out.
    """

    device: str
    lucy: Case
    recam: Case
    vae: Mapping[str, Any]
    text: Mapping[str, Any]
    video: tuple[int, int, int]
    back_ends: tuple[str, ...]
    memories: tuple[int, ...] = MEMORIES
    repetitions: int = REPETITIONS
    deadline: float = math.inf

    @property
    def on_card(self) -> bool:
        return self.device == "cuda"


WAN22_VAE: Mapping[str, Any] = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "in_channels": 12,
    "out_channels": 12,
    "is_residual": True,
    "patch_size": 2,
    "latents_mean": [0.0] * 48,
    "latents_std": [1.0] * 48,
    "scale_factor_spatial": 16,
}
UMT5_XXL: Mapping[str, Any] = {
    "vocab_size": 256384,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}


def real_bench() -> Bench:
    """The real shapes, on a GPU."""
    case = partial(Case, memories=10, device="cuda", dtype=torch.bfloat16)
    lucy, recam = case(REAL["wan-5b"], "lucy"), case(REAL["wan-1.3b"], "recam")
    return Bench(
        "cuda",
        lucy.at_depth((10, 10, 10)),
        recam.at_depth((3, 3, 3)),
        WAN22_VAE,
        UMT5_XXL,
        (81, 480, 832),
        tuple(ON_GPUS),
    )


def rehearsal_bench(device: str) -> Bench:
    """Toy shapes, anywhere."""
    toy = replace(SMALL["small-lucy"], heads=2, head_dim=12, ffn=48, latent=(2, 8, 16), phases=(1, 1, 1))
    case = partial(Case, toy, memories=3, device=device)
    vae = {**WAN22_VAE, "base_dim": 8, "decoder_base_dim": 8, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    text = {**UMT5_XXL, "vocab_size": 32, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    lucy, recam = (case(style).at_depth((1, 1, 1)) for style in ("lucy", "recam"))
    return Bench(device, lucy, recam, vae, text, (5, 64, 96), ("native", "_native_math"), (0, 3), 1)


def timed(bench: Bench, runs: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of each, with the device's work done."""
    return take_turns({name: editing.finished(run, bench.device) for name, run in runs.items()}, bench.repetitions)


def attempt(run: Callable[[], Figures | None]) -> Figures | None:
    """The figures of `run`, or what went wrong: one way must not cost the others their turn on the card."""
    try:
        return run()
    except Exception as fault:  # noqa: BLE001 - compilers, kernels and allocators fail each in its own way
        return {"failed": f"{type(fault).__name__}: {str(fault).splitlines()[0] if str(fault) else ''}"}


def add(figures: Figures, name: str, measured: Callable[[], Figures | None]) -> None:
    """Measure one way and tell it at once: should a later one end the process, this one is not lost."""
    figures[name] = attempt(measured)
    say(f"{name}: {json.dumps(figures[name])}")


def measure_attention(bench: Bench) -> Figures:
    """By model and number of keys: seconds of each back end that works, in parts of torch's own choice."""
    figures: Figures = {}
    for name, case in (("lucy", bench.lucy), ("recam", bench.recam)):
        frames, rows, columns = case.base.latent
        tokens = frames * (rows // 2) * (columns // 2) * (1 if name == "lucy" else 2)
        memory = 3 * frames * (rows // 4) * (columns // 4) + 7 * frames * (rows // 8) * (columns // 8)
        for label, keys in (("alone", tokens), ("ten cached", tokens + memory)):
            query, behind = (
                torch.randn(1, n, case.base.heads, case.base.head_dim, device=bench.device, dtype=case.dtype)
                for n in (tokens, keys)
            )
            runs = {each: partial(_attend, query, behind, each) for each in bench.back_ends}
            works = {each: run for each, run in runs.items() if _runs(run)}
            times = timed(bench, works)
            work = 4 * tokens * keys * case.base.width / 1e12
            figures[f"{name}, {label}"] = {
                each: {
                    "seconds": spread(times[each]),
                    "times_native": ratio(times[each], times["native"]),
                    "tflops_a_second": tidy(work / spread(times[each])["median"]),
                }
                for each in works
            }
    return figures


def _attend(query: Tensor, behind: Tensor, backend: str) -> Tensor:
    return dispatch_attention_fn(query, behind, behind, backend=AttentionBackendName(backend))


def _runs(run: Callable[[], object]) -> bool:
    """Whether it works here: packages may be missing, and cards too old."""
    try:
        run()
    except Exception as fault:  # noqa: BLE001 - each back end fails in its own way
        say(f"left out: {str(fault).splitlines()[0][:100]}")
        return False
    return True


def measure_lucy(bench: Bench) -> Figures:
    """Times at full depth; the naive way, which takes minutes, at one block a phase."""
    variants = ("dynamic", "merge_all", "cached", "cached_merge")
    shallow = bench.lucy.at_depth((1, 1, 1))
    naive = editing.measure(shallow, _fewer(bench), bench.repetitions, ("uniform", *variants[:2]))
    return {"full": _with_mfu(bench, bench.lucy, bench.memories, variants), "shallow": naive}


def _fewer(bench: Bench) -> tuple[int, ...]:
    """The numbers of memories that a longer measurement has time for: none, some, and the most."""
    counts = bench.memories
    return tuple(dict.fromkeys((counts[0], counts[len(counts) // 2], counts[-1])))


def measure_recam(bench: Bench) -> Figures:
    """Times at three tenths of the depth; the naive way at a tenth, with some memories."""
    variants = ("dynamic", "merge_all", "cached", "cached_user")
    naive = editing.measure(bench.recam.at_depth((1, 1, 1)), _fewer(bench)[:2], 1, ("uniform", *variants[:2]))
    return {"three tenths": _with_mfu(bench, bench.recam, _fewer(bench), variants), "shallow": naive}


def _with_mfu(bench: Bench, case: Case, memories: Sequence[int], variants: Sequence[str]) -> Figures:
    """What `editing.measure` says, and the share of the card's dense bfloat16 that it is."""
    figures = editing.measure(case, memories, bench.repetitions, variants)
    for number, by_variant in figures.items():
        for variant, told in by_variant.items():
            work = editing.operations(case.with_memories(int(number)), variant)
            told["tflops_a_second"] = tidy(work / told["seconds"]["median"])
            if peak := _peak(bench):
                told["mfu"] = tidy(told["tflops_a_second"] / peak)
    return figures


def _peak(bench: Bench) -> float | None:
    name = torch.cuda.get_device_name() if bench.on_card else ""
    return next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)


@torch.no_grad()
def measure_speed(bench: Bench) -> Figures:
    """By way: parts of stock diffusers' seconds, alone and with cached memories, and the change of the result."""
    exact = SpeedConfig(compile=True, attention="auto")
    ways = {
        "exact, fp8": exact.model_copy(update={"quantize": "fp8"}),
        "exact, int8": exact.model_copy(update={"quantize": "int8"}),
        "exact": exact,
        "as it is": SpeedConfig(),
    }
    model = _same_model(bench)
    stock = stock_of(model)
    figures: Figures = {}
    add(figures, "both guidance branches at once", lambda: _measure_both_branches(bench, stock))
    ready = {"alone": bench.lucy.with_memories(0).ready(model, "dynamic"), "cached": bench.lucy.ready(model, "cached")}
    plain = _same_edit(bench, model, ready["cached"])
    for name, speed in ways.items():
        if bench.deadline - time.monotonic() < WAY_SECONDS:
            figures[name] = {"left out": "too little time was left"}
            continue
        model = _same_model(bench)
        torch._dynamo.reset()
        add(figures, name, lambda model=model, speed=speed: _measure_way(bench, model, speed, stock, ready, plain))
    return figures


def _same_model(bench: Bench) -> MemoryWanTransformer:
    torch.manual_seed(0)
    return bench.lucy.model(bench.lucy.base.phases)


def _same_edit(bench: Bench, model: MemoryWanTransformer, given: Conditioning) -> Tensor:
    """The velocity from the same noise and the same memories, whatever was done to the model."""
    torch.manual_seed(1)
    return bench.lucy.run(model, given).float()


def _measure_way(
    bench: Bench,
    model: MemoryWanTransformer,
    speed: SpeedConfig,
    stock: Any,
    ready: Mapping[str, Conditioning],
    plain: Tensor,
) -> Figures:
    """Seconds until it is compiled; without memories and with all of them cached, beside stock; how far it moves."""
    started = time.perf_counter()
    accelerate(model, speed, torch.device(bench.device))
    moved = float((_same_edit(bench, model, ready["cached"]) - plain).norm() / plain.norm())
    runs = {name: partial(bench.lucy.run, model, given) for name, given in ready.items()}
    runs["alone"]()
    begun = tidy(time.perf_counter() - started)
    times = timed(bench, {"stock": partial(bench.lucy.run_stock, stock), **runs})
    told = {name: {"seconds": spread(each), "times_stock": ratio(each, times["stock"])} for name, each in times.items()}
    return {**told, "moved": tidy(moved), "seconds until it runs": begun}


def _measure_both_branches(bench: Bench, stock: Any) -> Figures:
    """Both guidance branches in one batch, in parts of two forwards; of diffusers' own model."""
    runs = {"one": partial(bench.lucy.run_stock, stock), "two": partial(_both_branches, bench, stock)}
    times = timed(bench, runs)
    return {"times_two": ratio(times["two"], [2 * each for each in times["one"]])}


def _both_branches(bench: Bench, stock: Any) -> None:
    case = bench.lucy
    frames, rows, columns = case.base.latent
    timestep = case.timestep().expand(2, frames * (rows // 2) * (columns // 2))
    stock(torch.cat([case.latents()] * 2), timestep, torch.cat([case.words()] * 2))


@torch.no_grad()
def measure_vae(bench: Bench) -> Figures:
    """Seconds of the codec for one segment; and of a forward and a decode, one after the other and side by side."""
    frames, height, width = bench.video
    with torch.device(bench.device):
        vae = AutoencoderKLWan(**bench.vae).eval()
    video = torch.rand(1, 3, frames, height, width, device=bench.device) * 2 - 1
    latents = vae.encode(video).latent_dist.mode()

    def decode() -> None:
        vae.decode(latents)

    figures: Figures = {}
    apart: dict[str, Callable[[], object]] = {"encode": lambda: vae.encode(video), "decode": decode}
    for name, run in apart.items():
        add(figures, name, lambda run=run: time_and_peak(bench, run))
    if bench.on_card:
        add(figures, "a forward and a decode", lambda: _measure_beside(bench, decode))
    vae.enable_tiling(TILE, TILE, TILE * 3 // 4, TILE * 3 // 4)
    add(figures, f"decode in tiles of {TILE}", lambda: time_and_peak(bench, decode))
    vae.disable_tiling()
    vae.decoder.bfloat16(), vae.post_quant_conv.bfloat16()
    latents = latents.bfloat16()
    add(figures, "decode in bfloat16", lambda: time_and_peak(bench, decode))
    return figures


def _measure_beside(bench: Bench, decode: Callable[[], object]) -> Figures:
    """A forward and a decode, in turn and at once; what the forward needs is gone before anything else is measured."""
    case = bench.lucy.with_memories(0)
    model = case.model(case.base.phases)
    forward = partial(case.run, model, case.ready(model, "dynamic"))
    both = {"one after the other": lambda: (forward(), decode()), "side by side": partial(_beside, forward, decode)}
    return {name: spread(each) for name, each in timed(bench, both).items()}


def time_and_peak(bench: Bench, run: Callable[[], object]) -> Figures:
    """Seconds, and on a card the most that it held meanwhile."""
    return {"seconds": spread(timed(bench, {"it": run})["it"]), **_peak_of(bench, run)}


def _beside(forward: Callable[[], object], decode: Callable[[], object]) -> None:
    """The decode on a stream of its own, as of the segment before."""
    other = torch.cuda.Stream()
    with torch.cuda.stream(other):
        decode()
    forward()
    torch.cuda.current_stream().wait_stream(other)


def _peak_of(bench: Bench, run: Callable[[], object]) -> Figures:
    if not bench.on_card:
        return {}
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run()
    return {"peak_gib": tidy(torch.cuda.max_memory_allocated() / GIB)}
