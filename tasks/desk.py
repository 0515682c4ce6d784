"""One Editor at work on one turn: feeds it, bears with what fails, and hands what it made to the committer."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
from prefect import get_run_logger

from model.config import FaultPolicy
from storage.faults import Docket, Fault
from storage.making import Making
from storage.store import Store
from tasks.commit import Committer, EditedWork
from tasks.editor_handle import EditorHandle, SegmentError
from tasks.turn import PreparedSegment, Quarantined, SegmentRecord

MEMORIES_SHARED = 16  # latents kept in Ray's object store: neighbours often recall the same
TILE = 256  # pixels: of the tiles in which pictures are encoded and decoded where memory is short
TILED, OFFLOADED = 1, 2  # what is done where memory was short once, and twice


class EditingDesk:
    """Edits segments with `editor`, each until it is done or given up."""

    def __init__(
        self, editor: EditorHandle, store: Store[Any], committer: Committer, docket: Docket, policy: FaultPolicy
    ) -> None:
        self.editor = editor
        self._store, self._committer, self._docket, self._policy = store, committer, docket, policy
        self._shared: OrderedDict[str, Any] = OrderedDict()
        self._relief = 0
        self._log = get_run_logger()

    def edit(
        self, prepared: PreparedSegment, frames: Any, report: Callable[[float], None]
    ) -> SegmentRecord | Quarantined:
        """Edit one segment, in as many attempts as the policy allows, and start its commit.

        `frames` is a Ray reference; `report` gets the share done.

        Raises:
            InputError: the request itself is at fault.
            LostEditorError: the Editor does not come back.
            LostActorError: the run is being ended.
        """
        row = prepared.row
        while not is_exhausted(self._docket.of(row.id), self._policy):
            try:
                return self._commit(prepared, self._attempt(prepared, frames, report))
            except SegmentError as fault:
                self._docket.add(row, Fault(fault.kind, fault.reason))
                faults = self._docket.of(row.id)
                self._log.warning("segment %d: attempt %d failed: %s", row.segment, len(faults), fault.reason)
                self._recover(fault, faults)
        faults = self._docket.of(row.id)
        self._log.error("segment %d is quarantined: %s", row.segment, faults[-1].reason)
        return Quarantined(prepared.segment, len(faults), faults[-1].reason)

    def _attempt(self, prepared: PreparedSegment, frames: Any, report: Callable[[float], None]) -> EditedWork:
        row, job = prepared.row, prepared.job
        if self._relief >= TILED:
            job = replace(job, config=job.config.model_copy(update={"tile": min(job.config.tile or TILE, TILE)}))
        if self._relief >= OFFLOADED:
            self.editor.offload()
        pixels, (pair, reference), seconds, merges = self.editor.edit(frames, job, self._latents(row.recalled), report)
        self._share(row.id, reference)
        edited, source = pair
        making = Making(job.config.tile, merges, prepared.attempt)
        return EditedWork(row.made(edited, source), pixels, edited, source, seconds, making)

    def _recover(self, fault: SegmentError, faults: Sequence[Fault]) -> None:
        """Make the Editor ready for another attempt; what wanted too much memory gets by with less from now on.

        After an error it starts anew before the segment's last attempt, and only then: its process may be what fails,
        as after an illegal access on its GPU, and would fail at all that comes.
        """
        self._shared.clear()  # some may be lost with the node that made them; the store has them all
        if fault.kind == "error" and _failures(faults) == max(1, self._policy.errors - 1):
            self._log.warning("the Editor starts anew, as what fails may be its process")
            self.editor.restart()
            self.editor.load()
        elif fault.kind == "death":
            self.editor.load()
        elif fault.kind == "memory":
            self._relief = min(self._relief + 1, OFFLOADED)

    def _commit(self, prepared: PreparedSegment, edited: EditedWork) -> SegmentRecord:
        self._committer.commit(edited)
        row = prepared.row
        names = ", ".join(f"{memory.id[:8]} {memory.score:.3f} {memory.reason}" for memory in row.recalls)
        text = "segment %d [%d, %d) edited in %.2f s; recalled: %s"
        self._log.info(text, row.segment, row.start, row.stop, edited.seconds, names or "nothing")
        merges = edited.making.merges
        return SegmentRecord(prepared.segment, row.id, row.recalls, edited.seconds, reused=False, merges=merges)

    def _latents(self, ids: Sequence[str]) -> list[Any]:
        """Ray references to the memories' latents, fetched from the store where they are not shared yet."""
        missing = [id for id in ids if id not in self._shared]
        self._committer.wait_for(missing)  # the last one edited, maybe at another desk, may still be on its way
        fetched = zip(missing, self._store.memory.latents(missing), strict=True)
        known = self._shared | {id: ray.put(latents) for id, latents in fetched}
        references = [known[id] for id in ids]
        for id, reference in zip(ids, references, strict=True):
            self._share(id, reference)
        return references

    def _share(self, id: str, reference: Any) -> None:
        self._shared[id] = reference
        self._shared.move_to_end(id)
        while len(self._shared) > MEMORIES_SHARED:
            self._shared.popitem(last=False)


def is_exhausted(faults: Sequence[Fault], policy: FaultPolicy) -> bool:
    """Whether a segment with these faults is given up."""
    failures = _failures(faults)
    return len(faults) - failures >= policy.deaths or failures >= policy.errors


def _failures(faults: Sequence[Fault]) -> int:
    """Those that the Editor's process outlived."""
    return sum(fault.kind != "death" for fault in faults)
