"""How the pipeline grows: one long video on several Editors, a catalog on many, and what an archive would take.

The metric is the speed-up over one Editor, the ceiling what the schedule allows (`model/schedule.py`) for one video,
and the number of Editors for a catalog. Editors are stand-ins that wait (`model/rehearsal.py`); no real weights ran
here, so that the seconds of a segment are a parameter. What the driver spends on a segment is processor time, which
hardly depends on what else the machine does.

    python benchmarks/scale.py [--short] [--json] [--write]
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from flows.environment import prepare_environment
from reporting import Figures, page, parser, publish, say, table, tidy, told

PRIVATE = "private MB of an Editor"
ARCHIVE_HOURS = 10_000
FRAMES_A_SECOND = 24
SEGMENT_SECONDS = (20, 60, 180)
FINISH_DAYS = 30
GPU_HOUR = 1.0  # money, in whatever unit: multiply
SEGMENTS_AN_HOUR = 3600 * FRAMES_A_SECOND / 80  # windows of 81 frames that share one


def archive(figures: Figures) -> Figures:
    """What 10,000 hours would take, at several seconds a segment."""
    segments = ARCHIVE_HOURS * SEGMENTS_AN_HOUR
    real, watching = figures["real window"], figures["catalog"]["driver milliseconds a second of an Editor at work"]
    driver = real["driver s a segment"]
    rows = {}
    for seconds in SEGMENT_SECONDS:
        hours = segments * seconds / 3600
        fed = 1 / (driver / seconds + watching / 1000)
        editors = hours / (24 * FINISH_DAYS)
        rows[seconds] = {
            "Editor hours": tidy(hours),
            "money": tidy(hours * GPU_HOUR),
            f"Editors to finish in {FINISH_DAYS} days": tidy(editors),
            "Editors a driver core feeds": tidy(fed),
            "driver cores needed": tidy(editors / fed),
        }
    sizes = real["bytes a segment"] | {"prefect": figures["growth"]["prefect bytes a segment"]}
    return {
        "segments": round(segments),
        "by seconds a segment": rows,
        "bytes a video-hour": {name: round(size * SEGMENTS_AN_HOUR) for name, size in sizes.items()},
        "terabytes": {name: tidy(size * segments / 1e12) for name, size in sizes.items()},
    }


def as_markdown(figures: Figures) -> str:
    """The page."""
    sections = [*_video_section(figures["one video"]), *_catalog_section(figures["catalog"])]
    if "archive" in figures:
        sections += [*_growth_section(figures["growth"]), *_real_section(figures["real window"])]
        sections += _archive_section(figures["archive"])
    return page("Scale", *sections)


def _video_section(figures: Figures) -> list[str]:
    head = ["schedule", "seconds", "least seconds", "speed-up", "bound", "share of the bound"]
    cells = [
        [name, told(row["seconds"], " s"), row["least seconds"], told(row["speed-up"]), *map(row.get, head[4:])]
        for name, row in figures["runs"].items()
    ]
    repetitions = next(iter(figures["runs"].values()))["seconds"]["n"]
    few = ": one takes minutes, hence fewer than five" if repetitions < 5 else ""
    what = f"{figures['segments']} segments of {figures['seconds a segment']:g} s"
    first = f"{what}; median (least-most) of {repetitions} repetitions{few}."
    why = (
        "The least seconds are those of Editors that never wait, in the order that the schedule allows; the share of "
        "the bound is in parts of them. The speed-up is over the measured sequence, whose own waits count against it."
    )
    return ["## One video", f"{first} {why}", table(head, cells)]


def _catalog_section(figures: Figures) -> list[str]:
    runs = figures["runs"]
    head = [name for name in runs[0] if name != "by process"]
    watching = figures["driver milliseconds a second of an Editor at work"]
    facts = (
        f"An Editor's process holds {told(figures[PRIVATE], ' MB')} of its own. "
        f"An Editor at work costs the driver {watching} ms of processor time a second, whatever it does."
    )
    kinds = sorted(runs[0]["by process"])
    by_kind = [
        [run["editors"], run["seconds a segment"], *(run["by process"].get(kind, 0) for kind in kinds)] for run in runs
    ]
    return [
        "## A catalog",
        facts,
        table(head, [[run[name] for name in head] for run in runs]),
        "Processor seconds a segment, by process:",
        table(["editors", "seconds a segment", *kinds], by_kind),
    ]


def _growth_section(figures: Figures) -> list[str]:
    sections = ["## Growth, at 5 frames of 64 x 64"]
    for what in ("segments of the video", "memories recalled", "videos of the catalog"):
        rows = figures[what]
        first = next(iter(rows.values()))
        head = [what, *(name for name in first if name != "bytes a segment"), *first["bytes a segment"]]
        cells = [
            [count, *(row[name] for name in first if name != "bytes a segment"), *row["bytes a segment"].values()]
            for count, row in rows.items()
        ]
        sections.append(table(head, cells))
    by_video, by_segment = figures["driver s a video"], figures["driver s a small segment"]
    kept = (
        f"{figures['prefect bytes a video']:g} bytes of a video and {figures['prefect bytes a segment']:g} of a segment"
    )
    return [
        *sections,
        f"The driver spends {by_video} s on a video, and {by_segment} s on each small segment of it. "
        f"Prefect's database keeps {kept}.",
    ]


def _real_section(figures: Figures) -> list[str]:
    few, many = figures["segments"]
    sizes = figures["bytes a segment"]
    latents = figures["latents measured in parts of it"]
    return [
        "## A segment of the real window, 81 frames of 832 x 480",
        f"From the difference of videos of {few} and {many} segments.",
        table(["process", "processor s a segment"], list(figures["processor s a segment"].items())),
        f"The driver and its programs: {figures['driver s a segment']} s; all: {figures['all s a segment']} s.",
        table(["what", "bytes a segment", "MB a video-hour"], [[*row, _hourly(row[1])] for row in sizes.items()]),
        f"Latents by arithmetic: {figures['latents by arithmetic']}; the table holds {latents} times as much.",
    ]


def _hourly(size: int) -> float:
    return tidy(size * SEGMENTS_AN_HOUR / 1e6)


def _archive_section(figures: Figures) -> list[str]:
    rows = figures["by seconds a segment"]
    head = ["seconds a segment", *next(iter(rows.values()))]
    return [
        f"## An archive of {ARCHIVE_HOURS} hours at {FRAMES_A_SECOND} frames a second",
        f"{figures['segments']} segments. Seconds a segment and the price of an hour ({GPU_HOUR:g}) are parameters.",
        table(head, [[seconds, *row.values()] for seconds, row in rows.items()]),
        table(["what", "TB"], list(figures["terabytes"].items())),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        _prepare(Path(name))
        import ray

        from scale_measures import FULL, SHORT, measure
        from tasks.cluster import start_cluster

        started = time.perf_counter()
        start_cluster()
        figures = measure(SHORT if options.short else FULL, Path(name))
        ray.shutdown()
        say(f"{time.perf_counter() - started:.0f} s")
    if not options.short:
        figures["archive"] = archive(figures)
    publish("scale", figures, as_markdown(figures), options)


def _prepare(folder: Path) -> None:
    """Caches and databases of this run's own; Ray and Prefect read the environment once, when they are imported."""
    os.environ |= {"XDG_DATA_HOME": str(folder / "data"), "XDG_CACHE_HOME": str(folder / "cache")}
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads than cores, of several processes, are slow
    prepare_environment()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--short", action="store_true", help="one video and a catalog on one Editor and two: a minute")
    return options.parse_args(arguments)


if __name__ == "__main__":
    main()
