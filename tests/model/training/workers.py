"""Processes that train together: the same lines in each of two, which meet by gloo."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

WORKERS = 2
BEGIN = f"""
import json, sys
from datetime import timedelta
from pathlib import Path
import torch
import torch.distributed as dist

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
meeting = f"file://{{folder / 'meeting'}}"
dist.init_process_group("gloo", meeting, rank=rank, world_size={WORKERS}, timeout=timedelta(seconds=60))
"""
END = """
(folder / f"{rank}.json").write_text(json.dumps(told))
dist.destroy_process_group()
"""


def told_by_workers(lines: str, folder: Path) -> list[Any]:
    """What each worker's `lines` leave in `told`; they find `rank`, `folder`, `torch` and `dist`."""
    command = [sys.executable, "-c", BEGIN + lines + END]
    workers = [subprocess.Popen([*command, str(rank), str(folder)], stderr=subprocess.PIPE) for rank in range(WORKERS)]
    try:
        faults = [worker.communicate(timeout=120)[1].decode() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0] * WORKERS, faults
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORKERS)]
