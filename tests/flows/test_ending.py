"""Commands that are told to end do so soon, and say so; somebody's Python is not ended."""

import subprocess
import sys

import pytest

from flows.ending import INTERRUPTED, TERMINATED

TOLD = """
import sys
import time

from flows import cli, ending

ending.GRACE_SECONDS = 0.2


def go_on():
    ending.end_soon({code})
    time.sleep(3)


cli.app = lambda **_: go_on()
{how}
print("went on")
"""


def run(code: int, how: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", TOLD.format(code=code, how=how)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.parametrize(("code", "why"), [(INTERRUPTED, "interrupted"), (TERMINATED, "terminated")])
def test_a_command_that_does_not_end_by_itself_is_ended(code: int, why: str) -> None:
    ended = run(code, "cli.main()")
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.startswith(f"memory-v2v: {why}; what was committed is kept")


def test_what_is_no_command_goes_on() -> None:
    went = run(INTERRUPTED, "go_on()")
    assert (went.returncode, went.stdout, went.stderr) == (0, "went on\n", "")


HIDDEN = """
from flows import cli


def fail(**_):
    try:
        raise {first}
    finally:
        raise {then}


cli.app = fail
cli.main()
"""


@pytest.mark.parametrize(
    ("first", "then", "code"),
    [
        ("KeyboardInterrupt", "OSError('no answer')", INTERRUPTED),
        ("SystemExit(15)", "OSError('no answer')", TERMINATED),
        ("SystemExit(2)", "OSError('no answer')", 1),
        ("ValueError", "KeyError('a fault of ours')", 1),
        ("ValueError", "SystemExit(3)", 3),
    ],
)
def test_what_comes_of_a_signal_is_told_as_the_signal(first: str, then: str, code: int) -> None:
    """Such as a server that ended before us; a fault of ours stays one."""
    command = [sys.executable, "-c", HIDDEN.format(first=first, then=then)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == code
    assert ("Traceback" in ended.stderr) == (code == 1)
