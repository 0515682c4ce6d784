"""A catalog: many videos, edited overnight on a pool of Editors. The flow only wires; the tasks do the work."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.cancelling import cancellable
from flows.environment import user_folder
from flows.request import made_anywhere
from model.config import CatalogRequest
from model.errors import RequestError, RunError
from storage.calibration import record_rates
from storage.catalog import read_catalog
from storage.faults import forgive
from storage.finished import find_result
from storage.ledger import Ledger
from storage.run_lock import Holder, RunLock, holders
from storage.run_report import REQUEST, RunRecord, keep_request, read_request, read_runs, write_run
from storage.store import MEMORY, place_for
from storage.table_place import has_tables, require_prefix
from storage.video_states import STATE, VideoState, VideoStates
from tasks.catalog import Actors, CatalogRun
from tasks.catalog_board import Board, show_catalog
from tasks.catalog_measure import measure_run, require_few_failures
from tasks.catalog_plan import CatalogPlan, known_rates, plan_catalog, setting_of, units_of
from tasks.catalog_told import report_markdown
from tasks.catalog_work import Entry, Setup, entries_of, is_remote, set_up
from tasks.cluster import start_cluster, start_ray
from tasks.pool import descriptor_of, dismiss, require_room, start_editors, start_embedder
from tasks.terminal import say

CANCEL_SECONDS = 120.0


def run(request: CatalogRequest) -> RunRecord:
    """Edit a catalog from this process, starting what is not running yet. What is done is found.

    Raises:
        InputError: the request cannot be carried out as given; nothing was edited.
        CatalogError: more videos failed than may; its `record` says what was done all the same.
        RunError: it ended before its end; the same call goes on from there.
    """
    started = time.time()
    _understand(request)
    start_cluster()
    return RunRecord(**edit_catalog(request, started))


def plan(request: CatalogRequest) -> CatalogPlan:
    """What `run` would do; nothing is written.

    Raises:
        InputError: the request cannot be carried out as given.
    """
    setup, entries = _understand(request)
    return _plan(entries, setup)


@flow(name="edit-catalog", flow_run_name="catalog {request.manifest.name}", log_prints=False)
@cancellable
def edit_catalog(request: CatalogRequest, started: float | None = None) -> dict[str, Any]:
    """Edit all videos of a manifest, and return what was done (see `RunRecord`).

    Args:
        request: One run over a catalog.
        started: When the run began, for its report; empty is now.

    Raises:
        CatalogError: more videos failed than may.
    """
    started = started or time.time()
    setup, entries = _understand(request)
    start_ray()
    require_room(str(setup.weights), setup.device, request.editors)
    setup.state.mkdir(parents=True, exist_ok=True)
    with RunLock(setup.state, request.shard, flow_run.get_id() or "", partial(_at_hand, setup), request.wait, say):
        states = VideoStates(setup.state)
        keep_request(setup.state, made_anywhere(request).model_copy(update={"only": (), "shard": None}))
        editors = start_editors(
            str(setup.weights), setup.dtype, setup.device, request.editors, request.faults, request.speed
        )
        embedder = start_embedder(setup.descriptor, setup.device)
        try:
            planned = _plan(entries, setup, states)
            lefts = {one.id: one.left for one in planned.planned}
            actors = Actors(editors, embedder, *descriptor_of(embedder))
            with Board(planned) as board:
                catalog = CatalogRun(units_of(entries, lefts), setup, actors, states)
                catalog.run(board.tell)
                measured = measure_run(catalog, planned, editors, started)
                write_run(setup.state, measured.record)
                board.finish(report_markdown(measured.record, catalog.table), catalog.table)
                show_catalog(request.out, list(states.read().values()), measured.record)
        finally:
            dismiss(editors, embedder)
    if measured.rates is not None:
        record_rates(user_folder("data"), setting_of(setup), measured.rates)
    require_few_failures(measured.record, request.max_failed_fraction)
    return asdict(measured.record)


def status(out: Path) -> tuple[list[Holder], list[VideoState]]:
    """Who runs a catalog now, and the state of its videos, those at hand included.

    Raises:
        RequestError: no catalog was ever run there.
    """
    folder = _state_of(out)
    running = holders(folder)
    states = (_as_it_lies(out, state) for state in VideoStates(folder).read().values())
    return running, [
        state if running or state.state != "editing" else replace(state, state="queued") for state in states
    ]


def _as_it_lies(out: Path, state: VideoState) -> VideoState:
    """A state with its result where the catalog's folder is now; one in a bucket stays what it is."""
    if not state.output or is_remote(state.output):
        return state
    found = find_result(out.absolute(), state)
    return state if found is None else replace(state, output=str(found))


def retry(out: Path) -> RunRecord | None:
    """Run those videos again that failed, or are partial, with their quarantined segments; None if there are none.

    Raises:
        RequestError: no catalog was ever run there, or its request cannot be read.
        StoreBusyError: it is being run.
        CatalogError, RunError: see `run`.
    """
    folder = _state_of(out)
    request = read_request(folder).model_copy(update={"out": out.absolute()})  # it may have been moved since
    lost = {state.id for state in VideoStates(folder).read().values() if state.state in ("failed", "partial")}
    again = {entry.video.video_id for entry in _understand(request)[1]} & lost
    if lost - again:
        say(f"{request.manifest} does not name them any more: {', '.join(sorted(lost - again))}")
    if not again:
        return None
    request = request.model_copy(update={"only": tuple(sorted(again))})
    setup, entries = _understand(request)
    with RunLock(folder, None, "", partial(_at_hand, setup)):
        for entry in entries:
            if has_tables(entry.folder / MEMORY):
                forgive(Ledger(entry.folder / MEMORY))
    return run(request)


def cancel(out: Path) -> list[Holder]:
    """End the runs of a catalog on this machine, and wait until they have ended; what was committed stays.

    Raises:
        RequestError: no catalog was ever run there, or it runs on other machines alone.
        RunError: a run did not end.
    """
    folder = _state_of(out)
    found = holders(folder)
    running = [holder for holder in found if holder.is_here]
    if away := [holder for holder in found if not holder.is_here]:
        named = ", ".join(f"process {holder.process} on {holder.machine}" for holder in away)
        told = f"{out}: {named} runs it; cancel it there"
        if not running:
            raise RequestError(told)
        say(told)
    for holder in running:
        try:
            os.kill(holder.process, signal.SIGTERM)
        except ProcessLookupError:
            continue  # it has ended just now
        except PermissionError:
            raise RequestError(f"{out}: process {holder.process} is another user's; have them cancel it") from None
    deadline = time.monotonic() + CANCEL_SECONDS
    while left := [holder for holder in holders(folder) if holder in running]:
        if time.monotonic() > deadline:
            raise RunError(f"{out}: process {left[0].process} did not end in {CANCEL_SECONDS:g} s; kill it")
        time.sleep(0.5)
    return running


def report(out: Path) -> tuple[RunRecord, list[VideoState], str]:
    """The last run of a catalog, its videos as they stand, and both as Markdown; its page is written anew.

    Raises:
        RequestError: no run of a catalog has come to its end there.
    """
    runs, states = read_runs(_state_of(out)), status(out)[1]
    if not runs:
        raise RequestError(f"{out}: no run has come to its end yet; see memory-v2v catalog status")
    show_catalog(out, states, runs[-1])
    return runs[-1], states, report_markdown(runs[-1], states)


def _understand(request: CatalogRequest) -> tuple[Setup, list[Entry]]:
    place_for(request.out)
    if request.memory is not None:
        require_prefix(request.memory)
    setup = set_up(request, user_folder("cache"))
    return setup, entries_of(read_catalog(request.manifest, request.defaults, request.out), request)


def _plan(entries: Sequence[Entry], setup: Setup, states: VideoStates | None = None) -> CatalogPlan:
    if states is None and (setup.state / "videos.lance").is_dir():
        states = VideoStates(setup.state)
    known = states.read() if states else {}
    return plan_catalog(entries, known, setup, known_rates(user_folder("data"), setup))


def _at_hand(setup: Setup) -> str:
    states = VideoStates(setup.state).read().values()
    return ", ".join(sorted(state.id for state in states if state.state == "editing"))


def _state_of(out: Path) -> Path:
    folder = out.absolute() / STATE
    if not (folder / REQUEST).is_file():
        raise RequestError(f"{out}: no catalog was run there; give the --out of memory-v2v catalog run")
    return folder
