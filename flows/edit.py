"""One turn over one video: ingest, edit, stitch, publish. The flow only wires; the tasks do the work."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from prefect import flow

from flows.cancelling import cancellable
from flows.environment import user_folder
from flows.request import completed, require_busy_editors
from model.config import EditRequest
from storage.ledger import Entry
from storage.review import find_shown
from storage.scores import count_flagged
from storage.store import MEMORY, Patience, open_store, place_for, review_path
from storage.table_place import require_place
from storage.video_note import read_video_note
from tasks.cluster import Handover, choose_device, start_ray
from tasks.edit import edit_turn
from tasks.footprint import footprint
from tasks.gate import pass_gate
from tasks.ingest import ingest
from tasks.pool import EditorPool, descriptor_of, dismiss, start_editors, start_embedder
from tasks.publish import publish
from tasks.recall import TextTurn
from tasks.stitch import stitch_video
from tasks.terminal import say
from tasks.turn import TurnRecord
from tasks.weights import TEXT_EDITS, locate_descriptor, require_kind
from tasks.words import count_text
from tasks.work import EditWork, describe_work, enter_turn

_handover = Handover[tuple[EditorPool, Any]]("actors of an edit")


@dataclass(frozen=True)
class EditReport:
    """What one run did.

    `edited`: segments denoised in this run; `reused`: found committed. `flagged`: those that a person should look at,
    as far as they were judged. `first_segment_seconds`: from the start of the run until the first segment reached the
    Editor. `overhead_ms`: the Editor's median wait between two segments. `peak_mb`: largest private memory by process.
    These three are empty where nothing was edited.
    """

    output: str
    review: str
    frames: int
    shots: int
    segments: int
    edited: int
    reused: int
    seconds: float
    flagged: int = 0
    first_segment_seconds: float | None = None
    overhead_ms: float | None = None
    peak_mb: dict[str, float] | None = None

    def summary(self) -> str:
        """Three lines for a person."""
        work = (
            f"{count_text(self.edited, 'segment')} edited, {self.reused} reused"
            if self.edited
            else "nothing left to edit"
        )
        length = f"{self.frames} frames in {count_text(self.shots, 'shot')}, {self.seconds:.1f} s"
        flagged = f"; {self.flagged} flagged" if self.flagged else ""
        return f"{work}{flagged}; {length}\nvideo   {self.output}\nreview  {self.review}"


def edit(request: EditRequest) -> EditReport:
    """Run one turn from this process, starting what is not running yet. Finished work is found at once.

    Raises:
        InputError: the request cannot be carried out as given; nothing was written.
        RunError: it failed on the way; what was committed stays.
    """
    started = time.time()
    work = understand(request)
    if done := find_shown(request.out, work.output_id):
        return _report(request.out, done, None, started)
    with _handover.started(lambda: _start_actors(work)):
        return EditReport(**edit_video(request, started))


@flow(name="edit-video", flow_run_name="edit {request.video.name}", log_prints=False)
@cancellable
def edit_video(request: EditRequest, started: float | None = None) -> dict[str, Any]:
    """Edit one video as one instruction says, and return what was done (see `EditReport`).

    Args:
        request: One turn: a video and an instruction.
        started: When the run began, for its report; empty is now.
    """
    started = started or time.time()
    footprint()
    work = understand(request)
    start_ray()
    editors, embedder = _handover.get() or _start_actors(work)
    try:
        plan = ingest(work)
        name, size = descriptor_of(embedder)
        with open_store(request.out, size, Patience(request.wait, say, editors.resting), request.memory) as store:
            turn = TextTurn(plan, enter_turn(work, store), store.memory, embedder, name)
            record, verdict = pass_gate(turn, edit_turn(turn, store, editors), store, editors)
            video = stitch_video(plan, record, store)
            publish(plan, record, video, store, time.time() - started, verdict)
    finally:
        dismiss(editors, embedder)
    return asdict(_report(request.out, video, record, started))


def _start_actors(work: EditWork) -> tuple[EditorPool, Any]:
    """The Editors and the Embedder of a run, which load at once."""
    request = work.request
    editors = start_editors(str(work.weights), work.dtype, work.device, request.editors, speed=request.speed)
    return editors, start_embedder(work.descriptor, work.device)


def understand(request: EditRequest) -> EditWork:
    """Find the weights, probe the video, name the work: what a user can get wrong is said here, within a second.

    Raises:
        InputError: the request cannot be carried out as given.
    """
    cache = user_folder("cache")
    place_for(request.out)
    require_place(request.out / MEMORY, request.memory)
    request = completed(request, TEXT_EDITS)
    require_busy_editors(request)
    weights, descriptor = Path(request.weights), locate_descriptor(request.descriptor)
    require_kind(weights, TEXT_EDITS)
    return describe_work(request, weights, descriptor, choose_device(request.device), cache)


def _report(out: Path, video: Entry, record: TurnRecord | None, started: float) -> EditReport:
    path = (out / video.path).resolve()
    note = read_video_note(video)
    edited = sum(not done.reused for done in record.segments) if record else 0
    report = EditReport(
        output=str(path),
        review=str(review_path(path)),
        frames=note.frames,
        shots=note.shots,
        segments=note.segments,
        edited=edited,
        reused=note.segments - edited,
        seconds=round(time.time() - started, 2),
        flagged=count_flagged(path) or 0,
    )
    if record is None or record.first_started is None:
        return report
    waits, peaks = record.overheads, {"driver": footprint().peak_bytes(), **(record.peak_bytes or {})}
    return replace(
        report,
        first_segment_seconds=round(record.first_started - started, 2),
        overhead_ms=round(1000 * median(waits), 1) if waits else None,
        peak_mb={name: round(size / 1e6, 1) for name, size in peaks.items()},
    )
