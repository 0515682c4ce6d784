"""What ends a catalog's night, and what is the affair of one video."""

import errno
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from model.errors import (
    DiskFullError,
    LostActorError,
    LostEditorError,
    RunError,
    UnreachableError,
    VideoError,
    WeightsError,
)
from tasks import catalog
from tasks.catalog import CatalogRun, common_fault
from tasks.turn import TurnRecord


@pytest.mark.parametrize("kind", [WeightsError, LostActorError, DiskFullError, UnreachableError])
def test_what_every_video_would_meet_is_told_as_it_is(kind: type[Exception], tmp_path: Path) -> None:
    fault = kind("told")
    assert common_fault(fault, tmp_path) is fault


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOSPC, "x"), RunError("a.mkv: could not be written (No space left on device)")]
)
def test_a_full_disk_is_told_by_the_folder(fault: Exception, tmp_path: Path) -> None:
    told = common_fault(fault, tmp_path / "out")
    assert isinstance(told, DiskFullError)
    assert str(told).startswith(f"{tmp_path / 'out'}: the disk is full; make room")


@pytest.mark.parametrize(
    "fault",
    [LostEditorError("one of two"), RayActorError(), OutOfMemoryError("killed"), VideoError("a"), ValueError("b")],
)
def test_what_befalls_one_video_is_its_own_affair(fault: Exception, tmp_path: Path) -> None:
    assert common_fault(fault, tmp_path) is None


def test_where_hardly_any_room_is_left_all_fails_for_want_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "LEAST_FREE", 2**80)
    assert isinstance(common_fault(ValueError("b"), tmp_path), DiskFullError)
    assert common_fault(LostEditorError("one of two"), tmp_path) is None


def test_a_cluster_that_does_not_answer_ends_the_night(tmp_path: Path) -> None:
    told = common_fault(RayError("its head is gone\nand more"), tmp_path)
    assert str(told) == "Ray does not answer (RayError: its head is gone); run the same command again"


def test_a_thread_that_dies_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a folder changes while its size is taken: its video must not look as if nobody had failed it."""
    states: Any = SimpleNamespace(read=dict, write=lambda changed: None)
    entry: Any = SimpleNamespace(video=SimpleNamespace(video_id="a", tags=(), skip=False), line="1")
    actors: Any = SimpleNamespace(editors=SimpleNamespace(size=1))
    monkeypatch.setattr(catalog, "get_run_logger", lambda: None)
    monkeypatch.setattr(CatalogRun, "_edit", lambda *_: None)
    monkeypatch.setattr(CatalogRun, "_conclude", lambda *_: (tmp_path / "gone").stat())
    setup: Any = None
    with pytest.raises(FileNotFoundError):
        CatalogRun([[entry]], setup, actors, states).run(lambda run: None)


@pytest.mark.parametrize(("mode", "late"), [("flag", 0), ("redo", 1)])
def test_a_video_that_is_being_made_ready_will_need_an_editor(
    monkeypatch: pytest.MonkeyPatch, mode: str, late: int
) -> None:
    """A fan leaves it one: until it has one, and again before its next turn; also for what its gate edits again."""
    states: Any = SimpleNamespace(read=dict, write=lambda changed: None)
    video = SimpleNamespace(video_id="a", tags=(), skip=False, turns=(1, 2))
    entry: Any = SimpleNamespace(video=video, line="1", delivery=None)
    editors = SimpleNamespace(size=1, leased=0, expected=None)
    actors: Any = SimpleNamespace(editors=editors, descriptor_size=1, embedder=None, descriptor_name="")
    setup: Any = SimpleNamespace(request=SimpleNamespace(faults=None))
    gate = SimpleNamespace(redoes=mode == "redo")
    asked = SimpleNamespace(out=Path(), memory=None, gate=gate)
    work = SimpleNamespace(request=asked, info=SimpleNamespace(seconds=1), output_id="", fingerprint="f", session="")
    seen: list[int] = []

    def edit(*_: object) -> Any:
        seen.append(run._waiting())
        editors.leased = 1
        seen.append(run._waiting())
        editors.leased = 0
        return TurnRecord(1, ())

    def look(kept: Any) -> Any:
        seen.append(run._waiting())
        return kept

    monkeypatch.setattr(catalog, "get_run_logger", lambda: None)
    for name in ("local_source", "ingest", "TextTurn", "enter_turn"):
        monkeypatch.setattr(catalog, name, lambda *_: None)
    monkeypatch.setattr(catalog, "requests_of", lambda *_: [SimpleNamespace(model_copy=lambda update: None)] * 2)
    monkeypatch.setattr(catalog, "parents_of", lambda _: [0, 0])
    monkeypatch.setattr(catalog, "find_shown", lambda *_: None)
    monkeypatch.setattr(catalog, "open_store", lambda *_: nullcontext(SimpleNamespace(memory=None)))
    monkeypatch.setattr(catalog, "edit_segments", edit)
    monkeypatch.setattr(catalog, "pass_gate", lambda *_: look((TurnRecord(1, ()), None)))
    monkeypatch.setattr(catalog, "stitch_video", lambda *_: look(SimpleNamespace(path="a.mp4")))
    monkeypatch.setattr(catalog, "publish", lambda *_: None)
    monkeypatch.setattr(catalog, "read_turns", lambda *_: [SimpleNamespace(number=1, fingerprint="f")])
    monkeypatch.setattr(catalog, "count_flagged", lambda _: 0)
    monkeypatch.setattr(CatalogRun, "_describe", lambda *_: work)
    monkeypatch.setattr(CatalogRun, "_conclude", lambda *_: seen.append(run._waiting()))
    run = CatalogRun([[entry]], setup, actors, states)
    assert run._waiting() == 1, "nobody has begun it"
    run.run(lambda run: None)
    assert seen == [*(1, 0, late, 0) * 2, 0]
