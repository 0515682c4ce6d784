"""What `benchmarks/scale.py` measures, as figures by name. Prefect and Ray run, in an environment of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from processes import private_megabytes
from reporting import Figures, ratio, say, spread, tidy
from scale_runs import REAL, Done, Stage, run_catalog, run_video, stage, watch_editors

LATENT_BYTES = 2 * 2 * 16 * 21 * 60 * 104  # edited and source, float16, of Wan2.1's codec at 81 x 480 x 832


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    repetitions: int
    video_segments: int
    video_seconds: float
    video_editors: tuple[int, ...]
    anchors: int
    catalog_seconds: float
    catalog_editors: tuple[int, ...]
    videos_an_editor: int
    catalog_segments: int
    shorter: tuple[float, ...]
    shorter_editors: int
    lengths: tuple[int, ...]
    memories: tuple[int, ...]
    catalogs: tuple[int, ...]
    real_segments: tuple[int, ...]


FULL = Size(
    repetitions=3,
    video_segments=64,
    video_seconds=1.0,
    video_editors=(2, 4, 8),
    anchors=7,
    catalog_seconds=8.0,
    catalog_editors=(1, 2, 4, 8, 16, 32, 64),
    videos_an_editor=2,
    catalog_segments=2,
    shorter=(2.0, 0.5),
    shorter_editors=16,
    lengths=(16, 64, 256),
    memories=(0, 1, 4, 16),
    catalogs=(8, 32, 128),
    real_segments=(2, 8),
)
SHORT = Size(
    repetitions=1,
    video_segments=20,
    video_seconds=0.4,
    video_editors=(2,),
    anchors=2,
    catalog_seconds=0.5,
    catalog_editors=(1, 2),
    videos_an_editor=2,
    catalog_segments=4,
    shorter=(),
    shorter_editors=0,
    lengths=(),
    memories=(),
    catalogs=(),
    real_segments=(),
)


def measure(size: Size, folder: Path) -> Figures:
    """All figures; Ray and Prefect run."""
    figures: Figures = {"one video": measure_video(size, folder), "catalog": measure_catalog(size, folder)}
    if size is SHORT:
        return figures
    return {**figures, "growth": measure_growth(size, folder), "real window": measure_real(size, folder)}


def measure_video(size: Size, folder: Path) -> Figures:
    """One video in sequence on one Editor, and by anchors on several, in turn."""
    plans = [("sequential", 1), *((f"anchors:{size.anchors}", editors) for editors in size.video_editors)]
    runs: dict[tuple[str, int], list[Done]] = {plan: [] for plan in plans}
    for repetition in range(size.repetitions):
        for schedule, editors in plans if repetition % 2 == 0 else reversed(plans):
            done = run_video(folder, size.video_segments, size.video_seconds, schedule, editors)
            say(f"one video, {schedule} on {editors}: {done.span:.1f} s")
            runs[schedule, editors].append(done)
    base = [run.span for run in runs[plans[0]]]
    rows = {f"{schedule} on {editors}": _video_row(done, base, size) for (schedule, editors), done in runs.items()}
    return {"segments": size.video_segments, "seconds a segment": size.video_seconds, "runs": rows}


def speed_up(segments: int, anchors: int, editors: int) -> float:
    """How much sooner `segments` segments are done by `anchors:K` than in sequence: S / (K + ceil((S - K) / W)).

    All segments taking the same time; `anchors` is at most `segments`.
    """
    return segments / (anchors + ceil((segments - anchors) / editors))


def _video_row(done: Sequence[Done], base: Sequence[float], size: Size) -> Figures:
    anchors = size.video_segments if done[0].editors == 1 else size.anchors
    bound = speed_up(size.video_segments, anchors, done[0].editors)
    least, seconds = size.video_segments * size.video_seconds / bound, spread([run.span for run in done])
    return {
        "seconds": seconds,
        "least seconds": tidy(least),
        "speed-up": ratio(base, [run.span for run in done]),
        "bound": tidy(bound),
        "share of the bound": tidy(least / seconds["median"]),
    }


def measure_catalog(size: Size, folder: Path) -> Figures:
    """A catalog on more and more Editors, then with shorter and shorter segments, and Editors that are only watched."""
    with stage(folder, size.catalog_seconds, max(size.catalog_editors)) as on:
        held = private_megabytes("editors")
        runs = [_run(on, editors, size) for editors in size.catalog_editors]
        watched = watch_editors(on, max(size.catalog_editors))
    for seconds in size.shorter:
        with stage(folder, seconds, size.shorter_editors) as on:
            runs.append(_run(on, size.shorter_editors, size))
    return {
        "private MB of an Editor": spread(held),
        "driver milliseconds a second of an Editor at work": tidy(1000 * watched.driver / watched.busy),
        "runs": [_catalog_row(run) for run in runs],
    }


def _run(on: Stage, editors: int, size: Size) -> Done:
    done = run_catalog(on, editors, size.videos_an_editor * editors, size.catalog_segments)
    say(f"catalog of {done.videos} on {editors}, {on.seconds:g} s: {done.rate:.2f} of {done.ideal:.2f} a second")
    return done


def _catalog_row(run: Done) -> Figures:
    return {
        "editors": run.editors,
        "seconds a segment": run.seconds,
        "segments a second": tidy(run.rate),
        "ideal": tidy(run.ideal),
        "share of the ideal": tidy(run.rate / run.ideal),
        "Editors at work": tidy(run.busy / run.editors / run.span),
        "a second, beginning to end": tidy(run.segments / run.wall),
        **_processor(run),
    }


def _processor(run: Done) -> Figures:
    """Processor seconds a segment, and cores at work: ours and those of the rest of the machine."""
    return {
        "driver s a segment": tidy(run.driver / run.segments),
        "all s a segment": tidy(run.all_processes / run.segments),
        "driver cores": tidy(run.driver / run.wall),
        "our cores": tidy(run.all_processes / run.wall),
        "others' cores": tidy(run.others / run.wall),
        "by process": {kind: tidy(seconds / run.segments) for kind, seconds in sorted(run.by_kind.items())},
    }


def measure_growth(size: Size, folder: Path) -> Figures:
    """What a small segment costs by the length of its video, the memories it recalls, and the catalog around it."""
    waiting = 0.05
    run_video(folder, min(size.lengths), waiting)  # what a first run alone pays
    lengths = {length: run_video(folder, length, waiting) for length in size.lengths}
    memories = {count: run_video(folder, 64, waiting, top_k=count) for count in size.memories}
    with stage(folder, waiting, 2) as on:
        catalogs = {videos: run_catalog(on, 2, videos, 2) for videos in size.catalogs}
        few, many = run_catalog(on, 2, 16, 1), run_catalog(on, 2, 16, 9)
    a_segment = (many.driver - few.driver) / (many.segments - few.segments)
    return {
        "segments of the video": {length: _growth_row(run) for length, run in lengths.items()},
        "memories recalled": {count: _growth_row(run) for count, run in memories.items()},
        "videos of the catalog": {videos: _growth_row(run) for videos, run in catalogs.items()},
        "driver s a video": tidy(few.driver / few.videos - a_segment),
        "driver s a small segment": tidy(a_segment),
        **_prefect_growth(lengths[min(lengths)], lengths[max(lengths)]),
    }


def _prefect_growth(short: Done, long: Done) -> Figures:
    """Bytes that Prefect's database keeps, by the difference of two videos."""
    a_segment = (long.sizes["prefect"] - short.sizes["prefect"]) / (long.segments - short.segments)
    a_video = short.sizes["prefect"] - short.segments * a_segment
    return {"prefect bytes a segment": tidy(a_segment), "prefect bytes a video": tidy(a_video)}


def _growth_row(run: Done) -> Figures:
    wait = {"Editor's wait ms": run.overhead_ms} if run.overhead_ms is not None else {}
    sizes = {name: round(size / run.segments) for name, size in run.sizes.items()}
    return {**wait, "driver s a segment": tidy(run.driver / run.segments), "bytes a segment": sizes}


def measure_real(size: Size, folder: Path) -> Figures:
    """What a segment of the real window costs and leaves behind: from two lengths, so that what is once falls out."""
    few, many = (run_video(folder, segments, 1.0, window=REAL) for segments in size.real_segments)
    more = many.segments - few.segments
    kinds = {kind: tidy((many.by_kind[kind] - few.by_kind[kind]) / more) for kind in sorted(many.by_kind)}
    sizes = {
        name: round((many.sizes[name] - few.sizes.get(name, 0)) / more)
        for name in sorted(many.sizes.keys() - {"prefect"})
    }
    return {
        "segments": [few.segments, many.segments],
        "processor s a segment": kinds,
        "driver s a segment": tidy(kinds["driver"] + kinds["ffmpeg"]),
        "all s a segment": tidy(sum(kinds.values())),
        "bytes a segment": sizes,
        "latents by arithmetic": LATENT_BYTES,
        "latents measured in parts of it": tidy(sizes["latents"] / LATENT_BYTES),
    }
