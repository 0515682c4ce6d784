"""Edit a catalog's videos on a pool of Editors: each in a thread of its own, which leases an Editor when it is ready.

What goes wrong with a video is its own affair: it is told, and the night goes on. What would go wrong with all of them
(a full disk, a model that does not load, no Editor left) ends the run; the same command goes on from there.
"""

import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from prefect import get_run_logger
from ray.exceptions import RayError, RayTaskError

from model.config import EditRequest
from model.errors import (
    DiskFullError,
    LostActorError,
    LostEditorError,
    MemoryV2VError,
    RunError,
    UnreachableError,
    VideoError,
    WeightsError,
    first_line,
)
from storage.garbage import size_of
from storage.ledger import Entry as LedgerEntry
from storage.object_store import upload
from storage.review import find_shown
from storage.scores import count_flagged
from storage.store import Patience, existing, is_disk_full, open_store, read_turns
from storage.video_note import read_video_note
from storage.video_states import VideoState, VideoStates
from tasks.actors.answers import DEATHS
from tasks.catalog_work import Entry, Setup, local_source, parents_of, requests_of
from tasks.edit import Care, edit_segments
from tasks.gate import pass_gate
from tasks.ingest import ingest
from tasks.pool import EditorPool
from tasks.publish import publish
from tasks.recall import TextTurn
from tasks.stitch import stitch_video
from tasks.turn import TurnRecord
from tasks.work import EditWork, describe_work, enter_turn

FLUSH_SECONDS = 1.0  # between two looks at what has changed
AHEAD = 1  # videos made ready for each Editor beside the one that it edits: read, searched, waiting
STITCHERS = 1  # threads more, since videos are stitched while Editors are at work elsewhere
LEAST_FREE = 16 * 2**20  # bytes: with less, whatever fails fails for want of room
STORE_SECONDS = 600.0  # a video waits for another process that writes to its folder


@dataclass
class Tally:
    """What happened to a video so far, turn by turn; `length` is how many seconds it plays."""

    segments: int = 0
    edited: int = 0
    reused: int = 0
    quarantined: int = 0
    faults: int = 0
    flagged: int = 0
    seconds: float = 0.0
    drift: float = 0.0
    reason: str = ""
    output: str = ""
    length: float = 0.0
    numbers: list[int] = field(default_factory=list)
    """Of the turns in the session."""

    def add(self, record: TurnRecord, drift: float | None) -> None:
        """Count a turn."""
        lost = record.quarantined
        self.segments += len(record.segments) + len(lost)
        self.reused += sum(done.reused for done in record.segments)
        self.edited += sum(not done.reused for done in record.segments)
        self.seconds += sum(done.seconds for done in record.segments)
        self.quarantined, self.faults = self.quarantined + len(lost), self.faults + record.faults
        self.drift = self.drift if drift is None else drift
        if lost:
            numbers = ", ".join(str(one.segment.index) for one in lost)
            self.reason = f"segments given up: {numbers}; {lost[-1].reason}"


@dataclass(frozen=True)
class Actors:
    """The actors of a run, and what the Embedder's descriptors are called and measure."""

    editors: EditorPool
    embedder: Any
    descriptor_name: str
    descriptor_size: int


class CatalogRun:
    """One run over `units`, each a list of videos that are edited one after the other, since they share a memory.

    `states` is kept up to date; `told` is called every second with all states, and how many segments are done by video.
    """

    def __init__(self, units: Sequence[Sequence[Entry]], setup: Setup, actors: Actors, states: VideoStates) -> None:
        self._setup, self._actors, self._table = setup, actors, states
        self._units = deque(units)
        self._lock, self._log = Lock(), get_run_logger()
        self._fault: BaseException | None = None
        known = states.read()
        self.entries = [entry for unit in units for entry in unit]
        self.states = {entry.video.video_id: _queued(entry, known) for entry in self.entries}
        self.progress: dict[str, tuple[int, int]] = {}
        self._changed = set(self.states)
        self._begun: set[str] = set()

    def run(self, told: Callable[["CatalogRun"], None]) -> None:
        """Edit all videos; `told` is called every second.

        Raises:
            MemoryV2VError: what would go wrong with every video.
        """
        editors = self._actors.editors
        editors.expected = self._waiting
        count = min((1 + AHEAD) * editors.size + STITCHERS, len(self._units))
        threads = [Thread(target=copy_context().run, args=(self._work,), daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            while threads:
                threads[0].join(FLUSH_SECONDS)
                self.flush()
                told(self)
                threads = [thread for thread in threads if thread.is_alive()]
        finally:
            with self._lock:
                self._units.clear()
        self.flush()
        if self._fault is not None:
            raise self._fault

    @property
    def shard(self) -> str | None:
        """The part of the catalog that the run takes; None is all."""
        return self._setup.request.shard

    @property
    def table(self) -> list[VideoState]:
        """The states, by the order of the work."""
        return [self.states[entry.video.video_id] for entry in self.entries]

    def flush(self) -> None:
        """Write the states that have changed."""
        with self._lock:
            changed, self._changed = [self.states[id] for id in self._changed], set()
        try:
            self._table.write(changed)
        except (RuntimeError, OSError) as fault:
            self._fault = self._fault or common_fault(fault, self._setup.request.out) or fault

    def _waiting(self) -> int:
        """Videos that will need an Editor and have none: those that nobody has begun, and those being made ready."""
        return len(self._units) + max(0, len(self._begun) - self._actors.editors.leased)

    def _work(self) -> None:
        """Take units while there are some; what nobody expected ends the run, for a thread that dies looks finished."""
        try:
            while (unit := self._next()) is not None:
                for entry in unit:
                    if self._fault is None:
                        self._settle(entry)
        except BaseException as fault:  # noqa: BLE001 - raised again by `run`
            self._fault = self._fault or fault

    def _next(self) -> Sequence[Entry] | None:
        with self._lock:
            return self._units.popleft() if self._units and self._fault is None else None

    def _settle(self, entry: Entry) -> None:
        """Edit a video; whatever goes wrong with it is its own affair, or ends the run."""
        id, tally = entry.video.video_id, Tally()
        if entry.video.skip:
            nothing = dict.fromkeys(("edited", "reused", "quarantined", "faults", "flagged"), 0)
            self._change(id, state="skipped", error="", seconds=0.0, **nothing)
            return
        self._begun.add(id)
        self._change(id, state="editing", error="")
        try:
            self._edit(entry, tally)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the other videos go on
            if (common := common_fault(fault, self._setup.request.out)) is not None:
                self._fault = self._fault or common
                self._change(id, state="queued", error=str(common))
                return
            tally.reason = in_words(fault)
            self._log.error("%s failed: %s", id, tally.reason, exc_info=not isinstance(fault, MemoryV2VError))
        finally:
            self._begun.discard(id)
        self._conclude(entry, tally)

    def _edit(self, entry: Entry, tally: Tally) -> None:
        """All turns of a video, each stitched and published when its segments are done."""
        source = local_source(entry, self._setup)
        requests = requests_of(entry, self._setup, source)
        for request, parent in zip(requests, parents_of(entry.video.turns), strict=True):
            self._begun.add(entry.video.video_id)
            on = tally.numbers[parent - 1] if parent else 0
            work = self._describe(entry, request.model_copy(update={"on": on}))
            tally.length = float(work.info.seconds)
            done = find_shown(work.request.out, work.output_id)
            if done is None:
                done = self._edit_turn(entry, work, tally)
            else:
                segments = read_video_note(done).segments
                tally.segments, tally.reused = tally.segments + segments, tally.reused + segments
            if done is None:
                return
            turns = read_turns(work.request.out, work.session)
            tally.numbers.append(next(turn.number for turn in turns if turn.fingerprint == work.fingerprint))
            tally.output = str(work.request.out / done.path)
            tally.flagged += count_flagged(Path(tally.output)) or 0
        if entry.delivery is not None:
            path = Path(tally.output)
            tally.output = upload(path, f"{entry.delivery.rstrip('/')}/{path.name}").uri

    def _describe(self, entry: Entry, request: EditRequest) -> EditWork:
        setup, asked = self._setup, entry.video.sha256
        work = describe_work(request, setup.weights, setup.descriptor, setup.device, setup.cache)
        if asked is not None and work.video_id != asked:
            raise VideoError(f"{entry.source}: its sha256 is {work.video_id}; the manifest says {asked}; fetch it anew")
        return work

    def _edit_turn(self, entry: Entry, work: EditWork, tally: Tally) -> LedgerEntry | None:
        """One turn of a video; None if segments were given up, so that there is nothing to stitch."""
        started, actors, id = time.time(), self._actors, entry.video.video_id
        plan = ingest(work)

        def told(done: int, total: int) -> None:
            self.progress[id] = (tally.segments + done, tally.segments + total)

        care = Care(self._setup.request.faults, told=told)
        with open_store(
            work.request.out, actors.descriptor_size, Patience(STORE_SECONDS), work.request.memory
        ) as store:
            turn = TextTurn(plan, enter_turn(work, store), store.memory, actors.embedder, actors.descriptor_name)
            record = edit_segments(turn, store, actors.editors, care, datetime.now(UTC))
            if not work.request.gate.redoes:
                self._begun.discard(id)  # what is left of it needs no Editor
            if record.quarantined:
                tally.add(record, None)
                return None
            record, verdict = pass_gate(turn, record, store, actors.editors, care)
            self._begun.discard(id)
            video = stitch_video(plan, record, store)
            tally.add(record, publish(plan, record, video, store, time.time() - started, verdict))
        return video

    def _conclude(self, entry: Entry, tally: Tally) -> None:
        folder, output = entry.folder, Path(tally.output)
        self._change(
            entry.video.video_id,
            state="partial" if tally.quarantined else "failed" if tally.reason else "done",
            segments=tally.segments,
            edited=tally.edited,
            reused=tally.reused,
            quarantined=tally.quarantined,
            faults=tally.faults,
            flagged=tally.flagged,
            seconds=round(tally.seconds, 3),
            video_seconds=round(tally.length, 3),
            error=tally.reason,
            output=tally.output,
            folder=folder.relative_to(self._setup.request.out.absolute()).as_posix(),
            output_bytes=output.stat().st_size if output.is_file() else 0,
            memory_bytes=size_of(folder) if folder.is_dir() else 0,
            **({"drift": round(tally.drift, 2)} if tally.drift else {}),
        )

    def _change(self, id: str, **fields: Any) -> None:
        with self._lock:
            self.states[id] = replace(self.states[id], **fields)
            self._changed.add(id)


def common_fault(fault: BaseException, out: Path) -> MemoryV2VError | None:
    """The fault as one that every video would meet, or None if it is the affair of one."""
    if isinstance(fault, LostEditorError):
        return None  # where it was the last one, the next video is told so
    if isinstance(fault, WeightsError | LostActorError | DiskFullError | UnreachableError):
        return fault
    if is_disk_full(fault) or shutil.disk_usage(existing(out)).free < LEAST_FREE:
        return DiskFullError(f"{out}: the disk is full; make room, then run the same command again")
    if isinstance(fault, RayError) and not isinstance(fault, (*DEATHS, RayTaskError)):
        return RunError(f"Ray does not answer ({in_words(fault)}); run the same command again")
    return None


def in_words(fault: BaseException) -> str:
    """One line: our own errors as they are, others with their type."""
    return first_line(fault) if isinstance(fault, MemoryV2VError) else f"{type(fault).__name__}: {first_line(fault)}"


def _queued(entry: Entry, known: Mapping[str, VideoState]) -> VideoState:
    """The state before the run: what an earlier one knew of the video is kept, where its line is the same."""
    id, tags = entry.video.video_id, " ".join(entry.video.tags)
    before = known.get(id)
    if before is None or before.line != entry.line:
        return VideoState(id, entry.line, "queued", tags=tags)
    return replace(before, state="queued", tags=tags)
