"""How fast VideoFOV is on one core: seeing a trajectory, and ranking many that were seen before.

The metrics are milliseconds for 81 frames x 64,800 directions, and for ranking 1,000 cached trajectories from their
packed bitmaps; the ceilings are 150 and 20, below what a user notices between two turns. Figures are processor time of
one thread, which on a machine of its own is the time one waits: the median and the best of many runs.

    OMP_NUM_THREADS=1 python benchmarks/fov.py [--json] [--write]
"""

import os
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from model.camera.fov import cover, rank, video_fov
from model.camera.presets import PRESETS, preset
from model.camera.projection import Intrinsics
from reporting import Figures, page, parser, publish, table

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


def measure() -> Figures:
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


def as_markdown(figures: Figures) -> str:
    """The page."""
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    rows = [(name, each["median"], each["best"], CEILINGS.get(name, "")) for name, each in figures.items()]
    head = ("milliseconds", "median", "best", "ceiling")
    return page("VideoFOV", f"Threads: {threads}; numpy {np.__version__}.", table(head, rows))


def main() -> None:
    options = parser(__doc__).parse_args()
    figures = measure()
    publish("fov", figures, as_markdown(figures), options)


if __name__ == "__main__":
    main()
