"""How a catalog's run scales: are Editors kept at work, what lies between two segments, what grows, was the plan right?

The metric is the share of the time in which Editors are at work; the ceiling is 1. The model is a rehearsal that waits
as long as a segment would take (`model/rehearsal.py`); decoding, retrieval, commits, stitching and pages are real, on
clips of 64 x 64. A first, smaller run calibrates the plan of the second, which is the one that is measured.

    python benchmarks/catalog_scale.py [--videos 60] [--segments 8] [--editors 2] [--seconds 1] [--json] [--write]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from reporting import Figures, page, parser, publish, table
from storage.ffmpeg import find_ffmpeg

STEP = 4  # frames by which a window of the rehearsal's advances
CALIBRATION = 6  # videos of the first run
SAMPLE_SECONDS = 1.0


def write_catalog(folder: Path, videos: int, segments: int) -> Path:
    """A manifest of one clip under many names, which are links to it."""
    folder.mkdir()
    clip, frames = folder / "clip.mp4", STEP * segments + 1
    chart = f"testsrc2=size=64x64:rate=24:duration={frames / 24},trim=end_frame={frames}"
    command = [str(find_ffmpeg()), "-v", "error", "-f", "lavfi", "-i", chart, "-c:v", "libx264", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, str(clip)], check=True)
    lines = []
    for number in range(videos):
        name = f"take-{number:05d}"
        os.link(clip, folder / f"{name}.mp4")
        lines.append(json.dumps({"video_id": name, "uri": f"{name}.mp4", "turns": [{"prompt": "make it night"}]}))
    path = folder / "catalog.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def command(verb: str, manifest: Path, editors: int, seconds: float) -> list[str]:
    """A `memory-v2v catalog` command over a manifest."""
    options = ["--out", str(manifest.parent / "out"), "--weights", f"rehearsal:{seconds:g}", "--editors", str(editors)]
    return [sys.executable, "-m", "flows.cli", "catalog", verb, str(manifest), *options, "--json"]


def run_watched(manifest: Path, editors: int, seconds: float) -> dict[str, Any]:
    """One run: its record, its seconds from command to end, and the private memory of its process by time."""
    started, samples = time.time(), []
    with (manifest.parent / "stdout").open("w") as stdout:
        run = subprocess.Popen(command("run", manifest, editors, seconds), stdout=stdout)
        process = psutil.Process(run.pid)
        while run.poll() is None:
            try:
                memory = process.memory_info()
                samples.append((memory.rss - memory.shared) / 1e6)
            except psutil.NoSuchProcess:
                break
            time.sleep(SAMPLE_SECONDS)
        run.wait()
    record = json.loads((manifest.parent / "stdout").read_text().splitlines()[-1])
    return {"record": record, "seconds": time.time() - started, "driver_mb": samples}


def measure(videos: int, segments: int, editors: int, seconds: float) -> Figures:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"XDG_DATA_HOME": str(folder / "data"), "XDG_CACHE_HOME": str(folder / "cache")}
        run_watched(write_catalog(folder / "first", CALIBRATION, segments), editors, seconds)
        database = folder / "data" / "memory-v2v" / "prefect" / "prefect.db"
        before = database_bytes(database)
        manifest = write_catalog(folder / "second", videos, segments)
        planning = subprocess.run(
            command("plan", manifest, editors, seconds), check=True, capture_output=True, text=True
        )
        plan = json.loads(planning.stdout.splitlines()[-1])
        done = run_watched(manifest, editors, seconds)
        grown = database_bytes(database) - before
    record, memory = done["record"], done["driver_mb"]
    third = len(memory) // 3
    middle, end = max(memory[third : 2 * third]), max(memory[2 * third :])
    return {
        "videos": record["videos"],
        "segments": record["segments"],
        "editors": editors,
        "seconds_a_segment": seconds,
        "editor_utilisation": round(record["editor_utilisation"], 4),
        "overhead_p50_ms": record["overhead_p50_ms"],
        "overhead_p95_ms": record["overhead_p95_ms"],
        "seconds": round(done["seconds"], 1),
        "planned_seconds": round(plan["finish_seconds"], 1),
        "plan_error": round(plan["finish_seconds"] / done["seconds"] - 1, 3),
        "driver_mb": {"second third": round(middle), "last third": round(end)},
        "prefect_database_kb_a_video": round(grown / videos / 1e3, 1),
    }


def database_bytes(path: Path) -> int:
    """Prefect's database, with what is not merged into it yet."""
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


def as_markdown(figures: Figures) -> str:
    """The page."""
    rows = [(name.replace("_", " "), json.dumps(value)) for name, value in figures.items()]
    return page(f"A catalog of {sum(figures['videos'].values())} videos", table(("figure", "value"), rows))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--videos", type=int, default=60)
    options.add_argument("--segments", type=int, default=8)
    options.add_argument("--editors", type=int, default=2)
    options.add_argument("--seconds", type=float, default=1.0, help="that a segment takes")
    chosen = options.parse_args()
    figures = measure(chosen.videos, chosen.segments, chosen.editors, chosen.seconds)
    publish(f"catalog-{sum(figures['videos'].values())}", figures, as_markdown(figures), chosen)


if __name__ == "__main__":
    main()
