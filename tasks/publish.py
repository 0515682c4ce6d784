"""Show what was done: the review page beside the video, a table and a report in Prefect."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import numpy as np
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from model.backbones.model_folder import read_preset
from model.camera.plot import plot_trajectory
from model.metrics.drift import EDIT_BOUND, colour_change, segment_drift
from model.types import Span
from storage.ledger import Entry
from storage.page import thumbnail
from storage.probe import VideoInfo, probe
from storage.proxy import plays_in_browsers, read_stills, write_proxy
from storage.remembered import Remembered
from storage.review import (
    EarlierMemory,
    Review,
    ReviewSegment,
    ReviewVideos,
    ShownScores,
    Turn,
    write_poster,
    write_review,
)
from storage.scores import write_scores
from storage.segment_file import first_frame
from storage.store import Store, review_folder, review_path
from storage.video import eight_bits
from storage.video_note import read_video_note
from tasks.account import settings_told
from tasks.gate import Verdict
from tasks.ingest import VideoPlan
from tasks.progress import show
from tasks.replay import replay
from tasks.turn import SegmentRecord, TurnRecord
from tasks.unsearched import unsearched
from tasks.words import count_text

Still = np.ndarray
"""One frame [H, W, 3], uint8."""
TABLE_ROWS = 500  # a table artifact is one database row; longer turns are shown in full on the review page


@unsearched
@task(task_run_name="publish {plan.work.info.path.name}", cache_policy=NO_CACHE, persist_result=False)
def publish(
    plan: VideoPlan,
    record: TurnRecord,
    video: Entry,
    store: Store[Any],
    seconds: float,
    verdict: Verdict | None = None,
) -> float:
    """Write the review page, and leave a table and a report in Prefect. Returns the drift of the edit's colours.

    What the gate found is written beside the page and shown on it, and comes first in the report; where it did not
    look, the page shows how far the colours of each segment drift.
    """
    path = store.path_of(video)
    if verdict is not None:
        write_scores(path, verdict.scores)
    review, drifts = _review(plan, record, video, store, seconds)
    shown = _judged(verdict) if verdict else _drift_scores(record, drifts)
    write_review(replace(review, scores=shown), review_path(path))
    key, name = plan.work.fingerprint[:12], plain(video.path)
    show(create_table_artifact, _table(record, verdict), key=f"segments-{key}", description=f"Segments of {name}")
    show(create_markdown_artifact, _markdown(plan, record, video, seconds, verdict), key=f"report-{key}")
    return float(drifts.max())


def _review(
    plan: VideoPlan, record: TurnRecord, entry: Entry, store: Store[Any], seconds: float
) -> tuple[Review, np.ndarray]:
    """What the page shows, and the drift of each segment's colours."""
    work, request, video = plan.work, plan.work.request, store.path_of(entry)
    folder = review_folder(video)
    folder.mkdir(exist_ok=True)
    source = write_proxy(work.info, folder / "source.mp4", tone_map=request.output.tone_map)
    result = probe(video)
    if not plays_in_browsers(result):
        result = write_proxy(result, folder / "result.mp4", sound=True)
    info, segments, changes = work.info, [], []
    earlier = _earlier_memories(record, store)
    known = {done.id for done in record.segments} | {one.id for one in earlier}
    for done, (before, after) in zip(record.segments, _read_stills(record, source, result), strict=True):
        segments.append(_review_segment(done, before, after, known))
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
            sound=bool(result.audio),
        ),
        shots=plan.shots,
        segments=tuple(segments),
        earlier=earlier,
        conversions=read_video_note(entry).conversions,
        settings=settings_told(plan),
        camera=plot_trajectory(work.path) if work.path else None,
        replay=replay(request, read_preset(work.weights), work.edits),
    )
    write_poster(segments[len(segments) // 2].edited, video)
    return review, segment_drift(np.stack(changes))


def _judged(verdict: Verdict) -> tuple[ShownScores, ...]:
    """What the gate found, as the page shows it."""
    bounds = verdict.config.bounds.model_dump()
    return tuple(
        ShownScores(one.index, one.scores, bounds, tuple(flag.sentence for flag in found))
        for one, found in zip(verdict.scores, verdict.flags, strict=True)
    )


def _drift_scores(record: TurnRecord, drifts: np.ndarray) -> tuple[ShownScores, ...]:
    return tuple(
        _drift_score(done.segment.index, float(drift)) for done, drift in zip(record.segments, drifts, strict=True)
    )


def _drift_score(index: int, drift: float) -> ShownScores:
    flag = (
        f"Its colours are {drift:.1f} away from those of the whole edit, more than {EDIT_BOUND:g}: "
        "see whether it went wrong here, or had little to change."
    )
    name, flags = "colour drift", (flag,) if drift > EDIT_BOUND else ()
    return ShownScores(index, {name: drift}, {name: EDIT_BOUND}, flags)


def _times(info: VideoInfo) -> tuple[float, ...]:
    return tuple(float((stamp - info.pts[0]) * info.time_base) for stamp in info.pts)


def _read_stills(record: TurnRecord, source: VideoInfo, result: VideoInfo) -> Iterator[tuple[Still, Still]]:
    """The frame in the middle of each segment, before and after."""
    middles = [_middle(done) for done in record.segments]
    return zip(read_stills(source, middles), read_stills(result, middles), strict=True)


def _review_segment(done: SegmentRecord, before: Still, after: Still, known: Collection[str]) -> ReviewSegment:
    """`known` are the memories that there are; one that was recalled may have been deleted since."""
    stills = (thumbnail(before), thumbnail(after))
    left = [place for place, memory in enumerate(done.recalled) if memory.id in known]
    recalled = tuple(done.recalled[place] for place in left)
    merges = (
        None
        if done.merges is None
        else tuple(replace(merge, memory=left.index(merge.memory)) for merge in done.merges if merge.memory in left)
    )
    return ReviewSegment(done.id, done.segment, *stills, recalled, done.seconds, done.reused, merges)


def _middle(done: SegmentRecord) -> int:
    return (done.segment.span.start + done.segment.span.stop) // 2


def _earlier_memories(record: TurnRecord, store: Store[Any]) -> tuple[EarlierMemory, ...]:
    """The memories of earlier turns that were recalled and are still there, each once."""
    here = {done.id for done in record.segments}
    recalled = {memory.id for done in record.segments for memory in done.recalled}
    found = store.memory.find(sorted(recalled - here))
    return tuple(_earlier_memory(found[id], store) for id in sorted(found))


def _earlier_memory(row: Remembered, store: Store[Any]) -> EarlierMemory:
    still = thumbnail(eight_bits(first_frame(store.segment_path(row.id))))
    return EarlierMemory(row.id, row.turn, Span(row.start, row.stop), row.title, still)


def _table(record: TurnRecord, verdict: Verdict | None) -> list[dict[str, object]]:
    """A row a segment, those first that a person should look at."""
    flagged = {one.index: ", ".join(one.flags) for one in verdict.scores} if verdict else {}
    rows = sorted(record.segments, key=lambda done: not flagged.get(done.segment.index))
    return [
        {
            "segment": done.segment.index,
            "shot": done.segment.shot,
            "frames": f"{done.segment.span.start}-{done.segment.span.stop - 1}",
            "state": "reused" if done.reused else "edited",
            "flags": flagged.get(done.segment.index, ""),
            "seconds": round(done.seconds, 2),
            "recalled": ", ".join(f"{memory.id[:8]} ({memory.score:.2f}, {memory.reason})" for memory in done.recalled),
        }
        for done in rows[:TABLE_ROWS]
    ]


def _markdown(plan: VideoPlan, record: TurnRecord, video: Entry, seconds: float, verdict: Verdict | None) -> str:
    edited = sum(not done.reused for done in record.segments)
    shots, segments = count_text(len(plan.shots), "shot"), count_text(len(plan.segments), "segment")
    return "\n".join(
        [
            f"# {plain(video.path)}",
            "",
            f"> {plain(plan.work.title)}",
            "",
            *(verdict.lines if verdict else ()),
            f"{plan.work.info.frames} frames, {shots}, {segments}: "
            f"{edited} edited, {len(plan.segments) - edited} reused, {seconds:.1f} s.",
        ]
    )


def plain(text: str) -> str:
    """User's text that neither Markdown nor HTML takes for markup."""
    escaped = "".join(f"&#{ord(letter)};" if letter in "\\`*_{}[]<>()#+-!|~&" else letter for letter in text)
    return " ".join(escaped.split())
