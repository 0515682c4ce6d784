"""A folder has one writer, who is named to others, and waited for."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from model.errors import StoreBusyError, StoreError
from storage.store_lock import StoreLock

HOLD = """
import sys
from pathlib import Path
from storage.store_lock import StoreLock
with StoreLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(StoreBusyError) as caught, StoreLock(tmp_path):
            pass
        assert str(tmp_path) in str(caught.value)
        assert str(process.pid) in str(caught.value).split()


def test_a_second_lock_in_this_process_is_refused_too(tmp_path: Path) -> None:
    with StoreLock(tmp_path):
        with pytest.raises(StoreBusyError, match=str(os.getpid())), StoreLock(tmp_path):
            pass
        assert "pid" in (tmp_path / "store.json").read_text(), "the holder is still named"


def test_the_lock_is_free_after_its_holder_was_killed(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
        with StoreLock(tmp_path):
            assert str(os.getpid()) in (tmp_path / "store.json").read_text()


def test_the_lock_is_free_after_use_and_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError), StoreLock(tmp_path):
        raise ArithmeticError("the model failed")
    for _ in range(2):
        with StoreLock(tmp_path):
            pass
    assert not (tmp_path / "store.json").exists()


@pytest.mark.parametrize("name", ["store.lock", "store.json"])
def test_a_folder_that_cannot_be_locked_is_one_line_and_left_free(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(StoreError, match=f"{tmp_path}: cannot be locked"), StoreLock(tmp_path):
        pass
    (tmp_path / name).rmdir()
    with StoreLock(tmp_path):
        pass


@pytest.mark.parametrize("text", [None, "", "{"])
def test_a_holder_without_a_name_is_still_noticed(tmp_path: Path, text: str | None) -> None:
    with holder(tmp_path):
        if text is None:
            (tmp_path / "store.json").unlink()
        else:
            (tmp_path / "store.json").write_text(text)
        with pytest.raises(StoreBusyError, match="unknown"), StoreLock(tmp_path):
            pass


def test_a_held_folder_is_waited_for_and_that_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    with holder(tmp_path) as process, ThreadPoolExecutor(1) as pool:

        def release(text: str) -> None:
            said.append(text)
            pool.submit(process.kill)

        @contextmanager
        def resting() -> Iterator[None]:
            yield said.append("others go on")
            said.append("we go on")

        with StoreLock(tmp_path, 60, release, resting):
            assert str(os.getpid()) in (tmp_path / "store.json").read_text()
        with StoreLock(tmp_path, 60, release, resting):
            pass
    assert said[1:] == ["others go on", "we go on"]
    assert f"process {process.pid} is writing to it; waiting for it, 60 s at most" in said[0]


def test_waiting_has_an_end(tmp_path: Path) -> None:
    with (
        holder(tmp_path) as process,
        pytest.raises(StoreBusyError, match=f"process {process.pid} is"),
        StoreLock(tmp_path, 0.2),
    ):
        pass
