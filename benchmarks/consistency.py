"""The claim, measured: memory keeps independent edits consistent. On held-out videos of which the truth is known.

The metric is strict agreement after gaps, and beside it the share of regions that were edited at all; the ceiling is 1.
Methods: `ind` (every segment alone), `fifo` (the previous segment), `memory` (recalled by likeness, no merging),
`memory_merging`, `discard` (frames dropped instead of merged), `recency` and `random` (other ways to choose memories),
`cached` (memory's keys and values computed once) and `shuffled` (the memories of another video). How each
measure is defined stands in model/metrics/agreement.py.

    python benchmarks/consistency.py [--videos 60] [--segments 20] [--seed 0] [--weights DIR ...] [--json] [--write]

An interrupted run goes on where it stopped. `--here` runs in this process, without Prefect and Ray, and on a GPU if
there is one. `--write` renews docs/proof.md with its plot and its sheet of frames, and the table in the README.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flows.environment import prepare_environment, user_folder
from flows.request import validated
from model.config import ProofConfig
from model.errors import MemoryV2VError, RequestError
from tasks.proof.claims import CLAIMS, Claim

if TYPE_CHECKING:
    from model.metrics.agreement import Figure, Figures

ROOT = Path(__file__).resolve().parents[1]
PROOF, PLOT, SHEET = (ROOT / "docs" / name for name in ("proof.md", "proof.png", "proof_frames.png"))
SHOWN_VIDEOS, SCALE = 5, 2
BARS = {
    "agreement_after_gap": "agreement after gaps",
    "edit_rate": "really repainted",
    "wrongly_changed": "other things changed",
}
COLUMNS = {
    "agreement_after_gap": "agreement after gaps",
    "agreement": "agreement, all",
    "edit_rate": "repainted",
    "wrongly_changed": "others changed",
    "smeared": "smeared",
    "instruction_followed": "told, followed",
    "psnr_outside": "PSNR outside, dB",
    "look_distance": "look distance",
    "seconds_per_segment": "s",
    "gigaflops_per_segment": "GFLOP",
}
BEGIN, END = "<!-- proof: written by benchmarks/consistency.py -->", "<!-- end of proof -->"


def prove_together(config: ProofConfig) -> "Figures":
    """All figures, by models on Ray's actors."""
    from flows.evaluation import prove

    return prove(config)


def prove_here(config: ProofConfig) -> "Figures":
    """All figures, by a model in this process, on a GPU if there is one."""
    import torch

    from model.metrics.measured import MeasuredEditor
    from tasks.proof.verdicts import add_verdicts, find_models, judge_here, plan_jobs, read_verdicts, sum_up_proof

    cache = user_folder("cache")
    models = find_models(config, cache)
    jobs = plan_jobs(config, models, cache, set(read_verdicts(config.records)))
    load = partial(MeasuredEditor.from_pretrained, device="cuda" if torch.cuda.is_available() else "cpu")
    for number, verdicts in enumerate(judge_here(jobs, load), 1):
        add_verdicts(config.records, verdicts)
        print(f"{number} of {len(jobs)} jobs done", file=sys.stderr, flush=True)
    return sum_up_proof(config, cache)


def figures_by_seed(config: ProofConfig) -> "list[Figures]":
    """What each of several models has alone, from the verdicts written down; nothing where there is one."""
    from tasks.proof.verdicts import sum_up_proof

    alone = [config.model_copy(update={"weights": (name,)}) for name in config.weights]
    return [sum_up_proof(each, user_folder("cache")) for each in alone] if len(alone) > 1 else []


def as_json(figures: "Figures") -> str:
    """One object: by method and measure, `{"value", "low", "high", "n"}`."""
    return json.dumps(
        {method: {name: asdict(figure) for name, figure in row.items()} for method, row in figures.items()}
    )


def as_table(figures: "Figures", columns: Sequence[str]) -> str:
    """Markdown: methods by measures, each with its interval."""
    head = f"| | {' | '.join(COLUMNS[name] for name in columns)} |\n|---|{'---|' * len(columns)}"
    rows = [f"| `{method}` | {' | '.join(_cell(row[name]) for name in columns)} |" for method, row in figures.items()]
    return "\n".join([head, *rows])


def _cell(figure: "Figure") -> str:
    if figure.value is None:
        return "-"
    digits = 2 if abs(figure.value) < 10 else 1
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f}, {figure.high:.{digits}f})"


def as_verdict(claim: Claim, figures: "Figures", by_seed: "Sequence[Figures]" = ()) -> str:
    """One row: what is claimed, what was measured, in all and by each training seed, and whether it holds."""
    bound = f"{'at least' if claim.at_least else 'at most'} {claim.bound:g}"
    alone = f" | {', '.join(f'{claim.value(each):.2f}' for each in by_seed)}" if by_seed else ""
    holds = "yes" if claim.holds(figures) else "**no**"
    return f"| {claim.text} | {bound} | {claim.value(figures):.2f}{alone} | {holds} |"


def write_proof(config: ProofConfig, figures: "Figures", by_seed: "Sequence[Figures]" = ()) -> None:
    """Renew docs/proof.md, its pictures, and the README's table."""
    from model.metrics.measured import MeasuredEditor
    from storage.plot import draw_bars
    from storage.sheet import draw_sheet
    from tasks.proof.showing import show_videos
    from tasks.proof.verdicts import find_models, world_of

    bars = {
        method.replace("_", " "): {
            label: (figure.value, figure.low, figure.high)
            for name, label in BARS.items()
            if (figure := row[name]).value is not None
        }
        for method, row in figures.items()
    }
    draw_bars(PLOT, bars, f"{config.videos} held-out videos of {config.segments} segments, 95 % intervals")
    model = find_models(config, user_folder("cache"))[0]
    editor = MeasuredEditor.from_pretrained(model.folder)
    blocks = show_videos(editor, model.preset, world_of(config, model), config.seed, SHOWN_VIDEOS)
    draw_sheet(SHEET, blocks, SCALE)
    PROOF.write_text(as_page(config, figures, by_seed))
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    short = as_table(figures, tuple(BARS))
    readme.write_text(f"{before}{BEGIN}\n\n{short}\n\n{END}{rest.split(END)[1]}")


def as_page(config: ProofConfig, figures: "Figures", by_seed: "Sequence[Figures]" = ()) -> str:
    """docs/proof.md; what each of several training seeds has alone is told by claim."""
    models = f"{len(config.weights)} training seed{'s' if len(config.weights) > 1 else ''}"
    head = ["claim", "bound", "measured", *(["by training seed"] if by_seed else []), "holds"]
    verdicts = "\n".join(as_verdict(claim, figures, by_seed) for claim in CLAIMS)
    return f"""# Proof: memory keeps independent edits consistent

{date.today().isoformat()}: {config.videos} held-out videos of {config.segments} segments, {config.looks} of real
footage with an open look (all cut from one film and one photograph: their intervals are over cuts and looks, not over
footage), {models}. Made by `python benchmarks/consistency.py --write`, not by hand.

Worlds, phrases, pairs of shape and colour, one shape, and the footage are held out of training. Open instructions leave
the result to the model ("give the circle a new colour"), so that only a memory can keep it. *Agreement after gaps* is
the share of returns, after at least one whole segment out of view, in which the region has the hue of the first segment
within 30 degrees, counted only where that first one was really repainted. Intervals are 95 %, by bootstrap over videos.
Methods are described in `benchmarks/consistency.py`, measures in `model/metrics/agreement.py`.

## What is claimed

| {" | ".join(head)} |
|{"---|" * len(head)}
{verdicts}

## All figures

{as_table(figures, tuple(COLUMNS))}

![agreement and edit rate by method](proof.png)

## To be judged by eye

The first {SHOWN_VIDEOS} open videos, none left out, every second segment or so; {SCALE} times enlarged.

![frames by method](proof_frames.png)
"""


def parse(arguments: Sequence[str] | None = None) -> tuple[ProofConfig, argparse.Namespace]:
    """What is to be measured, and the other options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = ProofConfig(records=user_folder("cache") / "consistency.jsonl")
    for name in ("videos", "segments", "seed", "looks", "workers", "least_gap", "size"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    parser.add_argument("--weights", nargs="+", default=defaults.weights, help="model folders, one a training seed")
    parser.add_argument("--methods", nargs="+", default=defaults.methods)
    parser.add_argument("--records", type=Path, default=defaults.records, help="file of all verdicts")
    parser.add_argument("--here", action="store_true", help="run in this process, without Prefect and Ray")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--write", action="store_true", help="renew docs/proof.md and the README's table")
    options = parser.parse_args(arguments)
    if options.write and set(options.methods) != set(defaults.methods):
        parser.error("--write needs all methods: the page says which claims hold, and they are about all of them")
    fields = {name: getattr(options, name) for name in ProofConfig.model_fields if hasattr(options, name)}
    try:
        return validated(ProofConfig, fields), options
    except RequestError as fault:
        parser.error(str(fault))


def main() -> None:
    prepare_environment()
    config, options = parse()
    try:
        figures = prove_here(config) if options.here else prove_together(config)
    except MemoryV2VError as fault:
        sys.exit(f"error: {fault}")
    print(as_table(figures, tuple(COLUMNS)), file=sys.stderr)
    if options.write:
        write_proof(config, figures, figures_by_seed(config))
    if options.json:
        print(as_json(figures))


if __name__ == "__main__":
    main()
