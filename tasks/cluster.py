"""Start what a run needs, or join it: Ray for the actors, a Prefect server for the states.

`RAY_ADDRESS` and `PREFECT_API_URL` name a cluster; without them both are started on this machine, on loopback only,
side by side, and die with this process, also when it is killed.
"""

import atexit
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from typing import Any, Generic, TypeVar

import psutil

from model.errors import RequestError, RunError, first_line

T = TypeVar("T")

OBJECT_STORE_BYTES = 2 * 2**30  # two segments in flight and a few memories; frames never accumulate


def start_cluster() -> None:
    """Start Ray and the Prefect server at the same time, and wait for both."""
    start_cluster_for(lambda: None)


def start_cluster_for(actors: Callable[[], T]) -> T:
    """Start both, and as soon as there is Ray, while the server is still coming up, the actors of a run.

    A flow begins when the server is there; weights need not wait for that. A server that the user has named is asked
    before anything starts.

    Raises:
        RunError: either did not come up, or the server that the user has named lets nobody in.
    """
    require_prefect(" Unset PREFECT_API_URL to do without it")
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="start") as thread:
        prefect_started = thread.submit(start_prefect)
        start_ray()
        started = actors()
        prefect_started.result()
    return started


class Handover(Generic[T]):
    """Actors that a call starts beside the server, for the flow to take over; a flow that is run alone finds none."""

    def __init__(self, name: str) -> None:
        self._actors: ContextVar[T | None] = ContextVar(name, default=None)

    @contextmanager
    def started(self, actors: Callable[[], T]) -> Iterator[None]:
        """Start a cluster with `actors`, which are there for the flow that is run inside."""
        token = self._actors.set(start_cluster_for(actors))
        try:
            yield
        finally:
            self._actors.reset(token)

    def get(self) -> T | None:
        """The actors, if there are any."""
        return self._actors.get()


def start_ray() -> None:
    """Join the cluster at `RAY_ADDRESS`, else start one on this machine; a second call does nothing.

    Call it from a thread that lives as long as the process: Linux ends Ray's processes with the thread that made them.
    Within a flow the signal to end stays with Prefect, which else would tell of a crash where a run is cancelled.

    Raises:
        RequestError: `MEMORY_V2V_METRICS_PORT` is no port.
        RunError: Ray did not come up, most often because the machine is overloaded.
    """
    import ray
    from prefect.utilities.engine import is_prefect_sigterm_handler_installed

    if ray.is_initialized():
        return
    prefects = signal.getsignal(signal.SIGTERM) if is_prefect_sigterm_handler_installed() else None
    quiet: dict[str, Any] = {"namespace": "memory-v2v", "log_to_driver": False, "logging_level": logging.ERROR}
    ours = not os.environ.get("RAY_ADDRESS")
    if ours:
        store = min(OBJECT_STORE_BYTES, psutil.virtual_memory().available // 5)
        quiet |= {"address": "local"}  # else Ray joins whatever cluster /tmp/ray names, whoever wrote that
        quiet |= {"include_dashboard": False, "object_store_memory": store, "_metrics_export_port": _metrics_port()}
    try:
        ray.init(**quiet)
    except Exception as fault:  # Ray raises nothing narrower
        ray.shutdown()
        raise RunError(
            f"Ray did not start: {str(fault).rstrip('.')}; when the machine is less busy, run the same command again"
        ) from fault
    if prefects is not None:
        signal.signal(signal.SIGTERM, prefects)
    if ours:
        die_with_us([child.pid for child in psutil.Process().children(recursive=True)])  # its agents outlive a kill


def _metrics_port() -> int | None:
    """Where Ray's agent serves the numbers of tasks/metrics.py, on all interfaces; None is any free port."""
    port = os.environ.get("MEMORY_V2V_METRICS_PORT")
    if not port:
        return None
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise RequestError(f"MEMORY_V2V_METRICS_PORT={port}: expected a port, 1 to 65535")
    return int(port)


def require_prefect(instead: str = "") -> None:
    """See that the Prefect server that the user has named lets us in, if one is named; `instead` is what else to do.

    Raises:
        RunError: it does not answer, wants another login, or is of another version.
    """
    from httpx import HTTPError, HTTPStatusError, InvalidURL
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    address = get_current_settings().api.url
    if address is None:
        return
    try:
        with get_client(sync_client=True) as client:
            client.read_deployments(limit=1)
            client.raise_for_api_version_mismatch_once()
    except (HTTPError, InvalidURL, ValueError, RuntimeError) as fault:  # the latter of an answer, and of a version
        reason = f"status {fault.response.status_code}" if isinstance(fault, HTTPStatusError) else first_line(fault)
        raise RunError(
            f"{address}: no Prefect server lets us in ({reason}); is it up, and its login in PREFECT_API_AUTH_STRING "
            f"or PREFECT_API_KEY?{instead}"
        ) from fault


def start_prefect() -> None:
    """Start the ephemeral Prefect server unless one is configured; a flow started later joins it.

    Raises:
        RunError: it did not come up, most often because the machine is overloaded.
    """
    from httpx import HTTPError
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url is not None:
        return
    server = SubprocessASGIServer()
    try:
        with _without_interrupts():
            server.start(timeout=settings.server.ephemeral.startup_timeout_seconds)
    except (RuntimeError, HTTPError) as fault:
        raise RunError(
            f"the Prefect server did not start: {first_line(fault).rstrip('.')}; when the machine is less busy, "
            "run the same command again"
        ) from fault
    if server.server_process is not None:
        die_with_us([server.server_process.pid])


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes begun here never hear of Ctrl-C, which a terminal sends to all of a group: they end with us.

    Ray sees to that by itself; a server that ended first would be asked in vain for a minute and a half.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # of this thread, and what it starts
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def choose_device(wish: str) -> str:
    """`cpu` or `cuda`: what was asked for, or a GPU if this machine has one.

    Raises:
        RequestError: `cuda` is asked for where there is no GPU, or a torch that knows none, and no cluster to ask.
    """
    if wish == "cpu":
        return "cpu"
    found = _has_gpu()
    if wish == "cuda" and not found and not os.environ.get("RAY_ADDRESS"):
        raise RequestError("--device cuda: no NVIDIA GPU here that torch can use; use --device cpu, or set RAY_ADDRESS")
    return "cuda" if found or wish == "cuda" else "cpu"


def require_capacity(what: str, count: int, device: str, each: int = 1, on_cpu: str = "--device cpu") -> None:
    """See that `count` processes find room; each takes `each` GPUs, or so many cores where `device` is the CPU.

    Ray would wait for room for ever; where there is a cluster to join, it may still come.

    Raises:
        RequestError: this machine has no room for so many.
    """
    import ray

    kind = "GPU" if device.startswith("cuda") else "CPU"
    room = int(ray.cluster_resources().get(kind, 0)) // each if each else count
    if count > room and not os.environ.get("RAY_ADDRESS"):
        instead = f", or use {on_cpu}" if kind == "GPU" else ""
        raise RequestError(
            f"{what} {count}: this machine has room for {room}, one {kind} each; set RAY_ADDRESS{instead}"
        )


def _has_gpu() -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):  # hidden from this process, and from Ray
        return False
    if version("torch").endswith("+cpu"):  # a build that knows no GPU; loading it here to ask would take seconds
        return False
    tool = shutil.which("nvidia-smi")
    return tool is not None and b"GPU" in subprocess.run([tool, "-L"], capture_output=True, check=False).stdout


GUARD = """
import sys, time
from contextlib import suppress
import psutil
ours = []
for pid in sys.argv[1:]:
    with suppress(psutil.Error):
        ours.append(psutil.Process(int(pid)))
sys.stdin.read()
for end in ("terminate", "kill"):
    for process in ours:
        with suppress(psutil.Error):
            getattr(process, end)()
    time.sleep(3)
"""


def die_with_us(pids: Sequence[int]) -> None:
    """Have processes end when this one does, in whatever way: a pipe that we hold closes with us.

    One that has ended by then is not touched, even if its number is now that of another.
    """
    command = [sys.executable, "-c", GUARD, *map(str, pids)]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    atexit.register(guard.kill)
