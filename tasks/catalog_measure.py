"""What a catalog's run took: for its report, and for the plans of later ones."""

import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from model.errors import CatalogError
from storage.calibration import Rates
from storage.run_report import RunRecord, summarise
from storage.video_states import VideoState
from tasks.catalog import CatalogRun
from tasks.catalog_plan import CatalogPlan
from tasks.editor_handle import Usage
from tasks.pool import EditorPool


@dataclass(frozen=True)
class Measured:
    """A run's record, and its rates; None if too little was edited to tell."""

    record: RunRecord
    rates: Rates | None


def measure_run(catalog: CatalogRun, plan: CatalogPlan, editors: EditorPool, started: float) -> Measured:
    """Of a run that has just come to its end; `started` is when its command was given (`time.time()`)."""
    seconds, usage = time.time() - started, editors.usage
    videos, segments = summarise(catalog.table)
    waits = 1000 * np.array(usage.waits)
    record = RunRecord(
        id=datetime.fromtimestamp(started, UTC).strftime("%Y%m%dT%H%M%S") + _part(catalog.shard),
        started=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 2),
        planned_seconds=round(plan.finish_seconds, 2) if plan.measured and plan.left and not plan.unknown else None,
        videos=videos,
        segments=segments,
        editor_utilisation=usage.utilisation(editors.size),
        overhead_p50_ms=round(float(np.percentile(waits, 50)), 2) if len(waits) else None,
        overhead_p95_ms=round(float(np.percentile(waits, 95)), 2) if len(waits) else None,
        flagged=sum(state.flagged for state in catalog.table),
    )
    return Measured(record, _rates(catalog, plan, usage, seconds))


def _rates(catalog: CatalogRun, plan: CatalogPlan, usage: Usage, seconds: float) -> Rates | None:
    """By the folders of which all videos were planned, and edited from beginning to end, in this run."""
    counted, folders = {one.id: one.segments for one in plan.planned}, defaultdict(list)
    for entry, state in zip(catalog.entries, catalog.table, strict=True):
        folders[entry.folder].append(state)
    shared = [states for states in folders.values() if all(_is_whole(one) and counted[one.id] for one in states)]
    whole = [state for states in shared for state in states]
    segments = sum(state.edited for state in whole)
    if not whole or not usage.waits or usage.first is None or usage.last is None:
        return None
    now, results = time.perf_counter(), sum(state.output_bytes for state in whole)
    return Rates(
        segments=segments,
        segment_seconds=usage.busy / usage.segments,
        wait_seconds=float(np.mean(usage.waits)),
        start_seconds=seconds - (now - usage.first),
        end_seconds=now - usage.last,
        memory_bytes=(sum(max(state.memory_bytes for state in states) for states in shared) - results) / segments,
        output_bytes=results / segments,
        cut_factor=segments / sum(counted[state.id] for state in whole),
    )


def _is_whole(state: VideoState) -> bool:
    return state.state == "done" and state.reused == 0 and state.edited > 0


def _part(shard: str | None) -> str:
    """Shards may begin in the same second."""
    return "" if shard is None else f"-{shard.replace('/', '-of-')}"


def require_few_failures(record: RunRecord, most: float) -> None:
    """Say that a run failed.

    Raises:
        CatalogError: a larger share than `most` of the videos that were not skipped is not done; it has the record.
    """
    lost, wanted = record.videos["failed"] + record.videos["partial"], sum(record.videos.values())
    wanted -= record.videos["skipped"]
    if lost > most * wanted:
        raise CatalogError(
            f"{lost} of {wanted} videos are not done; memory-v2v catalog report says why, and retry tries them again",
            record,
        )
