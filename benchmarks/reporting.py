"""What benchmarks share: fair timing, ratios with their spread, the machine, the options, and the dated page.

A file of this folder is run as `python benchmarks/NAME.py`. Its page goes to standard output and, with `--json`, its
figures after it, as the last line; progress goes to standard error.
"""

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
REPETITIONS = 5
sys.path.append(str(ROOT))  # a script finds its own folder only, and some need the footage of the tests

Figures = dict[str, Any]
Clock = Callable[[Callable[[], object]], float]
"""Seconds of one call."""


def take_turns(
    candidates: Mapping[str, Callable[[], object]],
    repetitions: int = REPETITIONS,
    warm_ups: int = 1,
    clock: Clock | None = None,
) -> dict[str, list[float]]:
    """Seconds of every candidate, by repetition, in turn there and back (A B B A).

    A slow spell of the machine so meets all of them. `clock` times one call; by default it looks at the wall.
    """
    clock = clock or wall_seconds
    for _ in range(warm_ups):
        for run in candidates.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for repetition in range(repetitions):
        order = list(candidates) if repetition % 2 == 0 else list(reversed(candidates))
        for name in order:
            times[name].append(clock(candidates[name]))
    return times


def wall_seconds(run: Callable[[], object]) -> float:
    """How long `run` takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def processor_seconds(run: Callable[[], object]) -> float:
    """How long this thread computes in `run`: what else the machine does counts little. Of work in one thread."""
    started = time.thread_time()
    run()
    return time.thread_time() - started


def spread(values: Sequence[float]) -> Figures:
    """Median, least and most of what was measured so many times."""
    return {"median": tidy(median(values)), "low": tidy(min(values)), "high": tidy(max(values)), "n": len(values)}


def ratio(times: Sequence[float], base: Sequence[float]) -> Figures:
    """`times` in parts of `base`, taken in pairs of the same repetition."""
    return spread([one / other for one, other in zip(times, base, strict=True)])


def told(figures: Figures, unit: str = "") -> str:
    """A spread as a cell of a table: `1.31 (1.28-1.35)`."""
    return f"{figures['median']}{unit} ({figures['low']}-{figures['high']})"


def tidy(value: float) -> float:
    """Three digits, which is more than a noisy machine gives."""
    return float(f"{value:.3g}")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows])


def machine() -> dict[str, str]:
    """What the figures of a page hold for."""
    described = {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "torch": version("torch"),
    }
    gpu = _gpu()
    return {"gpu": gpu, **described} if gpu else described


def machine_name() -> str:
    """The machine in the name of a file: its GPU, or its cores."""
    return re.sub(r"[^a-z0-9]+", "-", (_gpu() or f"cpu {os.cpu_count()} cores").lower()).strip("-")


def _processor() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown processor"


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def page(title: str, *sections: str) -> str:
    """A dated page about this machine."""
    facts = "; ".join(f"{name}: {value}" for name, value in machine().items())
    return "\n\n".join([f"# {title}, {date.today().isoformat()}", facts, *sections]) + "\n"


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options.add_argument("--write", action="store_true", help="write a dated page under benchmarks/results/")
    return options


def publish(name: str, figures: Figures, text: str, options: argparse.Namespace) -> None:
    """Show the page, and write and print what `options` ask for."""
    print(text)
    if options.write:
        (RESULTS / f"{date.today().isoformat()}-{name}.md").write_text(text)
    if options.json:
        print(json.dumps({"machine": machine(), **figures}))
