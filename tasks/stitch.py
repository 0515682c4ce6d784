"""Join the edited segments into one video: cross-fades inside a shot, hard joins at cuts, everything else as it was."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from model.stitching import stitch
from model.types import Segment
from storage.content_id import hash_file
from storage.footage import footage_of
from storage.garbage import unrecorded
from storage.ledger import Entry
from storage.mux import choose_suffix
from storage.segment_file import read_segment
from storage.store import Store, find_finished, next_version, plain_name
from storage.video import write_video
from storage.video_note import VideoNote
from tasks.account import Transferred, conversions_told, settings_told
from tasks.ingest import VideoPlan
from tasks.turn import TurnRecord
from tasks.unsearched import unsearched


@unsearched
@task(task_run_name="stitch {plan.work.info.path.name}", cache_policy=NO_CACHE, persist_result=False)
def stitch_video(plan: VideoPlan, record: TurnRecord, store: Store[Any]) -> Entry:
    """Write the edited video, once: the same turn with the same output settings is found, not written again.

    Raises:
        RunError: the encoder failed, or a segment file is damaged.
    """
    if found := find_finished(store.folder, plan.work.output_id):
        return found
    started = perf_counter()
    work, request = plan.work, plan.work.request
    files = {done.segment.index: store.segment_path(done.id) for done in record.segments}

    def read(segment: Segment) -> Iterator[np.ndarray]:
        return read_segment(files[segment.index])

    frames = stitch(plan.segments, read, request.window.overlap)
    suffix = choose_suffix(work.info, request.output.codec, ".mp4")
    target = output_path(request.video, store.folder, work.label(record.turn)).with_suffix(suffix)
    with unrecorded(target):
        path, told = _write(frames, plan, target)
        entry = Entry(
            id=work.output_id,
            kind="video",
            video=work.video_id,
            session=store.ledger.turn(work.session, record.turn).branch,
            turn=record.turn,
            segment=-1,
            path=path.name,
            checksum=hash_file(path),
            seconds=perf_counter() - started,
            note=_note(plan, record, told).model_dump_json(),
            recorded=datetime.now(UTC),
        )
        store.ledger.record(entry)
    return entry


def _write(frames: Iterator[np.ndarray], plan: VideoPlan, target: Path) -> tuple[Path, Transferred | None]:
    """The path written, and what became of the frames where they were not only enlarged."""
    work = plan.work
    if (finishing := work.finishing) is None:
        return write_video(frames, work.info, work.fit, target, work.request.output.codec), None
    path, told = finishing.write(frames, {shot.span.start for shot in plan.shots}, target)
    spans = [slice(segment.span.start, segment.span.stop) for segment in plan.segments]
    by_segment = tuple(round(mean(told.unexplained[span]), 4) for span in spans)
    return path, Transferred(round(mean(told.kept), 4), by_segment)


def _note(plan: VideoPlan, record: TurnRecord, told: Transferred | None) -> VideoNote:
    return VideoNote(
        frames=plan.work.info.frames,
        shots=len(plan.shots),
        segments=len(plan.segments),
        window=plan.work.request.window,
        source=footage_of(plan.work.info),
        settings=settings_told(plan),
        conversions=conversions_told(plan, told),
        redone={str(done.segment.index): done.id for done in record.segments if done.attempt},
        **(vars(told) if told else {}),
    )


def output_path(source: Path, folder: Path, label: str = "edit") -> Path:
    """`<stem>_<label>_v001.mp4` in `folder`, where stem and label keep only characters that every file system takes."""
    return next_version(folder, f"{plain_name(source.stem)[:80] or 'video'}_{plain_name(label)[:60]}", ".mp4")
