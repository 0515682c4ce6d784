"""Sum up what was measured of a run, or of two, and show it: tables, a page, a plot, and an artifact in Prefect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from model.errors import RequestError
from model.metrics.agreement import Figure
from model.metrics.catalogue import CATALOGUE
from model.metrics.comparison import (
    LEAST_SOURCES,
    Compared,
    Pair,
    Row,
    ScoredVideo,
    compare_runs,
    pair_videos,
    row_fields,
    summarise_run,
)
from model.metrics.score import NotMeasured, Score
from storage.content_id import identify
from storage.interval_plot import Spread, draw_rows
from storage.score_tables import Record, markdown_table, write_scores_page, write_table
from storage.spreadsheet import Cell
from tasks.measure import MeasureJob, Scores
from tasks.progress import show
from tasks.publish import plain

NAME, VIDEOS = "evaluation", "videos"  # of the files


@dataclass(frozen=True)
class Evaluation:
    """Every metric of a run, or of the pairs of two, and what a reader must know of how it was measured.

    `refused` is one line on each video that could not be measured, and is in no figure.
    """

    run: str
    against: str | None
    rows: Mapping[str, Row]
    videos: Sequence[ScoredVideo]
    notes: tuple[str, ...]
    page: Path
    refused: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """For a program: by metric its figure, or why there is none; and what was refused, if anything was."""
        figures = {metric: row_fields(row) for metric, row in self.rows.items()}
        return {**figures, "refused": list(self.refused)} if self.refused else figures

    def summary(self) -> str:
        """For a person: what was measured in a line each, then what was not, in one."""
        told = [f"{metric:26}{_cell(row)}" for metric, row in self.rows.items() if not isinstance(row, NotMeasured)]
        missing = [metric for metric, row in self.rows.items() if isinstance(row, NotMeasured)]
        told += [f"not measured: {', '.join(missing)}"] if missing else []
        return "\n".join([*told, *self.notes, *self.refused, f"tables  {self.page}"])


def sum_up(
    jobs: Sequence[Sequence[MeasureJob]],
    known: Mapping[str, Scores],
    names: Sequence[str],
    out: Path,
    refused: Sequence[str] = (),
) -> Evaluation:
    """All figures of the first jobs, or of their pairs with the second ones where there are any.

    What is not `known` is left out; `refused` says why.

    Raises:
        RequestError: there is no pair.
    """
    measured = [[job for job in each if job.key in known] for each in jobs]
    ours, theirs = ([scored(job, known[job.key]) for job in each] for each in measured)
    notes, page = _notes([*measured[0], *measured[1]]), out / f"{NAME}.md"
    if refused:
        notes = (f"{len(refused)} videos could not be measured", *notes)
    if not jobs[1]:
        rows = summarise_run(ours, list(CATALOGUE))
        return Evaluation(names[0], None, rows, ours, notes, page, tuple(refused))
    pairs = require_pairs(ours, theirs, names, refused)
    notes = (f"{len(pairs)} pairs of videos, of {len(ours)} and {len(theirs)}", *notes)
    rows = compare_runs(pairs, list(CATALOGUE))
    videos = [video for run in zip(*pairs, strict=True) for video in run]
    return Evaluation(names[0], names[1], rows, videos, notes, page, tuple(refused))


def require_pairs(
    ours: Sequence[ScoredVideo], theirs: Sequence[ScoredVideo], names: Sequence[str], refused: Sequence[str] = ()
) -> list[Pair]:
    """The pairs of two runs; `refused` says of videos of theirs why they are not among these.

    Raises:
        RequestError: there is none.
    """
    if pairs := pair_videos(ours, theirs):
        return pairs
    why = f"; {refused[0]}" if refused else ""
    told = "no video of one was made of a source of the other; nothing to pair"
    raise RequestError(f"{names[0]} and {names[1]}: {told}{why}")


def scored(job: MeasureJob, scores: Scores | None = None) -> ScoredVideo:
    """A video with its scores; without any before it is measured."""
    return ScoredVideo(str(job.edit.path), job.edit.turn.source, job.edit.turn.asked, scores or {})


def _notes(jobs: Sequence[MeasureJob]) -> tuple[str, ...]:
    copies = sum(job.is_copy for job in jobs)
    if not copies:
        return ()
    return (
        f"{copies} of {len(jobs)} videos were measured against the small copy of their source on the review page, "
        "at its size; --source names originals",
    )


@task(task_run_name="publish {found.run}", cache_policy=NO_CACHE, persist_result=False)
def publish_evaluation(found: Evaluation) -> None:
    """Leave the page in Prefect."""
    key = identify({"evaluation": str(found.page)})[:12]
    show(create_markdown_artifact, _page(found), key=f"evaluation-{key}", description=plain(found.run))


def write_evaluation(found: Evaluation) -> None:
    """Write tables, page and plot.

    Raises:
        RunError: a file could not be written.
    """
    out = found.page.parent
    write_table(out, NAME, [_record(metric, row) for metric, row in found.rows.items()])
    write_table(out, VIDEOS, [_video_record(video) for video in found.videos])
    if bars := _bars(found):
        known = any(low is not None for row in bars.values() for _, low, _ in row.values())
        what = "values and 95 % intervals" if known else "values"
        draw_rows(out / f"{NAME}.png", bars, f"{Path(found.run).name}: {what}, each row on its own scale")
    write_scores_page(found.page, _page(found))


def _record(metric: str, row: Row) -> Record:
    """A metric's line in the table."""
    said = CATALOGUE[metric]
    flat: dict[str, Cell] = {"metric": metric, "unit": said.unit, "better": _better(metric)}
    nothing = Figure(None, None, None, 0)
    figures = {"": nothing, "against_": nothing, "difference_": nothing}
    if isinstance(row, Compared):
        figures = {"": row.figure, "against_": row.against, "difference_": row.difference}
    elif isinstance(row, Figure):
        figures[""] = row
    for name, figure in figures.items():
        flat |= {f"{name}value": figure.value, f"{name}low": figure.low, f"{name}high": figure.high}
    reason = row.reason if isinstance(row, NotMeasured) else None
    return {**flat, "n": figures[""].n, "verdict": _verdict(metric, row), "not_measured": reason}


def _video_record(video: ScoredVideo) -> Record:
    values = {metric: score.value if isinstance(score, Score) else None for metric, score in video.scores.items()}
    return {"video": video.name, "source": video.source, "asked": video.asked, **values}


def _better(metric: str) -> str:
    return "higher" if CATALOGUE[metric].higher_is_better else "lower"


def _verdict(metric: str, row: Row) -> str | None:
    """Whether the run is better than the other one; None where there is no other."""
    if not isinstance(row, Compared):
        return None
    value, low, high = row.difference.value, row.difference.low, row.difference.high
    if low is None or high is None:
        return "too few sources"
    if value is None or low <= 0 <= high:
        return "no difference shown"
    return "better" if (value > 0) == CATALOGUE[metric].higher_is_better else "worse"


def _cell(row: Row) -> str:
    if isinstance(row, NotMeasured):
        return ""
    if isinstance(row, Figure):
        return _interval(row)
    return f"{_interval(row.figure)} against {_interval(row.against)}: {_interval(row.difference, signed=True)}"


def _interval(figure: Figure, *, signed: bool = False) -> str:
    value = f"{figure.value:+.4g}" if signed else f"{figure.value:.4g}"
    return value if figure.low is None else f"{value} ({figure.low:.4g}, {figure.high:.4g})"


def _page(found: Evaluation) -> str:
    title = plain(found.run) if found.against is None else f"{plain(found.run)} against {plain(found.against)}"
    reasons = {metric: row.reason for metric, row in found.rows.items() if isinstance(row, NotMeasured)}
    missing = [f"- `{metric}`: {plain(reason)}" for metric, reason in reasons.items()]
    rows = [_line(metric, row) for metric, row in found.rows.items() if metric not in reasons]
    head = ["metric", "better", "value", "n"]
    if found.against is not None:
        head = ["metric", "better", "this run", "the other", "difference", "n", "verdict"]
    parts = [f"# {title}", *(f"{plain(note)}." for note in found.notes), INTERVALS, markdown_table(head, rows)]
    parts += ["## Not measured", "\n".join(missing)] if missing else []
    lost = [f"- {plain(one)}" for one in found.refused]
    parts += ["## Videos that could not be measured", "\n".join(lost)] if lost else []
    return "\n\n".join(parts) + "\n"


INTERVALS = (
    f"In brackets 95 % intervals, by bootstrap over n source videos; fewer than {LEAST_SOURCES} have none. "
    "What each metric is: docs/metrics.md."
)


def _line(metric: str, row: Row) -> list[str]:
    begin = [f"`{metric}`", f"{_better(metric)}; {CATALOGUE[metric].unit}"]
    if isinstance(row, Compared):
        difference = _interval(row.difference, signed=True)
        figures = [_interval(row.figure), _interval(row.against), difference, str(row.figure.n)]
        return [*begin, *figures, str(_verdict(metric, row))]
    assert isinstance(row, Figure)
    return [*begin, _interval(row), str(row.n)]


def _bars(found: Evaluation) -> dict[str, dict[str, Spread]]:
    bars: dict[str, dict[str, Spread]] = {}
    for metric, row in found.rows.items():
        if isinstance(row, Compared):
            bars[metric] = {"this run": _spread(row.figure), "the other": _spread(row.against)}
        elif isinstance(row, Figure):
            bars[metric] = {"this run": _spread(row)}
    return bars


def _spread(figure: Figure) -> Spread:
    assert figure.value is not None
    return figure.value, figure.low, figure.high
