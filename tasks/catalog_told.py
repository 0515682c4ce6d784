"""A catalog told: the plan, how far it is, and what was done, as text, as JSON and as a table."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from storage.page import duration
from storage.run_lock import Holder
from storage.run_report import RunRecord, summarise
from storage.spreadsheet import write_csv
from storage.video_states import ORDER, VideoState
from tasks.catalog_plan import CatalogPlan
from tasks.publish import plain
from tasks.words import size_text

SLOWEST = 10


def by_state(states: Iterable[VideoState]) -> dict[str, int]:
    """How many videos are in each state, those that want a person first."""
    counts = Counter(state.state for state in states)
    return {name: counts[name] for name in ORDER}


def counted(counts: Mapping[str, int], *, zeros: bool = True) -> str:
    """Counts in a sentence, as in `3 done, 1 failed`; with `zeros` also of what there is none."""
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number or zeros)


def plan_rows(plan: CatalogPlan) -> dict[str, str]:
    """The plan, row by row."""
    source = "from past runs here" if plan.measured else "guessed by the model's size: nothing was measured yet"
    faulty = len(plan.faulty)
    unknown = f", {plan.unknown} not fetched yet and not counted below" if plan.unknown else ""
    return {
        "videos": f"{len(plan.planned)}: {plan.done} done, {plan.skipped} skipped, {faulty} cannot be edited{unknown}",
        "segments": f"{plan.left} of {plan.segments} to edit",
        "Editor hours": f"{plan.editor_hours:.2f}",
        "finish": f"in {duration(plan.finish_seconds)}, with {plan.editors} Editors",
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
    lines = [f"process {one.process} on {one.machine} runs it since {one.started}" for one in running]
    lines += [counted(by_state(states), zeros=False) or "no videos"]
    lines += [f"{state.state:8}{state.id}: {state.error}" for state in states if state.state in ("failed", "partial")]
    return "\n".join(lines)


def status_fields(running: Sequence[Holder], states: Sequence[VideoState]) -> dict[str, Any]:
    """The same as JSON, with every video."""
    return {
        "running": [asdict(one) for one in running],
        "counts": by_state(states),
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
    """The report, for people: totals, what failed and why, what took longest, and how far the plan was off.

    Totals are those of all `states`; times and rates are those of the run alone, which may have been a shard's.
    """
    lines, part = [*_totals(record, states), ""], f" of shard {record.shard}" if record.shard else ""
    if flagged := sorted((state for state in states if state.flagged), key=lambda state: (-state.flagged, state.id)):
        lines += ["| to be looked at | flagged segments | |", "|---|---|---|"]
        lines += [f"| {plain(one.id)} | {one.flagged} of {one.segments} | {plain(one.output)} |" for one in flagged]
        lines += [""]
    if record.editor_utilisation is not None and record.overhead_p50_ms is not None:
        waits = f"{record.overhead_p50_ms:.0f} ms (median), {record.overhead_p95_ms:.0f} ms (95 %)"
        busy = f"{100 * record.editor_utilisation:.1f} % of the time; between segments {waits}."
        lines += [f"Editors{part} were at work {busy}"]
    if record.plan_error is not None:
        planned = duration(record.planned_seconds or 0)
        lines += ["", f"The plan{part} said {planned}: off by {100 * record.plan_error:+.0f} %."]
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


def _totals(record: RunRecord, states: Sequence[VideoState]) -> list[str]:
    """What became of all videos, and of the run where it was not of all of them."""
    videos, segments = summarise(states)
    under_way = {name: count for name, count in by_state(states).items() if name in ("editing", "queued")}
    told, took = counted(videos | under_way, zeros=False) or "no videos", duration(record.seconds)
    if record.shard is None and sum(record.videos.values()) == len(states):
        return [f"**{told}** in {took}; segments: {counted(record.segments)}."]
    run = "The last run" if record.shard is None else f"The last run, of shard {record.shard},"
    did = f"{counted(record.videos, zeros=False) or 'no videos'}; segments: {counted(record.segments)}"
    return [f"**{told}**; segments: {counted(segments)}.", "", f"{run} took {took}: {did}."]
