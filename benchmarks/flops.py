"""What memory costs: TFLOPs of one forward of the transformer, counted by torch on the meta device at the real shapes.

The metric is the cost with N memories; the ceiling is the cost with none. Nothing is computed and no weights are
needed: torch counts matrix products, convolutions and attention as they are dispatched, a multiplication and an
addition as two. The blocks between two merges cost the same, so one of them runs and stands for all of them.

    python benchmarks/flops.py [--json] [--write] [--only 'wan-5b.lucy.*']

Keys are `<model>.<style>.<memories>.<variant>`: 81 frames of 480x832, 512 words, batch 1, one timestep for the target.
`benchmarks/shapes.py` says what styles and variants are. Cached variants are an average over 50 steps with guidance:
(once + 100 forwards) / 100.

Choosing the frames is not counted in any variant; the page that `--write` makes tells what it costs.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase
from functools import cache
from itertools import product
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from model.backbones.transformer import MemoryWanTransformer
from model.config import MergeConfig
from shapes import HALF, MEMORIES, REAL, STYLES, VARIANTS, Case

RESULTS = Path(__file__).resolve().parent / "results"
FORWARDS = 100  # 50 steps, two guidance branches
TERA = 1e12


@cache
@torch.no_grad()
def count(case: Case, variant: str, prepared: bool = False) -> float:
    """TFLOPs of one forward; of the cached variants on the average over all forwards of a segment.

    With `prepared`, what every forward of a segment would compute again is left out, as if it cost nothing that one
    time: a ten-thousandth of LucyEdit's forwards.
    """
    model, once = case.model(), 0.0
    given = case.planned(model, variant)
    if variant.startswith("cached") and not all(video.live for video in given.videos):
        with FlopCounterMode(display=False) as counter:
            given = case.remember(model, given)
        once = _weighted(counter, case.base.phases)
    if prepared:
        given = model.prepare(case.words(), given, case.base.latent[0])
    with FlopCounterMode(display=False) as counter:
        case.run(model, given)
    return once / FORWARDS + _weighted(counter, case.base.phases)


@cache
@torch.no_grad()
def count_stock(case: Case) -> float:
    """TFLOPs of one forward without memories, as it is run without us: LucyEdit's pipeline embeds a time a token."""
    if case.style == "recam":
        return count(case, "dynamic")
    model = case.model()
    with FlopCounterMode(display=False) as counter:
        case.run_stock(model)
    return _weighted(counter, case.base.phases)


def _weighted(counter: FlopCounterMode, phases: Sequence[int]) -> float:
    """TFLOPs where each block of the stand-in counts for all blocks of its phase."""
    by_module, name = counter.get_flop_counts(), MemoryWanTransformer.__name__
    blocks = [sum(by_module[f"{name}.blocks.{index}"].values()) for index in range(len(phases))]
    others = sum((length - 1) * cost for length, cost in zip(phases, blocks, strict=True))
    return (counter.get_total_flops() + others) / TERA


def count_all(only: str = "*") -> dict[str, float]:
    """All keys that match the glob `only`, in order."""
    figures = {}
    for (name, base), style, memories, variant in product(REAL.items(), STYLES, MEMORIES, VARIANTS):
        key = f"{name}.{style}.{memories}.{variant}"
        if fnmatchcase(key, only):
            figures[key] = round(count(Case(base, style, memories), variant), 2)
            print(f"{key} {figures[key]}", file=sys.stderr)
    return figures


COLUMNS = (
    "`benchmarks/flops.py` tells what the columns are. `as configured` is merge_all with the default settings: before "
    "the attention of blocks 10 and 20, from 0.3 of the frames for one memory to 0.7 for ten."
)
DEVICE_MEMORY = (
    "What a forward with ten memories cannot do without at batch 1, by arithmetic, not measured: weights; the widest "
    "moment of a block (hidden state, its modulated copy, the feed-forward's inner state before and behind its "
    "activation; or, where memory is cached, queries and output and all keys and values, past ones copied behind); the "
    "cache of all blocks. Temporaries in float32, the VAE and the text encoder come on top."
)


def as_markdown(figures: dict[str, float]) -> str:
    """A dated page: the figures, what the paper says of them, and what they leave out."""
    rows = [_row(figures, name, style, memories) for name, style, memories in product(REAL, STYLES, MEMORIES)]
    title = "| model | N | " + " | ".join([*VARIANTS, "as configured"]) + " |"
    return "\n".join(
        [
            f"# TFLOPs of one forward, {date.today().isoformat()}",
            f"\nCounted by torch {torch.__version__} on the meta device, without a clock or a GPU. {COLUMNS}\n",
            title,
            "|---" * (title.count("|") - 1) + "|",
            *rows,
            "\n## What the paper says\n",
            *_savings(figures, "over 90 % less than all memories in 1x2x2", "uniform", "dynamic", 0.9),
            *_savings(figures, "about 30 % less by merging (25 % and more)", "dynamic", "merge_all", 0.25),
            *_savings(figures, "about 30 % less by merging memory alone", "dynamic", "merge_memory", 0.25),
            "\n## Cached memory against none, over 50 steps with guidance\n",
            *(f"- {key}: {ratio:.2f}x" for key, ratio in _cached_ratios(figures).items()),
            "\n## Choosing the frames (ten memories, all conditions, blocks 10 and 20)\n",
            *(_scoring_line(name, style) for name, style in product(REAL, STYLES)),
            "\n## Memory of the device, bf16, GiB: analytic\n",
            f"{DEVICE_MEMORY}\n",
            "| model | weights | joint: activations | cached: activations | cached: cache | cached_merge: cache |",
            "|---|---|---|---|---|---|",
            *(_memory_row(name, style) for name, style in product(REAL, STYLES)),
            "",
        ]
    )


def _row(figures: dict[str, float], name: str, style: str, memories: int) -> str:
    base = replace(REAL[name], phases=(9, 10, 11))
    ours = count(Case(base, style, memories, MergeConfig(blocks=HALF.blocks)), "merge_all")
    cells = [*(figures[f"{name}.{style}.{memories}.{variant}"] for variant in VARIANTS), ours]
    return f"| {name} {style} | {memories} | " + " | ".join(f"{cell:,.1f}" for cell in cells) + " |"


def _savings(figures: dict[str, float], claim: str, before: str, after: str, wanted: float) -> list[str]:
    """One bullet for each model: what is saved by number of memories, and where it is as much as claimed."""
    lines = [f"- **{claim}**:"]
    for name, style in product(REAL, STYLES):
        pairs = {n: (figures[f"{name}.{style}.{n}.{before}"], figures[f"{name}.{style}.{n}.{after}"]) for n in MEMORIES}
        saved = {n: 1 - less / more for n, (more, less) in pairs.items() if n}
        holds = [str(n) for n, share in saved.items() if share >= wanted]
        told = ", ".join(f"{share:.1%} (N {n})" for n, share in saved.items())
        lines.append(f"  - {name} {style}: {told}; holds for N {', '.join(holds) or 'none of these'}")
    return lines


def _cached_ratios(figures: dict[str, float]) -> dict[str, float]:
    keys = [(f"{name}.{style}", n) for name, style, n in product(REAL, STYLES, MEMORIES) if n]
    return {f"{key} N {n}": figures[f"{key}.{n}.cached"] / figures[f"{key}.0.uniform"] for key, n in keys}


@torch.no_grad()
def scoring_cost(case: Case) -> tuple[float, float, float]:
    """TFLOPs at full depth: a forward told what to merge, the same choosing it, and the choice made beforehand."""
    phases = case.base.phases
    case = case.at_depth(phases)
    model, given = case.model(phases), case.conditioning("merge_all")
    with FlopCounterMode(display=False) as alone:
        plan = case.plan(model, given)
    totals = []
    for each in (replace(given, plan=plan), given):
        with FlopCounterMode(display=False) as counter:
            case.run(model, each)
        totals.append(counter.get_total_flops() / TERA)
    return totals[0], totals[1], alone.get_total_flops() / TERA


def _scoring_line(name: str, style: str) -> str:
    told, chosen, alone = scoring_cost(Case(replace(REAL[name], phases=(9, 10, 11)), style, 10))
    return (
        f"- {name} {style}: {chosen - told:.2f} TFLOPs in a forward of {told:,.1f} ({(chosen - told) / told:.2%}). "
        f"For cached memory, in a pass of its own: {alone:,.1f} a segment, {alone / FORWARDS:.2f} a forward."
    )


@torch.no_grad()
def _memory_row(name: str, style: str) -> str:
    case = Case(REAL[name], style, 10)
    base, model = case.base, case.model()
    block = sum(parameter.numel() for parameter in model.blocks[0].parameters())
    weights = sum(parameter.numel() for parameter in model.parameters()) + (sum(base.phases) - 3) * block
    tokens = {variant: _cached_tokens(case, model, variant) for variant in ("cached", "cached_merge")}
    frames, rows, columns = base.latent
    live = (1 if style == "lucy" else 2) * frames * (rows // 2) * (columns // 2)
    behind = tokens["cached"][0]
    widest = 2 * base.width + 2 * base.ffn
    joint, cached = (
        (live + behind) * widest,
        max(live * widest, live * 4 * base.width + 2 * (live + behind) * base.width),
    )
    caches = (2 * base.width * sum(a * b for a, b in zip(base.phases, each, strict=True)) for each in tokens.values())
    return f"| {name} {style} | " + " | ".join(f"{2 * n / 2**30:.2f}" for n in (weights, joint, cached, *caches)) + " |"


def _cached_tokens(case: Case, model: MemoryWanTransformer, variant: str) -> list[int]:
    """Memory tokens in a block of each phase."""
    given = case.planned(model, variant)
    cache = case.remember(model, given).cache
    assert cache is not None
    return [key.shape[1] for key, _ in cache.blocks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--write", action="store_true", help="write a dated page under benchmarks/results/")
    parser.add_argument("--only", default="*", help="count the keys that match this pattern alone")
    options = parser.parse_args()
    if options.write and options.only != "*":
        parser.error("a page needs every key; leave --only away")
    figures = count_all(options.only)
    if options.write:
        (RESULTS / f"{date.today().isoformat()}-flops.md").write_text(as_markdown(figures))
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
