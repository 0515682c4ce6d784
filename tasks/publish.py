"""Show what was done: the review page beside the video, a table and a report in Prefect."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePath
from statistics import mean
from typing import Any

import numpy as np
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from model.camera.plot import plot_trajectory
from model.config import RegionConfig
from model.metrics.drift import colour_change, edit_drift
from model.types import Span
from storage.ledger import Entry
from storage.probe import VideoInfo, probe
from storage.proxy import plays_in_browsers, read_stills, write_proxy
from storage.remembered import Remembered
from storage.review import EarlierMemory, Review, ReviewSegment, ReviewVideos, Turn, thumbnail, write_review
from storage.segment_file import read_segment
from storage.store import Store
from tasks.ingest import VideoPlan
from tasks.progress import show
from tasks.turn import SegmentRecord, TurnRecord

Still = np.ndarray
"""One frame [H, W, 3], uint8."""
TABLE_ROWS = 500  # a table artifact is one database row; longer turns are shown in full on the review page


def review_path(video: Path) -> Path:
    """Where the review page of an edited video lies."""
    return video.with_suffix(".html")


@task(task_run_name="publish {plan.work.info.path.name}", cache_policy=NO_CACHE, persist_result=False)
def publish(plan: VideoPlan, record: TurnRecord, video: Entry, store: Store[Any], seconds: float) -> float:
    """Write the review page, and leave a table and a report in Prefect. Returns the drift of the edit's colours."""
    path = store.path_of(video)
    review, drift = _review(plan, record, video, store, seconds)
    write_review(review, review_path(path))
    key, name = plan.work.fingerprint[:12], plain(video.path)
    show(create_table_artifact, _table(record), key=f"segments-{key}", description=f"Segments of {name}")
    show(create_markdown_artifact, _markdown(plan, record, video, seconds), key=f"report-{key}")
    return drift


def _review(
    plan: VideoPlan, record: TurnRecord, entry: Entry, store: Store[Any], seconds: float
) -> tuple[Review, float]:
    work, request, video = plan.work, plan.work.request, store.path_of(entry)
    folder = video.with_name(f"{video.stem}_review")
    folder.mkdir(exist_ok=True)
    source = write_proxy(work.info, folder / "source.mp4", tone_map=request.output.tone_map)
    result = probe(video)
    if not plays_in_browsers(result):
        result = write_proxy(result, folder / "result.mp4")
    info, segments, changes = work.info, [], []
    for done, (before, after) in zip(record.segments, _read_stills(record, source, result), strict=True):
        segments.append(_review_segment(done, before, after))
        changes.append(colour_change(before, after))
    review = Review(
        turn=Turn(video.name, work.title, record.turn, seconds, datetime.now(UTC)),
        videos=ReviewVideos(
            source=PurePath(source.path.relative_to(video.parent)),
            result=PurePath(result.path.relative_to(video.parent)),
            frames=info.frames,
            rate=info.rate,
            timecode=info.timecode,
            times=_times(info) if info.variable_rate else (),
        ),
        shots=plan.shots,
        segments=tuple(segments),
        earlier=_earlier_memories(record, store),
        conversions=(*_conversions(plan), *_finishing(plan, json.loads(entry.note))),
        settings=_settings(plan),
        camera=plot_trajectory(work.path) if work.path else None,
    )
    return review, edit_drift(np.stack(changes))


def _times(info: VideoInfo) -> tuple[float, ...]:
    return tuple(float((stamp - info.pts[0]) * info.time_base) for stamp in info.pts)


def _read_stills(record: TurnRecord, source: VideoInfo, result: VideoInfo) -> Iterator[tuple[Still, Still]]:
    """The frame in the middle of each segment, before and after."""
    middles = [_middle(done) for done in record.segments]
    return zip(read_stills(source, middles), read_stills(result, middles), strict=True)


def _review_segment(done: SegmentRecord, before: Still, after: Still) -> ReviewSegment:
    stills = (thumbnail(before), thumbnail(after))
    return ReviewSegment(done.id, done.segment, *stills, done.recalled, done.seconds, done.reused)


def _middle(done: SegmentRecord) -> int:
    return (done.segment.span.start + done.segment.span.stop) // 2


def _earlier_memories(record: TurnRecord, store: Store[Any]) -> tuple[EarlierMemory, ...]:
    """The memories of earlier turns that were recalled, each once."""
    here = {done.id for done in record.segments}
    recalled = {memory.id for done in record.segments for memory in done.recalled}
    return tuple(_earlier_memory(store.memory.row(id), store) for id in sorted(recalled - here))


def _earlier_memory(row: Remembered, store: Store[Any]) -> EarlierMemory:
    frame = next(iter(read_segment(store.segments / f"{row.id}.mkv")))
    picture = frame if frame.dtype == "uint8" else (frame >> 8).astype("uint8")
    return EarlierMemory(row.id, row.turn, Span(row.start, row.stop), row.title, thumbnail(picture))


def _conversions(plan: VideoPlan) -> tuple[str, ...]:
    """What was changed on the way besides the edit itself, as sentences."""
    info, request, inner = plan.work.info, plan.work.request, plan.work.fit.inner
    said = [f"The model worked at {inner.width}x{inner.height}; the result is scaled to {info.width}x{info.height}."]
    if info.interlaced:
        said.append(f"The source is interlaced ({info.interlaced}); the result is progressive.")
    if info.hdr:
        said.append("The source is HDR; it was tone-mapped to BT.709.")
    if info.rotation:
        said.append(f"The source is stored rotated by {info.rotation} degrees; the result is stored upright.")
    if info.variable_rate:
        said.append("The frame rate varies; every frame keeps its own time stamp.")
    if padded := sum(segment.padding > 0 for segment in plan.segments):
        said.append(
            f"Shots too short for a window of 4k+1 frames: {padded}. The last frame was repeated for the model."
        )
    if request.output.codec == "h264":
        said.append("H.264 is lossy; ask for --codec prores, dnxhr or ffv1 for a master.")
    return tuple(said)


def _finishing(plan: VideoPlan, note: Mapping[str, Any]) -> Iterator[str]:
    """How edited frames got the source's size, where they were not only enlarged (`tasks/stitch.py` notes it)."""
    output = plan.work.request.output
    if output.region.limited:
        yield f"{note['kept']:.1%} of the picture was not to be changed: there it is the source's own pixels."
    if output.transfer == "guided":
        share = mean(note["unexplained"])
        yield f"The edit's colours were carried to the source's detail; {share:.1%} of it is new, and was enlarged."


def _settings(plan: VideoPlan) -> dict[str, str]:
    work, request = plan.work, plan.work.request
    window, edit = request.window, request.edit
    first, later = (edit.sampling.scale(recalls) for recalls in (False, True))
    return {
        "model": work.weights.name,
        "weights": work.model_id[:16],
        "source": work.source_id[:16],
        "session": work.session,
        "edits": f"the result of turn {work.edits}" if work.edits else "the video itself",
        "seed": str(request.seed),
        "window": f"{window.frames} frames, overlap {window.overlap}, {window.width}x{window.height}",
        "recall": f"{request.retrieval.top_k} memories, by {work.recall_by}",
        "sampling": f"{edit.sampling.steps} steps, guidance {later:g}"
        + ("" if first == later else f", {first:g} where nothing is recalled"),
        "attention": edit.attention,
        "merging": edit.merging.mode,
        "numerics": f"{work.dtype} on {work.device}",
        "codec": request.output.codec,
        "region": _region(request.output.region),
        "transfer": request.output.transfer,
    }


def _region(region: RegionConfig) -> str:
    said = [f"mask {PurePath(region.mask).name}"] if region.mask else []
    return ", ".join(said + ["unchanged parts kept"] * region.keep_unchanged) or "everywhere"


def _table(record: TurnRecord) -> list[dict[str, object]]:
    return [
        {
            "segment": done.segment.index,
            "shot": done.segment.shot,
            "frames": f"{done.segment.span.start}-{done.segment.span.stop - 1}",
            "state": "reused" if done.reused else "edited",
            "seconds": round(done.seconds, 2),
            "recalled": ", ".join(f"{memory.id[:8]} ({memory.score:.2f}, {memory.reason})" for memory in done.recalled),
        }
        for done in record.segments[:TABLE_ROWS]
    ]


def _markdown(plan: VideoPlan, record: TurnRecord, video: Entry, seconds: float) -> str:
    edited = sum(not done.reused for done in record.segments)
    return "\n".join(
        [
            f"# {plain(video.path)}",
            "",
            f"> {plain(plan.work.title)}",
            "",
            f"{plan.work.info.frames} frames, {len(plan.shots)} shots, {len(plan.segments)} segments: "
            f"{edited} edited, {len(plan.segments) - edited} reused, {seconds:.1f} s.",
        ]
    )


def plain(text: str) -> str:
    """User's text that neither Markdown nor HTML takes for markup."""
    escaped = "".join(f"&#{ord(letter)};" if letter in "\\`*_{}[]<>()#+-!|~&" else letter for letter in text)
    return " ".join(escaped.split())
