"""Run the benchmarks that this machine can run, one after the other, and write their pages and figures down.

    make bench, or: python benchmarks/bench.py [--json] [--only editing media]

The page and the figures go to `benchmarks/results/<date>-<machine>.{md,json}`, after each of them, so that what is
done stays where the rest is interrupted; what `--only` measures has their names behind the machine's, and a page of
its own. Figures hold for this machine alone. One that fails is named, the others go on, and the exit code is 1. Those
of hours (`consistency`, `views`, `chaos`, `catalog_scale`, `gate`, `paper`, `codec`) are run by themselves.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from reporting import RESULTS, ROOT, Figures, machine, machine_name, say, tidy

ANYWHERE: Mapping[str, tuple[str, ...]] = {
    "editing": (),
    "speedups": ("--videos", "8"),
    "media": (),
    "memory": ("--rows", "1000", "100000", "--commit-rows", "1000", "10000"),
    "startup": (),
    "orchestration": (),
    "scale": ("--short",),
    "fov": (),
    "loader": (),
}
"""By file, with its options."""
ON_CARDS: Mapping[str, tuple[str, ...]] = {"gpu": ()}


def run(name: str, options: Sequence[str]) -> tuple[str, Figures]:
    """The page of one benchmark and its figures; where it fails, what it said last."""
    say(f"{name} ...")
    started = time.monotonic()
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--json", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    took = tidy(time.monotonic() - started)
    lines = done.stdout.rstrip().splitlines()
    if done.returncode or not lines:
        return f"# {name}\n\nFailed with exit code {done.returncode}.\n", {"failed": done.returncode, "took": took}
    say(f"{name}: {took} s")
    return "\n".join(lines[:-1]) + "\n", {**_figures(lines[-1]), "took": took}


def _figures(line: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(line).items() if name != "machine"}


def as_markdown(pages: Mapping[str, str]) -> str:
    """One page of all of them, each a level deeper, the machine told once."""
    facts = "; ".join(f"{name}: {value}" for name, value in machine().items())
    sections = [re.sub(r"^#", "##", text.replace(facts, "").strip(), flags=re.MULTILINE) for text in pages.values()]
    return "\n\n".join([f"# Benchmarks, {date.today().isoformat()}", facts, *sections]) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    names = {**ANYWHERE, **(ON_CARDS if torch.cuda.is_available() else {})}
    options = _options(arguments, list(names))
    pages, figures = {}, {}
    some = "" if set(options.only) == set(names) else "-" + "-".join(options.only)
    path = options.out / f"{date.today().isoformat()}-{machine_name()}{some}"
    for name in options.only:
        pages[name], figures[name] = run(name, names[name])
        write(path, pages, figures)
        say(f"written: {path}.md, {path}.json")
    if options.json:
        print(json.dumps({"machine": machine(), **figures}))
    if any("failed" in each for each in figures.values()):
        raise SystemExit(1)


def write(path: Path, pages: Mapping[str, str], figures: Figures) -> None:
    """Both files; `path` is theirs without the ending."""
    Path(f"{path}.md").write_text(as_markdown(pages))
    Path(f"{path}.json").write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n")


def _options(arguments: Sequence[str] | None, names: Sequence[str]) -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options.add_argument("--only", nargs="+", default=names, choices=names, metavar="NAME")
    options.add_argument("--out", type=Path, default=RESULTS, help="folder of the page and the figures")
    return options.parse_args(arguments)


if __name__ == "__main__":
    main()
