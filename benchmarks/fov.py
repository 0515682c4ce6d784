"""How fast VideoFOV is on one core: seeing a trajectory, and ranking many that were seen before.

The metrics are milliseconds for 81 frames x 64,800 directions, and for ranking 1,000 cached trajectories from their
packed bitmaps; the ceilings are 150 and 20, below what a user notices between two turns. Figures are processor time of
one thread, which on a machine of its own is the time one waits: the median and the best of many runs.

    OMP_NUM_THREADS=1 python benchmarks/fov.py [--json] [--write]
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import numpy as np

from model.camera.fov import cover, rank, video_fov
from model.camera.presets import PRESETS, preset
from model.camera.projection import Intrinsics

RESULTS = Path(__file__).resolve().parent / "results"
LENS = Intrinsics.from_lens(832, 480)
CACHED, RUNS = 1000, 25
CEILINGS = {"video_fov_81_frames": 150.0, "rank_1000_bitmaps": 20.0}


def milliseconds(work: Callable[[], object]) -> dict[str, float]:
    """Median and best of many runs, after one to warm up."""
    work()
    times = []
    for _ in range(RUNS):
        started = time.process_time()
        work()
        times.append(1000 * (time.process_time() - started))
    return {"median": round(median(times), 1), "best": round(min(times), 1)}


def measure() -> dict[str, dict[str, float]]:
    """All figures, in milliseconds."""
    path = preset("arc-left", 81)
    target = video_fov(path, LENS)
    seen = [video_fov(preset(name, 21), LENS, target.reference).packed for name in PRESETS]
    packed = np.tile(np.stack(seen), (CACHED // len(seen), 1))
    return {
        "video_fov_81_frames": milliseconds(lambda: video_fov(path, LENS)),
        "rank_1000_bitmaps": milliseconds(lambda: rank(target, packed)),
        "cover_5_of_1000_bitmaps": milliseconds(lambda: cover(target, packed, 5)),
    }


def as_markdown(figures: dict[str, dict[str, float]]) -> str:
    """A dated page for `benchmarks/results/`."""
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    machine = f"{platform.machine()}, {os.cpu_count()} shared cores, {threads} thread, numpy {np.__version__}"
    rows = "\n".join(
        f"| {name} | {each['median']} | {each['best']} | {CEILINGS.get(name, '')} |" for name, each in figures.items()
    )
    title = "| milliseconds | median | best | ceiling |\n|---|---|---|---|\n"
    return f"# VideoFOV, {date.today().isoformat()}\n\n{machine}\n\n{title}{rows}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--write", action="store_true", help="write a dated page under benchmarks/results/")
    options = parser.parse_args()
    figures = measure()
    print(as_markdown(figures), file=sys.stderr)
    if options.write:
        (RESULTS / f"{date.today().isoformat()}-fov.md").write_text(as_markdown(figures))
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
