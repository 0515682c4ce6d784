"""A video seen anew along camera paths, one turn each: what one turn invents, the next ones keep. Only wiring."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import TypeAdapter

from flows.cancelling import cancellable
from flows.environment import user_folder
from flows.request import completed, require_busy_editors
from model.config import ViewRequest
from storage.ledger import Entry
from storage.probe import probe
from storage.review import find_shown
from storage.store import MEMORY, Patience, Store, open_view_store, place_for, review_path
from storage.table_place import require_place
from storage.video_note import read_video_note
from storage.views import ViewStore
from tasks.cluster import Handover, choose_device, start_ray
from tasks.edit import edit_turn
from tasks.ingest import VideoPlan, ingest
from tasks.pool import EditorPool, start_editors
from tasks.publish import publish
from tasks.stitch import stitch_video
from tasks.terminal import say
from tasks.turn import TurnRecord
from tasks.views import RecalledView, ViewCall, ViewSource, ViewTurn, ViewWork, describe_call, recalled_in
from tasks.weights import NOVEL_VIEWS, require_kind
from tasks.words import count_text
from tasks.work import enter_turn

_handover = Handover[EditorPool]("Editors of views")


@dataclass(frozen=True)
class TurnReport:
    """One turn: its number in the session, what it wrote, and what its segments recalled.

    `reused` of its `segments` were found committed. `seconds` is the wall clock of this turn in this run. `notes` say
    what was assumed of its camera.
    """

    number: int
    camera: str
    output: str
    review: str
    segments: int
    reused: int
    seconds: float
    notes: tuple[str, ...]
    recalled: tuple[RecalledView, ...]


@dataclass(frozen=True)
class ViewsReport:
    """What one run did: its turns, in the order of the cameras."""

    session: str
    turns: tuple[TurnReport, ...]

    def summary(self) -> str:
        """A few lines a turn, for a person."""
        return "\n".join(map(_summary, self.turns)) + f"\nsession {self.session}"


def view(request: ViewRequest) -> ViewsReport:
    """Run all turns from this process, starting what is not running yet. Finished turns are found at once.

    Raises:
        InputError: the request cannot be carried out as given; nothing was written.
        RunError: it failed on the way; what was committed stays.
    """
    call = understand(request)
    if done := _all_finished(call):
        return ViewsReport(call.session, done)
    with _handover.started(lambda: _start_editors(call)):
        return TypeAdapter(ViewsReport).validate_python(novel_views(request))


@flow(name="novel-views", flow_run_name="view {request.video.name}", log_prints=False)
@cancellable
def novel_views(request: ViewRequest) -> dict[str, Any]:
    """See one video anew along each camera, and return what was done (see `ViewsReport`).

    All turns of a call are made while this process holds the folder: they follow each other in the session.
    """
    call = understand(request)
    start_ray()
    editors = _handover.get() or _start_editors(call)
    try:
        plan = ingest(call.turn(call.cameras[0], call.video))
        with open_view_store(request.out, Patience(request.wait, say, editors.resting), request.memory) as store:
            turns = tuple(_render_each(call, plan, store, editors))
    finally:
        editors.close()
    return asdict(ViewsReport(call.session, turns))


def _start_editors(call: ViewCall) -> EditorPool:
    """The Editors of a call, which load at once."""
    first, request = call.turn(call.cameras[0], call.video), call.request
    return start_editors(str(first.weights), first.dtype, first.device, request.editors, speed=request.speed)


def understand(request: ViewRequest) -> ViewCall:
    """Find the weights, probe the video, read the cameras: what a user can get wrong is said here, within a second.

    Raises:
        InputError: the request cannot be carried out as given.
    """
    cache = user_folder("cache")
    place_for(request.out)
    require_place(request.out / MEMORY, request.memory)
    request = completed(request, NOVEL_VIEWS)
    require_busy_editors(request)
    weights = Path(request.weights)
    require_kind(weights, NOVEL_VIEWS)
    return describe_call(request, weights, choose_device(request.device), cache)


def _render_each(
    call: ViewCall, plan: VideoPlan[ViewWork], store: Store[ViewStore], editors: EditorPool
) -> Iterator[TurnReport]:
    """One turn after the other; in a chain, each over the result of the one before."""
    source = call.video
    for camera in call.cameras:
        started = time.time()
        work = call.turn(camera, source)
        video, record = find_shown(work.request.out, work.output_id), None
        if video is None:
            video, record = _render(replace(plan, work=work), store, editors, started)
        yield _report(work, video, record, store.memory, started)
        source = _next(call, video)


def _render(
    plan: VideoPlan[ViewWork], store: Store[ViewStore], editors: EditorPool, started: float
) -> tuple[Entry, TurnRecord]:
    record = edit_turn(ViewTurn(plan, enter_turn(plan.work, store), store.memory), store, editors)
    video = stitch_video(plan, record, store)
    publish(plan, record, video, store, time.time() - started)
    return video, record


def _all_finished(call: ViewCall) -> tuple[TurnReport, ...] | None:
    """The reports of all turns if there is nothing left to do."""
    source, reports = call.video, []
    for camera in call.cameras:
        started = time.time()
        work = call.turn(camera, source)
        video = find_shown(work.request.out, work.output_id)
        if video is None:
            return None
        reports.append(_report(work, video, None, ViewStore(call.request.out / MEMORY), started))
        source = _next(call, video)
    return tuple(reports)


def _next(call: ViewCall, video: Entry) -> ViewSource:
    """What the next turn renders."""
    if not call.request.chain:
        return call.video
    return ViewSource(probe(call.request.out / video.path), video.checksum, video.turn)


def _report(work: ViewWork, video: Entry, record: TurnRecord | None, memory: ViewStore, started: float) -> TurnReport:
    path = (work.request.out / video.path).resolve()
    segments = read_video_note(video).segments
    made = sum(not done.reused for done in record.segments) if record else 0
    return TurnReport(
        number=video.turn,
        camera=work.camera.name,
        output=str(path),
        review=str(review_path(path)),
        segments=segments,
        reused=segments - made,
        seconds=round(time.time() - started, 2),
        notes=work.camera.notes,
        recalled=recalled_in(memory, video.key),
    )


def _summary(turn: TurnReport) -> str:
    work = f"{count_text(turn.segments - turn.reused, 'segment')} made, {turn.reused} reused, {turn.seconds:.1f} s"
    lines = [f"turn {turn.number}  {turn.camera}: {work}", f"video   {turn.output}", f"review  {turn.review}"]
    return "\n".join([*lines, *(f"note    {note}" for note in turn.notes)])
