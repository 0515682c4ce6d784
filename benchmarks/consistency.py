"""The claim, measured: memory keeps independent edits consistent. On held-out videos of which the truth is known.

The metric is strict agreement after gaps, and beside it the share of regions that were edited at all; the ceiling is 1.
Methods: `ind` (every segment alone), `fifo` (the previous segment), `memory` (recalled by likeness, no merging),
`memory_merging`, `discard` (frames dropped instead of merged), `recency` and `random` (other ways to choose memories),
`cached` (memory's keys and values computed once) and `shuffled` (the memories of another video). How each
measure is defined stands in model/metrics/agreement.py.

    python benchmarks/consistency.py [--videos 60] [--segments 12] [--seed 0] [--weights DIR ...] [--json]

An interrupted run goes on where it stopped. `--here` runs in this process, without Prefect and Ray.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from flows.environment import prepare_environment, user_folder
from model.config import ProofConfig
from model.errors import MemoryV2VError

if TYPE_CHECKING:
    from tasks.evaluate import Figures


def prove_here(config: ProofConfig) -> "Figures":
    """All figures, by a model in this process."""
    from model.metrics.measured import MeasuredEditor
    from tasks.evaluate import add_verdicts, find_models, judge_here, plan_jobs, read_verdicts, sum_up_proof

    cache = user_folder("cache")
    models = find_models(config, cache)
    jobs = plan_jobs(config, models, cache, set(read_verdicts(config.records)))
    for number, verdicts in enumerate(judge_here(jobs, MeasuredEditor.from_pretrained), 1):
        add_verdicts(config.records, verdicts)
        print(f"{number} of {len(jobs)} jobs done", file=sys.stderr, flush=True)
    return sum_up_proof(config, cache)


def as_json(figures: "Figures") -> str:
    """One object: by method and measure, `{"value", "low", "high", "n"}`."""
    return json.dumps(
        {method: {name: asdict(figure) for name, figure in row.items()} for method, row in figures.items()}
    )


def parse(arguments: Sequence[str] | None = None) -> tuple[ProofConfig, argparse.Namespace]:
    """What is to be measured, and the other options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = ProofConfig(records=user_folder("cache") / "consistency.jsonl")
    for name in ("videos", "segments", "seed", "looks", "workers", "least_gap"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    parser.add_argument("--weights", nargs="+", default=defaults.weights, help="model folders, one a training seed")
    parser.add_argument("--methods", nargs="+", default=defaults.methods)
    parser.add_argument("--records", type=Path, default=defaults.records, help="file of all verdicts")
    parser.add_argument("--here", action="store_true", help="run in this process, without Prefect and Ray")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(arguments)
    fields = {name: getattr(options, name) for name in ProofConfig.model_fields if hasattr(options, name)}
    return ProofConfig.model_validate(fields), options


def main() -> None:
    prepare_environment()
    from flows.evaluation import prove

    config, options = parse()
    try:
        figures = prove_here(config) if options.here else prove(config)
    except MemoryV2VError as fault:
        sys.exit(f"error: {fault}")
    if options.json:
        print(as_json(figures))


if __name__ == "__main__":
    main()
