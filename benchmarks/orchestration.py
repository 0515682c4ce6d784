"""What the pipeline costs around the model: cold start, wait between segments, memory over length, `--help`.

The metric is the Editor's median wait between two segments; the ceiling is nothing at all. Every run is a process
of its own with the untrained toy model, so that nothing is warm.

    python benchmarks/orchestration.py [--json] [--write]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from reporting import ROOT, Figures, page, parser, publish, table
from storage.ffmpeg import find_ffmpeg

CLIP = ROOT / "tests" / "garden.mp4"
LENGTHS = (1, 10)
HELP_RUNS = 5


def measure_help() -> float:
    """Median seconds of `memory-v2v --help`."""
    times = []
    for _ in range(HELP_RUNS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "flows.cli", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return median(times)


def repeat_clip(times: int, folder: Path) -> Path:
    """The clip `times` in a row."""
    path = folder / f"clip_x{times}.mp4"
    command = [
        str(find_ffmpeg()),
        "-v",
        "error",
        "-stream_loop",
        str(times - 1),
        "-i",
        str(CLIP),
        "-c",
        "copy",
        str(path),
    ]
    subprocess.run(command, check=True)
    return path


def run_edit(video: Path, out: Path) -> dict[str, object]:
    """The report of one edit in a fresh process."""
    command = [sys.executable, "-m", "flows.cli", "edit", str(video), "--prompt", "give the ball a new colour"]
    command += ["--weights", "untrained"]
    done = subprocess.run([*command, "--out", str(out), "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure() -> Figures:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_edit(CLIP, folder / "warm")  # builds the toy model, which a first run alone would pay
        runs = {times: run_edit(repeat_clip(times, folder), folder / f"out{times}") for times in LENGTHS}
    short, long = runs[LENGTHS[0]], runs[LENGTHS[1]]
    peaks = {kind: (short["peak_mb"][kind], long["peak_mb"][kind]) for kind in short["peak_mb"]}  # type: ignore[index]
    return {
        "help_seconds": round(measure_help(), 2),
        "first_segment_seconds": short["first_segment_seconds"],
        "overhead_ms": {f"{runs[times]['segments']} segments": runs[times]["overhead_ms"] for times in LENGTHS},
        "peak_mb": {
            kind: {"short": one, "long": ten, "ratio": round(ten / one, 3)} for kind, (one, ten) in peaks.items()
        },
        "seconds": {f"{runs[times]['segments']} segments": runs[times]["seconds"] for times in LENGTHS},
    }


def as_markdown(figures: Figures) -> str:
    """The page."""
    rows = [(name, json.dumps(value)) for name, value in figures.items()]
    return page("Orchestration", table(("figure", "value"), rows))


def main() -> None:
    options = parser(__doc__).parse_args()
    figures = measure()
    publish("orchestration", figures, as_markdown(figures), options)


if __name__ == "__main__":
    main()
