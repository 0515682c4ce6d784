"""Processor time of a run by kind of process: the driver, Prefect's server, Ray's own, Editors, the Embedder, FFmpeg.

Processor time, unlike the wall's, hardly depends on what else the machine does. Processes that end are kept in the
account as they were last seen. FFmpeg's come and go too fast to be seen: the system adds them up for whoever waits.
"""

import threading
import time
from collections import Counter
from types import TracebackType

import psutil

SAMPLE_SECONDS = 2.0
KINDS = {"ray::Editor": "editors", "ray::Embedder": "embedder", "prefect.server": "prefect"}
"""What a command line holds, by kind; all other children are Ray's own."""
DRIVER, FFMPEG, RAY = "driver", "ffmpeg", "ray"


class Account:
    """Use as a context manager around a run of this process; then `seconds` are by kind, of both modes.

    `wall` is how long it took, `others` the processor seconds that the rest of the machine used meanwhile.
    """

    def __init__(self) -> None:
        self._me, self._stop = psutil.Process(), threading.Event()
        self._begun: dict[int, float] = {}
        self._seen: dict[int, tuple[str, float]] = {}
        self._own = 0.0
        self.seconds: Counter[str] = Counter()
        self.wall = self.others = 0.0

    def __enter__(self) -> "Account":
        self._look()
        self._begun = {pid: used for pid, (_, used) in self._seen.items()}
        self._driver, self._machine, self._started = self._me.cpu_times(), _busy(), time.perf_counter()
        self._thread = threading.Thread(target=self._watch, name="account", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.wall = time.perf_counter() - self._started
        self._stop.set()
        self._thread.join()
        self._look()
        now, before = self._me.cpu_times(), self._driver
        self.seconds[DRIVER] = now.user + now.system - before.user - before.system - self._own
        self.seconds[FFMPEG] = now.children_user + now.children_system - before.children_user - before.children_system
        for pid, (name, used) in self._seen.items():
            self.seconds[name] += used - self._begun.get(pid, 0.0)
        self.others = max(_busy() - self._machine - self.seconds.total() - self._own, 0.0)

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._look()
            self._own = time.thread_time()

    def _look(self) -> None:
        for child in self._me.children(recursive=True):
            try:
                known = self._seen.get(child.pid)
                name = known[0] if known and known[0] != RAY else _kind(child)  # a worker gets its actor later
                used = child.cpu_times()
                if name != FFMPEG:
                    self._seen[child.pid] = (name, used.user + used.system)
            except psutil.NoSuchProcess:
                continue


def private_megabytes(kind: str) -> list[float]:
    """What each process of a kind holds that no other shares."""
    found = [child for child in psutil.Process().children(recursive=True) if _kind(child) == kind]
    return [child.memory_full_info().uss / 1e6 for child in found]


def _kind(process: psutil.Process) -> str:
    if FFMPEG in process.name():
        return FFMPEG
    command = " ".join(process.cmdline())
    return next((kind for part, kind in KINDS.items() if part in command), RAY)


def _busy() -> float:
    times = psutil.cpu_times()
    return times.user + times.system + times.nice
