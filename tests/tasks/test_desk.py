"""What a desk does about an Editor that fails, and where it has memories from."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import ray

from model.config import EditConfig, FaultPolicy
from model.rehearsal import write_rehearsal
from model.types import Segment, Span
from storage.faults import Docket
from storage.making import Making
from storage.store import Store, open_store
from tasks import commit
from tasks.actors.editor import EditJob
from tasks.commit import Committer, EditedWork
from tasks.desk import EditingDesk
from tasks.editor_handle import EditorHandle
from tasks.pool import EditorPool, start_editors
from tasks.turn import PreparedSegment, Quarantined, SegmentRecord
from tests.storage.memories import SIZE, make_latents, make_row

PICTURES = np.zeros((5, 64, 64, 3), np.uint8)
NO_EDITOR: Any = None


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr("tasks.desk.get_run_logger", logging.getLogger)
    with open_store(tmp_path / "out", SIZE) as opened:
        yield opened


@pytest.fixture
def editors(cluster: None, tmp_path: Path) -> Iterator[EditorPool]:
    write_rehearsal(tmp_path / "rehearsal", 0.01)
    pool = start_editors(str(tmp_path / "rehearsal"), "float32", "cpu")
    yield pool
    pool.close()


def prepared(number: int, instruction: str = "make it night", recalled: tuple[str, ...] = ()) -> PreparedSegment:
    row = replace(
        make_row(number), recalled=recalled, scores=(0.5,) * len(recalled), reasons=("similar",) * len(recalled)
    )
    job = EditJob(instruction, 5, number, recalled, None, EditConfig())
    return PreparedSegment(Segment(number, 0, Span(4 * number, 4 * number + 5), 5), row, job)


def edit(desk: EditingDesk, segment: PreparedSegment) -> SegmentRecord | Quarantined:
    return desk.edit(segment, ray.put(PICTURES), lambda share: None)


def work_of(number: int) -> EditedWork:
    return EditedWork(make_row(number), PICTURES, *make_latents(number), seconds=0.5, making=Making())


def process_of(editor: EditorHandle) -> int:
    return ray.get(editor.actor.load.remote())


def poison(actor: Any) -> None:
    """From now on the process fails at all that it is asked to edit, as after an illegal access on its GPU."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    object.__setattr__(actor._model.result(), "edit", fail)


def test_an_editor_whose_process_fails_at_everything_starts_anew(editors: EditorPool, store: Store) -> None:
    """It would else have given up this segment, and all that come after it."""
    docket = Docket(store.ledger, "film")
    with editors.lease() as editor, Committer(store) as committer:
        desk = EditingDesk(editor, store, committer, docket, FaultPolicy())
        first = process_of(editor)
        ray.get(editor.actor.__ray_call__.remote(poison))
        assert isinstance(edit(desk, prepared(0)), SegmentRecord)
        assert docket.added == 2
        assert process_of(editor) != first


@pytest.mark.parametrize("errors", [1, 2, 3])
def test_a_segment_that_fails_costs_one_process_at_most(
    editors: EditorPool, store: Store, monkeypatch: pytest.MonkeyPatch, errors: int
) -> None:
    restart, restarted = EditorHandle.restart, []
    monkeypatch.setattr(EditorHandle, "restart", lambda editor: (restarted.append(editor), restart(editor)))
    with editors.lease() as editor, Committer(store) as committer:
        desk = EditingDesk(editor, store, committer, Docket(store.ledger, "film"), FaultPolicy(errors=errors))
        given_up = edit(desk, prepared(0, "make it night [error]"))
        assert isinstance(given_up, Quarantined)
        assert given_up.attempts == errors
        assert restarted == [editor]
        assert isinstance(edit(desk, prepared(1)), SegmentRecord)
        assert restarted == [editor]


def test_a_memory_that_was_lost_with_its_node_is_taken_from_the_store(editors: EditorPool, store: Store) -> None:
    docket, segment = Docket(store.ledger, "film"), prepared(1, recalled=(make_row(0).id,))
    with editors.lease() as editor, Committer(store) as committer:
        committer.commit(work_of(0))
        desk = EditingDesk(editor, store, committer, docket, FaultPolicy())
        desk._share(make_row(0).id, editor.actor.__ray_call__.remote(lambda _: 1 / 0))  # whoever takes it fails
        assert isinstance(edit(desk, segment), SegmentRecord)
        assert docket.added == 1


def test_a_memory_that_is_being_committed_is_waited_for(
    cluster: None, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last anchor of a fan, which another desk edited."""
    write, written = commit.write_segment, Event()

    def write_at_last(frames: np.ndarray, path: Path) -> None:
        written.wait(60)
        write(frames, path)

    monkeypatch.setattr(commit, "write_segment", write_at_last)
    with Committer(store) as committer, ThreadPoolExecutor(1) as thread:
        committer.commit(work_of(0))
        desk = EditingDesk(NO_EDITOR, store, committer, Docket(store.ledger, "film"), FaultPolicy())
        asked = thread.submit(desk._latents, [committer.recent[-1].id])
        with pytest.raises(TimeoutError):
            asked.result(0.2)
        assert desk._latents([]) == [], "who recalls nothing waits for nothing"
        written.set()
        (reference,) = asked.result(60)
        for found, kept in zip(ray.get(reference), make_latents(0), strict=True):
            assert found.tobytes() == kept.tobytes()
