"""A run that is cancelled while it waits for Ray."""

import subprocess
import sys

import pytest

from flows.cancelling import cancellable
from flows.edit import edit_video

WAITING = """
import os
import signal
import threading
import time

import ray
from prefect.utilities.engine import capture_sigterm

from flows.cancelling import cancellable
from tasks.cluster import start_ray


@ray.remote(num_cpus=0)
def forever():
    time.sleep(600)


def flow():
    threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    running = forever.remote()
    while not ray.wait([running], timeout=1.0)[0]:
        pass


with capture_sigterm():
    start_ray()
    try:
        {}()
    except BaseException as fault:
        print(type(fault).__name__)
"""


@pytest.mark.parametrize(("flow", "ends_in"), [("cancellable(flow)", "TerminationSignal"), ("flow", "SystemError")])
def test_the_signal_is_told_as_prefect_told_it(flow: str, ends_in: str, joining: dict[str, str]) -> None:
    """The second is what Ray makes of it: once that changes, nothing of this is wanted any more."""
    command = [sys.executable, "-c", WAITING.format(flow)]
    asked = subprocess.run(command, env=joining, capture_output=True, text=True, timeout=200)
    assert asked.stdout.strip() == ends_in, asked.stderr


def test_a_flow_keeps_its_own_errors_and_its_signature() -> None:
    def broken(number: int) -> None:
        raise SystemError(f"of its own: {number}")

    with pytest.raises(SystemError, match="of its own: 3"):
        cancellable(broken)(3)
    assert list(edit_video.parameters.properties) == ["request", "started"]
