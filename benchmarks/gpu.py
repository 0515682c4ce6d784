"""All that needs a GPU, in one go: what fits into nine minutes of one card of 80 GB, random weights at the real shapes.

    python benchmarks/gpu.py [--json] [--write] [--only PART ...] [--minutes 9] [--rehearse]

Parts, each side by side with what it is compared to, in one process:

    attention    seconds of self-attention by back end, for the target alone and with ten cached memories behind it
    small_cards  a whole LucyEdit with ten memories where 24 and 16 GB are all there is, also in 8 bits: what visits the
                 card, seconds and peaks of reading a text, encoding, a step, decoding
    vae          the codec on 81 frames of 480x832: in tiles, in bfloat16, and beside denoising on another stream
    lucy         what memories cost LucyEdit, 5B (`benchmarks/editing.py`), the naive way at a tenth of the depth
    speed        compiled blocks, attention, 8 bits, both guidance branches in one batch: seconds, and how far the
                 result moves
    recam        the same as `lucy` for ReCamMaster, 1.3B, at three tenths of the depth

A part that the minutes do not suffice for, or a way of `speed`, is left out and named, and `--only` measures it in
another run. All parts have not been seen to fit: on an H200 attention, lucy and recam took three minutes, and a longer
`speed` more than six.
`--rehearse` runs every part at toy size, on any device: it shows that they run, and its figures mean nothing.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from gpu_parts import (
    Bench,
    attempt,
    measure_attention,
    measure_lucy,
    measure_recam,
    measure_speed,
    measure_vae,
    real_bench,
    rehearsal_bench,
)
from gpu_small_cards import measure_small_cards
from reporting import Figures, page, parser, publish, say, table, tidy

PARTS: Mapping[str, Callable[[Bench], Figures]] = {
    "attention": measure_attention,
    "small_cards": measure_small_cards,
    "vae": measure_vae,
    "lucy": measure_lucy,
    "speed": measure_speed,
    "recam": measure_recam,
}
NEEDED = {"attention": 5, "small_cards": 150, "vae": 130, "lucy": 85, "speed": 120, "recam": 95}
"""Seconds that must be left for a part to begin: attention, lucy and recam as an H200 took them, vae by what was seen
of it there, small_cards by arithmetic; `speed` may be cut short, and tells each figure as it comes."""


def measure(bench: Bench, names: Sequence[str], minutes: float) -> Figures:
    """All parts that fit into the time; what did not fit, or failed, says so in its place."""
    deadline = time.monotonic() + 60 * minutes
    if bench.on_card:
        bench = replace(bench, deadline=deadline)
    figures: Figures = {}
    for name in names:
        left = deadline - time.monotonic()
        if bench.on_card and left < NEEDED[name]:
            figures[name] = {"left out": f"{left:.0f} s were left"}
            continue
        started = time.monotonic()
        figures[name] = attempt(lambda name=name: PARTS[name](bench)) | {"took": tidy(time.monotonic() - started)}
        say(json.dumps({name: figures[name]}))  # if the next part ends the process, this one is not lost
        if bench.on_card:
            torch.cuda.empty_cache()
    return figures


def as_markdown(figures: Figures, rehearsal: bool) -> str:
    """The page: every figure by its path, so that none is left out."""
    rows = [[" / ".join(path), value] for path, value in _leaves(figures)]
    title = "On the GPU: a rehearsal, whose figures mean nothing" if rehearsal else "On the GPU"
    return page(title, table(["what", "measured"], rows))


def _leaves(figures: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(figures, dict) and "median" not in figures:
        for name, value in figures.items():
            yield from _leaves(value, (*path, name))
    elif isinstance(figures, dict):
        yield path, f"{figures['median']} ({figures['low']}-{figures['high']})"
    else:
        yield path, "does not fit" if figures is None else str(figures)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not options.rehearse:
        raise SystemExit("error: no GPU is here; run it on a machine that has one, or --rehearse it at toy size")
    bench = rehearsal_bench(device) if options.rehearse else real_bench()
    figures = measure(bench, options.only, options.minutes)
    publish("gpu", figures, as_markdown(figures, options.rehearse), options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS), metavar="PART")
    options.add_argument("--minutes", type=float, default=9.0, help="time for all parts")
    options.add_argument("--rehearse", action="store_true", help="run every part at toy size")
    return options.parse_args(arguments)


if __name__ == "__main__":
    main()
