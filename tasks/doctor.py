"""What this machine has and lacks for a run, and what to do about it."""

import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av

from model.errors import MemoryV2VError
from storage.ffmpeg import find_ffmpeg, version
from storage.store import place_for
from tasks.weights import locate_weights

FLOORS = ((8, 1, 3), (9, 0, 2))  # FFmpeg with the fixes known in November 2026, by its major version
DISK_GB = 20
TORCH = "import torch; print(torch.__version__, torch.cuda.is_available())"  # apart: it is slow to load, and may fail
PORTS = {4200: "the Prefect page (memory-v2v serve)"}  # a Ray of our own has no page


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `fix` says what to run or change; empty when `state` is ok."""

    name: str
    state: Literal["ok", "note", "missing"]
    detail: str
    fix: str = ""


def examine(weights: str, out: Path, cache: Path) -> list[Finding]:
    """Look at everything an edit needs. Starts nothing and changes nothing, except that `untrained` may be built."""
    return [_python(), _ffmpeg(), _pyav(), _gpu(), _weights(weights, cache), _disk(out), *map(_port, PORTS)]


def _python() -> Finding:
    return Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _ffmpeg() -> Finding:
    try:
        path, told = find_ffmpeg(), version()
    except MemoryV2VError as fault:
        return Finding("ffmpeg", "missing", str(fault), "pip install imageio-ffmpeg, or set MEMORY_V2V_FFMPEG")
    return _of_ffmpeg("ffmpeg", told, f"{told} at {path}")


def _pyav() -> Finding:
    told = av.ffmpeg_version_info
    return _of_ffmpeg("pyav", told, f"PyAV {av.__version__} with FFmpeg {told}")


def _of_ffmpeg(name: str, told: str, detail: str) -> Finding:
    if is_known_faulty(told):
        return Finding(name, "note", detail, "known decoder faults: edit files from strangers in a sandbox")
    return Finding(name, "ok", detail)


def is_known_faulty(told: str) -> bool:
    """Whether an FFmpeg that tells this version lacks fixes; one that tells none we read (a snapshot) is suspected too.

    Distributions mend old versions without renaming them: then the warning is one too many.
    """
    found = re.match(r"[nv]?(\d+(?:\.\d+)*)", told)
    numbers = tuple(int(part) for part in found[1].split(".")) if found else (0,)
    floor = next((floor for floor in reversed(FLOORS) if floor[0] <= numbers[0]), FLOORS[0])
    return numbers < floor


def _gpu() -> Finding:
    tool = shutil.which("nvidia-smi")
    if not tool:
        fix = "the demo runs on the CPU; for the real bases use a machine with an NVIDIA GPU of 24 GB"
        return Finding("gpu", "note", "no NVIDIA driver found", fix)
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False)
    if listed.returncode:
        return Finding("gpu", "note", "nvidia-smi failed", "check the NVIDIA driver")
    found = "; ".join(listed.stdout.strip().splitlines())
    asked = subprocess.run([sys.executable, "-P", "-c", TORCH], capture_output=True, text=True, check=False)
    torch, _, usable = asked.stdout.strip().partition(" ")
    if usable != "True":
        fix = "install a build of torch for CUDA (pytorch.org), or a newer driver; until then use --device cpu"
        return Finding("gpu", "note", f"{found}; torch {torch or 'does not load, and so'} cannot use it", fix)
    return Finding("gpu", "ok", f"{found}; torch {torch} can use it")


def _weights(name: str, cache: Path) -> Finding:
    try:
        return Finding("weights", "ok", str(locate_weights(name, cache, offline=True)))
    except MemoryV2VError as fault:
        fix = "give --weights a diffusers folder; a model of the hub is downloaded by the first edit"
        return Finding("weights", "missing", str(fault), fix)


def _disk(out: Path) -> Finding:
    try:
        place = place_for(out)
    except MemoryV2VError as fault:
        return Finding("disk", "missing", str(fault), "choose another --out")
    free = shutil.disk_usage(place).free / 1e9
    if free < DISK_GB:
        return Finding("disk", "note", f"{free:.0f} GB free at {place}", f"long videos want {DISK_GB} GB or more")
    return Finding("disk", "ok", f"{free:.0f} GB free at {place}")


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    if taken:
        return Finding(f"port {port}", "note", "in use", f"wanted for {PORTS[port]}: stop what uses it, or ignore")
    return Finding(f"port {port}", "ok", f"free, for {PORTS[port]}")
