"""When a cold `memory-v2v edit` gets to work: Ray, Prefect's server, the weights, the first segment.

The metric is the time until the first segment reaches the Editor, in parts of the slowest that it cannot do without,
were all begun at once: Prefect's server; Ray, then the weights; Ray, then the first segment decoded and described.
The ceiling is 1. Each run is a process of its own, with a Ray and a server of its own; the clock starts before Python
does. The model is the untrained toy one, so that what "weights" takes is the libraries around them.

    python benchmarks/startup.py [--runs 3] [--json] [--write]
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from reporting import ROOT, Figures, page, parser, publish, say, spread, table, told

CLIP = ROOT / "tests" / "garden.mp4"
RUNS = 3  # of half a minute each
STARTED = "STARTUP_BENCHMARK_STARTED"  # when the process was begun
MOMENTS = {
    "understood": "the request is understood: imports, probing, hashes",
    "ray": "Ray is ready",
    "prefect": "Prefect's server is ready",
    "actors": "the Editor and its weights are asked for",
    "weights": "the weights are loaded",
    "prepared": "the first segment is decoded, described and searched for",
    "begun": "the first segment reaches the Editor",
    "edited": "the first segment is edited",
}


class Clock:
    """Notes when things happen for the first time."""

    def __init__(self, started: float) -> None:
        self._started = started
        self.moments: dict[str, float] = {}

    def note(self, name: str) -> None:
        self.moments.setdefault(name, round(time.time() - self._started, 3))

    def around(self, place: Any, name: str, begins: str = "", ends: str = "") -> None:
        """Note when a function of a module or a class is first called, and when it first returns."""
        function = getattr(place, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            if begins:
                self.note(begins)
            result = function(*arguments, **named)
            if ends:
                self.note(ends)
            return result

        setattr(place, name, timed)

    def after(self, place: Any, name: str, watch: Callable[[Any], None]) -> None:
        """Hand the result of a function to `watch`, in a thread of its own."""
        function = getattr(place, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            threading.Thread(target=watch, args=(result,), daemon=True).start()
            return result

        setattr(place, name, watched)


def run_once(out: Path) -> None:
    """One edit in this process, which is fresh; prints when what happened."""
    clock = Clock(float(os.environ[STARTED]))
    from flows.environment import prepare_environment

    prepare_environment()
    import ray

    import flows.edit as flow
    from flows.cli import main as run_cli
    from tasks import cluster
    from tasks.editor_handle import EditorHandle
    from tasks.pool import EditorPool
    from tasks.recall import TextTurn

    def load(pool: EditorPool) -> None:
        ray.get(pool._all[0].actor.load.remote())
        clock.note("weights")

    clock.around(flow, "understand", ends="understood")
    clock.around(cluster, "start_ray", begins="ray_begun", ends="ray")
    clock.around(cluster, "start_prefect", begins="prefect_begun", ends="prefect")
    clock.around(flow, "start_editors", ends="actors")
    clock.after(flow, "start_editors", load)
    clock.around(TextTurn, "look", begins="decoded", ends="prepared")
    clock.around(EditorHandle, "edit", begins="begun", ends="edited")
    sys.argv[1:] = ["edit", str(CLIP), "--prompt", "give the ball a new colour", "--weights", "untrained"]
    sys.argv += ["--out", str(out)]
    with suppress(SystemExit):
        run_cli()
    print(json.dumps(clock.moments))


def run_fresh(folder: Path, number: int) -> dict[str, float]:
    """One edit in a process of its own: seconds from its start to each moment."""
    command = [sys.executable, __file__, "--into", str(folder / f"out-{number}")]
    environment = {**os.environ, STARTED: str(time.time())}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    moments = json.loads(done.stdout.splitlines()[-1])
    say(", ".join(f"{name} {seconds:.1f}" for name, seconds in sorted(moments.items(), key=lambda one: one[1])))
    return moments


def slowest(moments: dict[str, float]) -> float:
    """Seconds of the slowest that the first segment cannot do without, were all begun at once."""
    ray = moments["ray"] - moments["ray_begun"]
    weights, prepared = (moments[name] - moments["actors"] for name in ("weights", "prepared"))
    return max(moments["prefect"] - moments["prefect_begun"], ray + weights, ray + prepared)


def summarise(runs: list[dict[str, float]]) -> Figures:
    """All figures of some runs."""
    return {
        "moments": {name: spread([run[name] for run in runs]) for name in MOMENTS},
        "slowest": spread([slowest(run) for run in runs]),
        "ratio": spread([run["begun"] / slowest(run) for run in runs]),
    }


def measure(runs: int) -> Figures:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"XDG_DATA_HOME": str(folder / "data"), "XDG_CACHE_HOME": str(folder / "cache")}
        run_fresh(folder, 0)  # makes the toy model and Prefect's database, which a first run alone would pay
        return summarise([run_fresh(folder, 1 + number) for number in range(runs)])


def as_markdown(figures: Figures) -> str:
    """The page."""
    rows = [[what, told(figures["moments"][name])] for name, what in MOMENTS.items()]
    count = figures["ratio"]["n"]
    return page(
        "How an edit starts",
        f"Seconds from the start of the process; medians of {count} runs, in brackets least and most.",
        table(("moment", "seconds"), rows),
        f"The slowest of what the first segment needs takes {told(figures['slowest'], ' s')}; "
        f"it reaches the Editor after {told(figures['ratio'])} times that.",
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=RUNS)
    options.add_argument("--into", type=Path, help="make one run in this process, into this folder")
    chosen = options.parse_args()
    if chosen.into:
        run_once(chosen.into)
        return
    figures = measure(chosen.runs)
    publish("startup", figures, as_markdown(figures), chosen)


if __name__ == "__main__":
    main()
