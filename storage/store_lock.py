"""Who writes to a folder: one process at a time, whatever the folder holds."""

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from model.errors import StoreBusyError, StoreError


class StoreLock:
    """Holds a folder for one process; the system releases it when the process ends, however it ends.

    Where another process holds it, `say` is told so once, and it is waited for, `wait` seconds at most; `meanwhile` is
    entered as long.

    Raises, on entering:
        StoreBusyError: another process holds it, still.
        StoreError: one may not write there, or there is no room.
    """

    def __init__(
        self,
        folder: Path,
        wait: float | int = 0,
        say: Callable[[str], None] | None = None,
        meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._folder, self._wait, self._say, self._meanwhile = folder, wait, say, meanwhile
        self._holder = folder / "store.json"
        self._lock = FileLock(folder / "store.lock")

    def __enter__(self) -> "StoreLock":
        if not self._acquired(0):
            held = f"{self._folder}: process {self._holder_pid()} is writing to it"
            if self._wait and self._say:
                self._say(f"{held}; waiting for it, {self._wait:g} s at most")
            if not self._acquired_in_time():
                raise StoreBusyError(f"{held}; wait for it, or choose another --out")
        try:
            self._holder.write_text(json.dumps({"pid": os.getpid()}))
        except OSError as fault:
            self._lock.release()
            raise self._unfit(fault) from fault
        return self

    def _acquired_in_time(self) -> bool:
        if not self._wait:
            return False
        with self._meanwhile():
            return self._acquired(self._wait)

    def _acquired(self, seconds: float | int) -> bool:
        try:
            self._lock.acquire(timeout=seconds)
        except Timeout:
            return False
        except OSError as fault:
            raise self._unfit(fault) from fault
        return True

    def _unfit(self, fault: OSError) -> StoreError:
        return StoreError(f"{self._folder}: cannot be locked ({fault.strerror}); make room, or have it made writable")

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._holder.unlink(missing_ok=True)
        self._lock.release()

    def _holder_pid(self) -> Any:
        try:
            return json.loads(self._holder.read_text())["pid"]
        except (OSError, ValueError):
            return "unknown"
