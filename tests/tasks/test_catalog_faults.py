"""What ends a catalog's night, and what is the affair of one video."""

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError, RayError

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


@pytest.mark.parametrize("fault", [LostEditorError("one of two"), RayActorError(), VideoError("a"), ValueError("b")])
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
