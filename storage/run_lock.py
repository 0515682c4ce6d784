"""Who runs a catalog: one process at a time, or one a shard, each of which says who it is."""

import fcntl
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from model.errors import StoreBusyError, StoreError

POLL_SECONDS = 0.1
BRIEF_SECONDS = 2.0  # whoever looks whether a run goes on holds the lock for a moment


@dataclass(frozen=True)
class Holder:
    """A run: its process, its machine, when it began, and Prefect's id of it."""

    process: int
    machine: str
    started: str
    flow_run: str

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine."""
        return self.machine == platform.node()


class RunLock:
    """Holds a catalog, or a shard of it, for one run; the system releases it when the process ends, however it ends.

    Shards run side by side, and none beside a run of the whole. Where another run is in the way, `say` is told who, and
    it is waited for, `wait` seconds at most; `busy` says which videos are at hand.

    Raises, on entering:
        StoreBusyError: another run holds it, still.
        StoreError: it cannot be locked, or who holds it cannot be written down.
    """

    def __init__(
        self,
        folder: Path,
        shard: str | None,
        flow_run: str,
        busy: Callable[[], str],
        wait: float | int = 0,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._folder, self._wait, self._say, self._busy = folder, wait, say, busy
        self._path = lock_path(folder, shard)
        self._lock = FileLock(self._path)
        self._holder = Holder(os.getpid(), platform.node(), datetime.now(UTC).isoformat(timespec="seconds"), flow_run)

    def __enter__(self) -> "RunLock":
        if not self._acquired(BRIEF_SECONDS):
            told = f"{self._folder.parent}: {self._describe()}"
            if self._wait and self._say:
                self._say(f"{told}; waiting, {self._wait:g} s at most")
            if not self._acquired(self._wait):
                raise StoreBusyError(f"{told}; wait for it, or end it with memory-v2v catalog cancel")
        try:
            holder_path(self._path).write_text(json.dumps(asdict(self._holder)))
        except OSError as fault:
            self._lock.release()
            raise self._unfit(fault) from fault
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        holder_path(self._path).unlink(missing_ok=True)
        self._lock.release()

    def _acquired(self, seconds: float | int) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._lock.acquire(timeout=max(0.0, deadline - time.monotonic()), poll_interval=POLL_SECONDS)
            except Timeout:
                return False
            except OSError as fault:
                raise self._unfit(fault) from fault
            if not any(is_held(lock) for lock in self._others()):
                return True
            self._lock.release()
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)

    def _others(self) -> list[Path]:
        """The locks of runs beside which this one may not be: for a shard that of the whole, for the whole all."""
        whole = lock_path(self._folder, None)
        return sorted(self._folder.glob("run-*.lock")) if self._path == whole else [whole]

    def _unfit(self, fault: OSError) -> StoreError:
        return StoreError(f"{self._folder}: cannot be locked ({fault.strerror}); make room, or have it made writable")

    def _describe(self) -> str:
        held = next(filter(None, map(read_holder, [self._path, *self._others()])), None)
        if held is None:
            return "another run holds it"
        busy = self._busy()
        at_hand = f"; at hand: {busy}" if busy else ""
        return f"process {held.process} on {held.machine} runs this catalog since {held.started}{at_hand}"


def lock_path(folder: Path, shard: str | None) -> Path:
    """The lock of a catalog's folder, or of a shard such as `2/8`."""
    return folder / ("run.lock" if shard is None else f"run-{shard.replace('/', '-of-')}.lock")


def holder_path(lock: Path) -> Path:
    """Where the one that holds a lock says who it is."""
    return lock.with_suffix(".json")


def read_holder(lock: Path) -> Holder | None:
    """Who holds a lock; None where nobody does, or the one that did was killed."""
    try:
        holder = Holder(**json.loads(holder_path(lock).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return holder if is_held(lock) else None


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock now."""
    try:
        with lock.open("rb") as file:  # to read is enough, also where it is another user's
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # it is held, may not be read, or lies where there are no such locks and to be there is to be held
        return True
    return False


def holders(folder: Path) -> list[Holder]:
    """All runs of a catalog that go on, of whichever shard."""
    return [held for lock in sorted(folder.glob("run*.lock")) if (held := read_holder(lock)) is not None]
