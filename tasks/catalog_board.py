"""What operators see of a catalog's run in Prefect: the plan, how far it is, every video's state, and the report."""

from collections.abc import Iterable, Mapping, Sequence
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
from storage.run_report import RunRecord
from storage.video_states import ORDER, VideoState
from tasks.catalog import CatalogRun
from tasks.catalog_plan import CatalogPlan
from tasks.catalog_told import by_state, counted, plan_markdown
from tasks.metrics import show_videos
from tasks.progress import ARTIFACT_SECONDS, ProgressArtifact, show
from tasks.publish import plain
from tasks.terminal import LINE_SECONDS, Bar, Every, say

TABLE_SECONDS = 60.0
PICTURES = 24
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
            show_videos(by_state(run.states.values()))
        if self._new_table.due():
            self.show_table(run.states.values())
        if self._bar.wants_line():
            say(f"catalog: {done} segments; {counted(by_state(run.states.values()), zeros=False)}")

    def show_table(self, states: Iterable[VideoState]) -> None:
        """Every video's state, those first that want a person. The table before goes: Prefect would keep it."""
        rows = [_row(state) for state in sorted(states, key=lambda one: (ORDER.index(one.state), -one.flagged, one.id))]
        table = show(create_table_artifact, rows[:ROWS], key="catalog-status", description=f"{len(rows)} videos")
        if table is not None and self._table is not None:
            show(_forget, self._table)
        self._table = table or self._table

    def finish(self, report: str, states: Sequence[VideoState]) -> None:
        """The last of everything."""
        self._artifact.show(100.0)
        show_videos(by_state(states))
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


def segments_done(states: Iterable[VideoState], progress: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Segments done and known of all videos: of those at hand as far as they are."""
    pairs = [
        (state.segments - state.quarantined, state.segments)
        if state.state in ("done", "partial")
        else progress.get(state.id, (0, 0))
        for state in states
    ]
    return sum(done for done, _ in pairs), sum(total for _, total in pairs)


def show_catalog(out: Path, states: Sequence[VideoState], record: RunRecord) -> Path | None:
    """Write the page of a catalog; None where it cannot be, which is told: nothing else depends on it."""
    try:
        return write_catalog_page(out, states, record)
    except (OSError, RequestError) as fault:
        say(f"{out / PAGE}: could not be written ({fault}); everything else stands")
        return None


def thumbnails_markdown(states: Iterable[VideoState]) -> str:
    """The frame in the middle of results, as many as fit an artifact; results that were moved away are left out."""
    done = [state for state in states if state.state == "done" and Path(state.output).is_file()][:PICTURES]
    return "\n\n".join(f"![{plain(state.id)}]({_picture(Path(state.output))})\n{plain(state.id)}" for state in done)


def _picture(path: Path) -> str:
    info = probe(path)
    return data_uri(thumbnail(next(iter(read_stills(info, [info.frames // 2])))))


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
