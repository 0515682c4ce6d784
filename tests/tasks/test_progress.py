"""A run outlives whoever reads its lines."""

import os
import subprocess
import sys

UNREAD = """
import logging
from prefect.logging.handlers import PrefectConsoleHandler
from tasks.progress import CountedProgress
from tasks.terminal import say
logging.getLogger().addHandler(PrefectConsoleHandler())
for _ in range(2):
    say("a line")
    CountedProgress("clip", 1, "clip").say("a line above the bar")
    logging.error("a line of Prefect's log")
print("went on", flush=True)
"""


def test_a_run_goes_on_where_nobody_reads_its_lines_any_more() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", UNREAD], stdout=subprocess.PIPE, stderr=writer, text=True)
    os.close(writer)
    assert done.stdout == "went on\n"
