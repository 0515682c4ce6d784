"""What operators see of a catalog's run in Prefect: the plan, how far it is, every video's state, and the report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client

from model.errors import RequestError
from storage.catalog_page import PAGE, write_catalog_page
from storage.page import data_uri, thumbnail
from storage.probe import probe
from storage.proxy import read_stills
from storage.run_lock import Holder
from storage.run_report import RunRecord
from storage.spreadsheet import write_csv
from storage.video_states import ORDER, VideoState
from tasks.catalog import CatalogRun
from tasks.catalog_plan import CatalogPlan
from tasks.metrics import show_videos
from tasks.progress import ARTIFACT_SECONDS, ProgressArtifact, show
from tasks.publish import plain
from tasks.sessions import size_text
from tasks.terminal import LINE_SECONDS, Bar, Every, say

TABLE_SECONDS = 60.0
SLOWEST, PICTURES = 10, 24
ROWS = 1000  # of the table: an artifact is one row of Prefect's database; all videos are in the report's files


class Board:
    """Renews what is shown while a run goes on; use as a context manager."""

    def __init__(self, plan: CatalogPlan) -> None:
        self._total = plan.left
        self._bar = Bar("catalog", plan.segments, Every(LINE_SECONDS))
        self._artifact, self._renewal = ProgressArtifact("catalog-progress", "Segments"), Every(ARTIFACT_SECONDS)
        self._table: Any = None
        self._new_table = Every(TABLE_SECONDS)
        show(create_markdown_artifact, plan_markdown(plan), key="catalog-plan", description="What the run will do")

    def tell(self, run: CatalogRun) -> None:
        """Look at a run; shows what is due."""
        done, total = segments_done(run.states.values(), run.progress)
        total = max(total, self._total)
        self._bar.show(done, total)
        if self._renewal.due():
            self._artifact.show(100.0 * done / max(total, 1))
            show_videos(_by_state(run.states.values()))
        if self._new_table.due():
            self.show_table(run.states.values())
        if self._bar.wants_line():
            counts = Counter(state.state for state in run.states.values())
            say(f"catalog: {done} segments; {', '.join(f'{counts[name]} {name}' for name in ORDER if counts[name])}")

    def show_table(self, states: Sequence[VideoState] | Any) -> None:
        """Every video's state, those first that want a person. The table before goes: Prefect would keep it."""
        rows = [_row(state) for state in sorted(states, key=lambda one: (ORDER.index(one.state), -one.flagged, one.id))]
        table = show(create_table_artifact, rows[:ROWS], key="catalog-status", description=f"{len(rows)} videos")
        if table is not None and self._table is not None:
            show(_forget, self._table)
        self._table = table or self._table

    def finish(self, report: str, states: Sequence[VideoState] | Any) -> None:
        """The last of everything."""
        self._artifact.show(100.0)
        show_videos(_by_state(states))
        self.show_table(states)
        show(create_markdown_artifact, report, key="run-report", description="What the run did")
        if pictures := thumbnails_markdown(states):
            show(create_markdown_artifact, pictures, key="thumbnails", description="The middle of each result")

    def __enter__(self) -> "Board":
        self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._bar.__exit__(kind, fault, at)


def _forget(artifact: UUID) -> None:
    """An update would be cheaper, but Prefect also keeps an event for each, with all that was updated in it."""
    with get_client(sync_client=True) as client:
        client.delete_artifact(artifact)


def _by_state(states: Any) -> dict[str, int]:
    counts = Counter(state.state for state in states)
    return {name: counts[name] for name in ORDER}


def segments_done(states: Any, progress: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Segments done and known of all videos: of those at hand as far as they are."""
    pairs = [
        (state.segments - state.quarantined, state.segments)
        if state.state in ("done", "partial")
        else progress.get(state.id, (0, 0))
        for state in states
    ]
    return sum(done for done, _ in pairs), sum(total for _, total in pairs)


def plan_rows(plan: CatalogPlan) -> dict[str, str]:
    """The plan, row by row."""
    source = "from past runs here" if plan.measured else "guessed by the model's size: nothing was measured yet"
    faulty = len(plan.faulty)
    unknown = f", {plan.unknown} not fetched yet and not counted below" if plan.unknown else ""
    return {
        "videos": f"{len(plan.planned)}: {plan.done} done, {plan.skipped} skipped, {faulty} cannot be edited{unknown}",
        "segments": f"{plan.left} of {plan.segments} to edit",
        "Editor hours": f"{plan.editor_hours:.2f}",
        "finish": f"in {clock(plan.finish_seconds)}, with {plan.editors} Editors",
        "a segment": f"{plan.rates.segment_seconds:.2f} s ({source})",
        "memory": size_text(plan.memory_bytes),
        "results": size_text(plan.output_bytes),
        "free": f"{size_text(plan.free_bytes)}{'' if plan.fits else ': NOT ENOUGH'}",
    }


def plan_markdown(plan: CatalogPlan) -> str:
    """The plan for the Prefect page."""
    rows = [f"| {name} | {value} |" for name, value in plan_rows(plan).items()]
    faulty = [f"- {plain(one.id)}: {plain(one.error)}" for one in plan.faulty]
    return "\n".join(["| | |", "|---|---|", *rows, "", *faulty])


def plan_text(plan: CatalogPlan) -> str:
    """The plan for the terminal."""
    faulty = [f"cannot be edited: {one.id}: {one.error}" for one in plan.faulty]
    return "\n".join([*(f"{name:14}{value}" for name, value in plan_rows(plan).items()), *faulty])


def plan_fields(plan: CatalogPlan) -> dict[str, Any]:
    """The plan as JSON, without the videos that are sound."""
    kept = {name: value for name, value in asdict(plan).items() if name != "planned"}
    return {
        "videos": len(plan.planned),
        **kept,
        "fits": plan.fits,
        "faulty": {one.id: one.error for one in plan.faulty},
    }


def status_text(running: Sequence[Holder], states: Sequence[VideoState]) -> str:
    """How far a catalog is, for the terminal."""
    counts = Counter(state.state for state in states)
    lines = [f"process {one.process} on {one.machine} runs it since {one.started}" for one in running]
    lines += [", ".join(f"{counts[name]} {name}" for name in ORDER if counts[name]) or "no videos"]
    lines += [f"{state.state:8}{state.id}: {state.error}" for state in states if state.state in ("failed", "partial")]
    return "\n".join(lines)


def status_fields(running: Sequence[Holder], states: Sequence[VideoState]) -> dict[str, Any]:
    """The same as JSON, with every video."""
    counts = Counter(state.state for state in states)
    return {
        "running": [asdict(one) for one in running],
        "counts": {name: counts[name] for name in ORDER},
        "states": [asdict(one) | {"updated": one.updated and one.updated.isoformat()} for one in states],
    }


def write_table(path: Path, states: Sequence[VideoState]) -> None:
    """Every video's state as CSV, for a spreadsheet.

    Raises:
        RunError: it cannot be written.
    """
    columns = [one.name for one in fields(VideoState)]
    write_csv(path, columns, ([str(v) if k == "updated" else v for k, v in asdict(one).items()] for one in states))


def report_markdown(record: RunRecord, states: Sequence[VideoState]) -> str:
    """The report, for people: totals, what failed and why, what took longest, and how far the plan was off."""
    counts = ", ".join(f"{number} {name}" for name, number in record.videos.items())
    segments = ", ".join(f"{number} {name}" for name, number in record.segments.items())
    lines = [f"**{counts}** in {clock(record.seconds)}; segments: {segments}.", ""]
    if flagged := sorted((state for state in states if state.flagged), key=lambda state: (-state.flagged, state.id)):
        lines += ["| to be looked at | flagged segments | |", "|---|---|---|"]
        lines += [f"| {plain(one.id)} | {one.flagged} of {one.segments} | {plain(one.output)} |" for one in flagged]
        lines += [""]
    if record.editor_utilisation is not None and record.overhead_p50_ms is not None:
        waits = f"{record.overhead_p50_ms:.0f} ms (median), {record.overhead_p95_ms:.0f} ms (95 %)"
        lines += [
            f"Editors were at work {100 * record.editor_utilisation:.1f} % of the time; between segments {waits}."
        ]
    if record.plan_error is not None:
        lines += ["", f"The plan said {clock(record.planned_seconds or 0)}: off by {100 * record.plan_error:+.0f} %."]
    if lost := [state for state in states if state.state in ("failed", "partial")]:
        causes = Counter(state.error.split(":")[-1].strip() for state in lost)
        lines += ["", "| failed or partial | why |", "|---|---|"]
        lines += [f"| {plain(state.id)} ({state.state}) | {plain(state.error)} |" for state in lost]
        lines += ["", *(f"- {count} times: {plain(cause)}" for cause, count in causes.most_common() if count > 1)]
    slowest = sorted((state for state in states if state.seconds), key=lambda state: -state.seconds)[:SLOWEST]
    if slowest:
        lines += ["", "| took longest | Editor s | segments | drift |", "|---|---|---|---|"]
        lines += [f"| {plain(one.id)} | {one.seconds:.1f} | {one.segments} | {one.drift:.1f} |" for one in slowest]
    return "\n".join(lines)


def show_catalog(out: Path, states: Sequence[VideoState], record: RunRecord) -> Path | None:
    """Write the page of a catalog; None where it cannot be, which is told: nothing else depends on it."""
    try:
        return write_catalog_page(out, states, record)
    except (OSError, RequestError) as fault:
        say(f"{out / PAGE}: could not be written ({fault}); everything else stands")
        return None


def thumbnails_markdown(states: Any) -> str:
    """The frame in the middle of results, as many as fit an artifact; results that were moved away are left out."""
    done = [state for state in states if state.state == "done" and Path(state.output).is_file()][:PICTURES]
    return "\n\n".join(f"![{plain(state.id)}]({_picture(Path(state.output))})\n{plain(state.id)}" for state in done)


def _picture(path: Path) -> str:
    info = probe(path)
    return data_uri(thumbnail(next(iter(read_stills(info, [info.frames // 2])))))


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _row(state: VideoState) -> dict[str, object]:
    length = state.video_seconds
    return {
        "video": plain(state.id),
        "state": state.state,
        "segments": f"{state.segments - state.quarantined} of {state.segments}",
        "faults": state.faults,
        "Editor s": round(state.seconds, 1),
        "Editor s per s": round(state.seconds / length, 2) if length else None,
        "drift": state.drift,
        "flagged": state.flagged,
        "error": plain(state.error),
        "output": plain(state.output),
    }
