"""Measure finished videos, several at once, and write every measurement down; what was measured is not measured again.

A measurement is named by all that it depends on: the content of the files, the plan of segments, and the instruments.
`measure_video` looks at one video; `model/metrics/video_scores.py` says what is looked at.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from model.errors import InputError, MemoryV2VError, RequestError, RunError, first_line
from model.metrics.catalogue import CATALOGUE, InstrumentSet, missing
from model.metrics.score import Measurement, NotMeasured, Score
from model.metrics.video_scores import score_video
from model.metrics.view_pairs import flow_view_distance, met3r
from model.types import Span
from storage.content_id import hash_folder, hash_source, identify
from storage.edited_videos import EditedVideo
from storage.ffmpeg import has_filter
from storage.geometry import scaled
from storage.originals import find_original
from storage.probe import VideoInfo, probe
from storage.records import add_records, read_records
from storage.video import eight_bits, read_frames, read_spans
from storage.vmaf import vmaf
from tasks.actors.judge import measure_together
from tasks.progress import CountedProgress
from tasks.terminal import LINE_SECONDS, Every, say

EDITION = 1  # of measurements: counted up when a metric changes
VIEW_PAIRS = 16  # moments at which two views are compared
OF_THE_SOURCE = (
    *("flickering_beyond_source", "flicker", "worst_burst", "worst_seam", "colour_drift"),
    *("psnr", "ssim", "st_lpips", "vmaf"),
)
OF_VIEWS = {"met3r", "flow_view_distance"}
CAMERAS = "needs the cameras of the view, recovered from its pictures by another program, such as COLMAP or MegaSaM"
NO_SOURCE = "a novel view has no source with the same picture"
NO_PAIR = "needs two turns of novel views of one video in one session"
SMALL_COPY = "needs the original at full size; name it with --source"

Scores = dict[str, Measurement]


@dataclass(frozen=True)
class Instruments:
    """Where the weights of metrics lie, and where they run; `id` names them and what else a measurement needs."""

    folder: Path | None
    device: str
    id: str


@dataclass(frozen=True)
class MeasureJob:
    """What is looked at: an edited video, and what it is held against.

    `is_copy`: not the original, but the review page's small copy of it; the edit is then scaled to its size. `earlier`
    are the videos of earlier novel views of the session.
    """

    key: str
    edit: EditedVideo
    source: Path
    is_copy: bool
    earlier: tuple[Path, ...]
    instruments: Instruments


def find_instruments(folder: Path | None, device: str, cache: Path) -> Instruments:
    """Name a folder of instruments.

    Raises:
        RequestError: there is no such folder.
    """
    if folder is not None and not folder.is_dir():
        raise RequestError(f"--instruments {folder}: no such folder; docs/metrics.md says what goes into it")
    able = {metric: missing(metric, folder) for metric in CATALOGUE} | {"libvmaf": has_filter("libvmaf")}
    content = hash_folder(folder, cache) if folder else None
    return Instruments(folder, device, identify({"able": able, "content": content}))


@dataclass(frozen=True)
class Refused:
    """A video that cannot be measured, and why."""

    edit: EditedVideo
    fault: MemoryV2VError

    def __str__(self) -> str:
        path, told = str(self.edit.path), first_line(self.fault)
        return told if told.startswith(path) else f"{path}: {told}"


def plan_jobs(
    edits: Sequence[EditedVideo], original: Path | None, instruments: Instruments, cache: Path
) -> list[MeasureJob | Refused]:
    """What is measured of each video, and against what: the original where it is at hand, else the copy on the review
    page. One without either, or whose original has changed, is refused.

    Raises:
        RequestError: all are refused, or the original belongs to none.
    """
    if original is not None and not original.exists():
        raise RequestError(f"--source {original}: no such file or folder; give the video that was edited")
    planned = [_job(edit, edits, original, instruments, cache) for edit in edits]
    jobs = [job for job in planned if isinstance(job, MeasureJob)]
    refused = [one for one in planned if isinstance(one, Refused)]
    if original is not None and all(job.is_copy for job in jobs):
        why = str(refused[0]) if refused else "give the original"
        raise RequestError(f"--source {original}: none of the {len(edits)} videos was made of it; {why}")
    if not jobs:
        raise _none_of(refused)
    return planned


def _none_of(refused: Sequence[Refused]) -> MemoryV2VError:
    """What is raised where all videos are refused."""
    first = refused[0]
    if len(refused) == 1:
        return first.fault
    kind = RequestError if isinstance(first.fault, InputError) else RunError
    return kind(f"none of the {len(refused)} videos can be measured; {first}")


def _job(
    edit: EditedVideo, edits: Sequence[EditedVideo], original: Path | None, instruments: Instruments, cache: Path
) -> MeasureJob | Refused:
    try:
        found = _find_original(edit, original, cache)
    except RequestError as fault:
        return Refused(edit, fault)
    if found is None and not edit.proxy.is_file():
        told = f"{edit.path}: its review page has no copy of the source; name the original with --source"
        return Refused(edit, RequestError(told))
    source = found or edit.proxy
    earlier = _earlier_views(edit, edits)
    fields: dict[str, Any] = {
        "edition": EDITION,
        "edit": edit.entry.checksum,
        "kind": edit.turn.kind,
        "source": hash_source(source, cache),
        "copy": found is None,
        "segments": [[one.shot, one.span.start, one.span.stop] for one in edit.segments],
        "overlap": edit.overlap,
        "earlier": [one.entry.checksum for one in earlier],
        "instruments": instruments.id,
    }
    return MeasureJob(identify(fields), edit, source, found is None, tuple(one.path for one in earlier), instruments)


def _find_original(edit: EditedVideo, original: Path | None, cache: Path) -> Path | None:
    """The file with the very content that was edited: the one that is named, or one of its name in a folder."""
    if original is None:
        return None
    turn = edit.turn
    found = find_original(original, Path(turn.video).name, turn.source, lambda path: hash_source(path, cache))
    if found is None:
        return None
    path, content = found
    if content == turn.source:
        return path
    if original.is_dir():
        raise RequestError(f"{path}: is not the video that {edit.path.name} was made of; its content has changed")
    return None


def _earlier_views(edit: EditedVideo, edits: Sequence[EditedVideo]) -> list[EditedVideo]:
    turn = edit.turn
    if turn.kind != "view":
        return []

    def belongs(one: EditedVideo) -> bool:
        same = (one.folder, one.turn.session, one.turn.kind, one.turn.source)
        return same == (edit.folder, turn.session, "view", turn.source) and one.turn.number < turn.number

    return [one for one in edits if belongs(one)]


def measure_video(
    job: MeasureJob, tools: InstrumentSet | None = None, watch: Callable[[int], None] | None = None
) -> Scores:
    """Every metric of the catalogue, or why it has no number. `watch` is told how many frames were seen.

    Raises:
        RequestError: edit and source differ in size or length.
        VideoError: a video is damaged.
        WeightsError: an instrument that is there does not load.
    """
    source, edit = probe(job.source), probe(job.edit.path)
    _require_alike(job, source, edit)
    size = (source.width, source.height)
    is_view = job.edit.turn.kind == "view"
    shown, made = (partial(_frames, info, size, seen) for info, seen in ((source, None), (edit, watch)))
    scored = score_video(
        partial(_frames, edit, size, None) if is_view else shown,
        made, job.edit.shots, job.edit.segments, job.edit.overlap, tools,
    )  # fmt: skip
    scores: Scores = {**scored.scores, **dict.fromkeys(("rotation_error", "translation_error"), NotMeasured(CAMERAS))}
    if is_view:
        scores |= dict.fromkeys(OF_THE_SOURCE, NotMeasured(NO_SOURCE))
    else:
        scores["vmaf"] = NotMeasured(SMALL_COPY) if _differ(source, edit) else vmaf(source, edit)
    scores |= _compare_views(job, edit, tools)
    return {metric: scores[metric] for metric in CATALOGUE}


def _require_alike(job: MeasureJob, source: VideoInfo, edit: VideoInfo) -> None:
    if source.frames != edit.frames:
        raise RequestError(
            f"{job.edit.path}: has {edit.frames} frames, but its source {job.source} has {source.frames}; "
            "they must be equally long"
        )
    if _differ(source, edit) and not job.is_copy:
        sizes = [f"{info.width}x{info.height}" for info in (edit, source)]
        raise RequestError(f"{job.edit.path}: is {sizes[0]}, but its source {job.source} is {sizes[1]}; scale one")


def _differ(source: VideoInfo, edit: VideoInfo) -> bool:
    return (source.width, source.height) != (edit.width, edit.height)


def _frames(info: VideoInfo, size: tuple[int, int], watch: Callable[[int], None] | None) -> Iterator[np.ndarray]:
    """All frames `[height, width, 3]`, uint8, at a size (width, height)."""
    with closing(read_frames(info, Span(0, info.frames), scaled(info, *size), tone_map=info.hdr)) as frames:
        for number, frame in enumerate(frames, 1):
            yield eight_bits(frame)
            if watch is not None:
                watch(number)


def _compare_views(job: MeasureJob, edit: VideoInfo, tools: InstrumentSet | None) -> Scores:
    """What two views of one moment share, over all pairs of this view with an earlier one."""
    if not job.earlier:
        return dict.fromkeys(OF_VIEWS, NotMeasured(NO_PAIR))
    numbers = [int(number) for number in np.unique(np.linspace(0, edit.frames - 1, VIEW_PAIRS).round())]
    mine = _stills(edit, edit, numbers)
    pairs = [pair for path in job.earlier for pair in zip(mine, _stills(probe(path), edit, numbers), strict=True)]
    reason = missing("met3r", None) if tools is None else tools.missing("met3r")
    return {
        "flow_view_distance": flow_view_distance(pairs),
        "met3r": met3r(pairs, tools.view_distance) if tools and reason is None else NotMeasured(str(reason)),
    }


def _stills(info: VideoInfo, like: VideoInfo, numbers: Sequence[int]) -> list[np.ndarray]:
    spans = [Span(number, number + 1) for number in numbers if number < info.frames]
    return [eight_bits(still[0]) for still in read_spans(info, spans, scaled(info, like.width, like.height))]


@task(task_run_name="measure {name}", cache_policy=NO_CACHE, persist_result=False)
def measure_videos(jobs: Sequence[MeasureJob], records: Path, workers: int | None, name: str) -> list[Refused]:
    """Measure what is not written down yet, on several Judges at once. Returns what could not be measured.

    Raises:
        WeightsError: an instrument does not load.
        MemoryV2VError: no job has a measurement, for this reason.
    """
    left, faults = left_of(jobs, records), dict[str, MemoryV2VError]()
    with CountedProgress(name, len(left), f"evaluate-{identify({'name': name})[:12]}", "videos measured") as progress:
        for done, (key, gave) in enumerate(measure_together(left, workers or len(left)), 1):
            if isinstance(gave, MemoryV2VError):
                faults[key] = gave
            else:
                add_records(records, [record_fields(key, gave)])
            progress.show(done)
    return _refused(jobs, faults, records)


def measure_here(jobs: Sequence[MeasureJob], records: Path) -> list[Refused]:
    """The same in this process, without instruments: starting Ray takes longer than measuring a short video."""
    left, faults = left_of(jobs, records), dict[str, MemoryV2VError]()
    for number, job in enumerate(left, 1):
        told = f"{job.edit.path.name} ({number} of {len(left)})"
        try:
            scores = measure_video(job, watch=_every_few_seconds(told, job.edit.shots[-1].span.stop))
        except MemoryV2VError as fault:
            faults[job.key] = fault
        else:
            add_records(records, [record_fields(job.key, scores)])
    return _refused(jobs, faults, records)


def _refused(jobs: Sequence[MeasureJob], faults: Mapping[str, MemoryV2VError], records: Path) -> list[Refused]:
    refused = [Refused(job.edit, faults[job.key]) for job in jobs if job.key in faults]
    known = read_measurements(records) if refused else {}
    if refused and not any(job.key in known for job in jobs):
        raise _none_of(refused)
    return refused


def _every_few_seconds(name: str, total: int) -> Callable[[int], None]:
    lines = Every(LINE_SECONDS, later=True)

    def watch(done: int) -> None:
        if lines.due():
            say(f"{name}: {done} of {total} frames")

    return watch


def left_of(jobs: Sequence[MeasureJob], records: Path) -> list[MeasureJob]:
    """The jobs that nothing is written down of, each once, the longest first."""
    known = read_measurements(records)
    left = {job.key: job for job in jobs if job.key not in known}
    return sorted(left.values(), key=lambda job: -job.edit.shots[-1].span.stop)


def record_fields(key: str, scores: Scores) -> dict[str, Any]:
    """One line of the file of measurements."""
    return {"key": key, "scores": {metric: asdict(score) for metric, score in scores.items()}}


def read_measurements(records: Path) -> dict[str, Scores]:
    """What was measured so far, by key."""
    return {line["key"]: {name: _score(one) for name, one in line["scores"].items()} for line in read_records(records)}


def _score(fields: Mapping[str, Any]) -> Measurement:
    return NotMeasured(**fields) if "reason" in fields else Score(**fields)
