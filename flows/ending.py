"""How a command ends that a signal tells to: in one line, with the shells' exit code, and soon. Loads no Prefect.

Where the signal went to Ray and to Prefect's server as well, as service managers send it, both would be asked in vain
for a minute and more before they are given up.
"""

import os
import threading

from flows.console import say

INTERRUPTED, TERMINATED = 130, 143  # exit codes after Ctrl-C, and after SIGTERM
GRACE_SECONDS = 25.0  # some managers kill after thirty

_commands = threading.Event()


def be_a_command() -> None:
    """From now on this process is a command, which may be ended; before, it is somebody's Python, which may not."""
    _commands.set()


def end_soon(code: int) -> None:
    """End a command that has been told to in `GRACE_SECONDS`, unless it does so by itself."""
    if not _commands.is_set():
        return
    patience = threading.Timer(GRACE_SECONDS, _end, [code])
    patience.daemon = True
    patience.start()


def say_ended(code: int) -> None:
    """Why a command ends."""
    why = "interrupted" if code == INTERRUPTED else "terminated"
    say(f"memory-v2v: {why}; what was committed is kept, the same command goes on from there")


def _end(code: int) -> None:
    say_ended(code)
    os._exit(code)
