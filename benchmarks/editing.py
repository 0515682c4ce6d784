"""What a memory costs in time: one forward of the transformer, beside diffusers' own without any, in one run.

The metric is seconds in parts of stock diffusers' seconds; the bound beside it is the same ratio in operations, counted
on the meta device. On a processor the shapes are small ones of the same proportions, on a GPU those of LucyEdit (5B)
and ReCamMaster (1.3B): 81 frames of 480x832, in bfloat16, with random weights. A processor's times are what one thread
computes. `benchmarks/shapes.py` says what the variants are.

    python benchmarks/editing.py [--json] [--write] [--memories 0 3 10] [--repetitions 5]

`stock` is diffusers' transformer as its pipeline calls it: for LucyEdit with a timestep by token, for ReCamMaster on
target and user's video, which stock diffusers does not know, through our loop. What is computed once a segment (keys
and values of the text and of cached memories, tokens) is spread over the 100 forwards of 50 steps with guidance.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from flops import FORWARDS, count, count_stock
from model.backbones.transformer import MemoryWanTransformer
from reporting import (
    REPETITIONS,
    Clock,
    Figures,
    page,
    parser,
    processor_seconds,
    publish,
    ratio,
    say,
    spread,
    table,
    take_turns,
    tidy,
    told,
    wall_seconds,
)
from shapes import REAL, SMALL, VARIANTS, Case, stock_of

STOCK = "stock"
ON_CARD = {"wan-5b": "lucy", "wan-1.3b": "recam"}
ON_PROCESSOR = {"small-lucy": "lucy", "small-recam": "recam"}
COUNTS = (0, 1, 3, 5, 10)
GIGA = 1e9


def measure_all(device: str, counts: Sequence[int], repetitions: int) -> Figures:
    """All models of a device, by name."""
    models = ON_CARD if device == "cuda" else ON_PROCESSOR
    cases = {name: partial(Case, (REAL | SMALL)[name], style) for name, style in models.items()}
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    return {
        name: measure(case(0, device=device, dtype=dtype), counts, repetitions, (*VARIANTS, "cached_user"))
        for name, case in cases.items()
    }


@torch.no_grad()
def measure(case: Case, counts: Sequence[int], repetitions: int, variants: Sequence[str]) -> Figures:
    """By number of memories and variant: seconds, their ratio to stock, and the same ratio in operations."""
    clock = clock_of(case.device)
    case = case.at_depth(case.base.phases)
    model = case.model(case.base.phases)
    base = stock_of(model) if case.style == "lucy" else None
    figures: Figures = {}
    for memories in counts:
        here = case.with_memories(memories)
        wanted = [name for name in variants if _is_of_its_own(here, name)]
        runs: dict[str, Callable[[], object]] = {STOCK: _stock(here, model, base)}
        once: dict[str, float] = {}
        peaks = {STOCK: _peak_bytes(lambda run=runs[STOCK]: run, case.device)}
        for variant in wanted:
            peaks[variant] = _peak_bytes(partial(_made_ready, here, model, variant), case.device)
        for variant in wanted:
            runs[variant], once[variant] = _made_ready(here, model, variant), _seconds_before(here, model, variant)
        times = take_turns({name: finished(run, case.device) for name, run in runs.items()}, repetitions, clock=clock)
        figures[str(memories)] = {STOCK: {"seconds": spread(times[STOCK]), **peaks[STOCK]}}
        for variant in wanted:
            own = [seconds + once[variant] / FORWARDS for seconds in times[variant]]
            figures[str(memories)][variant] = {
                "seconds": spread(own),
                "times_stock": ratio(own, times[STOCK]),
                "operations_times_stock": tidy(operations(here, variant) / operations(here, STOCK)),
                **peaks[variant],
            }
        say(f"{case.style}, {memories} memories: done")
        del runs
    return figures


def _is_of_its_own(case: Case, variant: str) -> bool:
    """Whether no other variant is the very same work."""
    if case.memories:
        return variant != "cached_user" or case.style == "recam"
    return variant == ("dynamic" if case.style == "lucy" else "cached_user")


def _stock(case: Case, model: MemoryWanTransformer, base: Any) -> Callable[[], object]:
    """A forward without memories, as it is run without us."""
    if base is not None:
        return partial(case.run_stock, base)
    alone = case.with_memories(0)
    return partial(alone.run, model, alone.conditioning("dynamic"))


def _made_ready(case: Case, model: MemoryWanTransformer, variant: str) -> Callable[[], object]:
    """One forward of a variant; what comes once a segment is done."""
    return partial(case.run, model, case.ready(model, variant))


def _seconds_before(case: Case, model: MemoryWanTransformer, variant: str) -> float:
    """What is spent once a segment before its forwards."""
    ready = finished(partial(case.ready, model, variant), case.device)
    ready()
    return clock_of(case.device)(ready)


def clock_of(device: str) -> Clock:
    """A processor's work is timed by what its one thread computes, a GPU's by the wall."""
    return wall_seconds if device == "cuda" else processor_seconds


def finished(run: Callable[[], object], device: str) -> Callable[[], None]:
    """The call, and the wait until the device has done it."""

    def done() -> None:
        run()
        if device == "cuda":
            torch.cuda.synchronize()

    return done


def _peak_bytes(prepare: Callable[[], Callable[[], object]], device: str) -> dict[str, float]:
    """The most memory of a GPU that a call needs, weights and what was prepared for it included, in GiB.

    Nothing on a processor. Nothing else may be prepared meanwhile.
    """
    if device != "cuda":
        return {}
    run = prepare()
    run()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run()
    return {
        "peak_gib": tidy(torch.cuda.max_memory_allocated() / 2**30),
        "reserved_gib": tidy(torch.cuda.max_memory_reserved() / 2**30),
    }


def operations(case: Case, variant: str) -> float:
    """TFLOPs of one forward, on the meta device, at one block a phase."""
    if variant == STOCK:
        return count_stock(Case(case.base, case.style, 0))
    return count(Case(case.base, case.style, case.memories), variant, prepared=True)


def as_markdown(figures: Figures) -> str:
    """The page: a table for each model."""
    sections = []
    for name, by_count in figures.items():
        rows = [
            [memories, variant, told(each["seconds"], " s"), told(each["times_stock"]), each["operations_times_stock"]]
            + [value for key, value in each.items() if key == "peak_gib"]
            for memories, variants in by_count.items()
            for variant, each in variants.items()
            if variant != STOCK
        ]
        card = ["peak GiB"] * any("peak_gib" in each for each in by_count["0"].values())
        head = ["N", "variant", "a forward", "times stock", "the same in operations", *card]
        sections += [f"## {name}", table(head, rows)]
    return page("Time of one forward, beside stock diffusers without memories", *sections)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.set_num_threads(1)
    figures = measure_all(device, options.memories, options.repetitions)
    publish("editing", figures, as_markdown(figures), options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--memories", type=int, nargs="+", default=COUNTS, help="numbers of memories")
    options.add_argument("--repetitions", type=int, default=REPETITIONS)
    return options.parse_args(arguments)


if __name__ == "__main__":
    main()
