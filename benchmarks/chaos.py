"""A night in which everything breaks: is every video done, every segment committed once, every result what it would be?

The metric is the number of segments lost, doubled or different; the ceiling is none. In each round a catalog is edited
on a cluster of two Ray nodes with a Prefect server of its own (all on this machine, all killed with -9), and each of
the faults below strikes once, in random order, a few segments after the one before. What an operator would do is done:
what died is started again, room is made, a file is put back; and the same command is run again where it ended.

The model is a rehearsal that waits (`model/rehearsal.py`), everything else is real. Filling the disk needs root, for a
file system of its own; without root that fault is left out, and the table says so.

    python benchmarks/chaos.py [--rounds 5] [--seed 0] [--json] [--write]
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from reporting import Figures, page, parser, publish, say, table
from storage.ffmpeg import find_ffmpeg
from storage.ledger import Ledger

VIDEOS, SEGMENTS, STEP, SECONDS = 16, 8, 4, 0.4
ROOM = 400 * 2**20  # bytes of the file system that is filled
APART = (3, 9)  # segments committed between two faults, least and most
PATIENCE = 300.0  # seconds until something that must happen has not
RUNS = 12  # of the same command, at most
AT_ONCE = 25.0  # seconds after a fault in which a run that ends does so for it
WENT_ON, AGAIN = "the run went on", "the command was run again"


@dataclass
class Stage:
    """The cluster, the catalog and the run; whatever was killed is started again by `restore`."""

    folder: Path
    manifest: Path
    out: Path
    env: dict[str, str]
    ports: dict[str, int]
    chance: np.random.Generator
    servers: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    run: "subprocess.Popen[bytes] | None" = None
    log: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {text}"
        self.log.append(line)
        say(line)

    def start(self, *command: str, name: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=self.env, start_new_session=True)

    def restore(self) -> None:
        """Start what is not running, and wait until it answers."""
        python, ray = sys.executable, str(Path(sys.executable).with_name("ray"))
        alive = {name for name, server in self.servers.items() if server.poll() is None}
        if "prefect" not in alive:
            address = ("--host", "127.0.0.1", "--port", str(self.ports["prefect"]))
            self.servers["prefect"] = self.start(python, "-m", "prefect", "server", "start", *address, name="prefect")
        if "head" not in alive:
            self.kill("node")  # a node without its head is of no use
            alive.discard("node")
            address = ("--node-ip-address", "127.0.0.1", "--port", str(self.ports["ray"]), "--num-cpus", "1")
            self.servers["head"] = self.start(
                ray, "start", "--head", "--block", "--include-dashboard=false", *address, name="head"
            )
        wait_until(lambda: answers(self.ports["ray"]) and answers(self.ports["prefect"]))
        if "node" not in alive:
            address = ("--node-ip-address", "127.0.0.2", "--address", f"127.0.0.1:{self.ports['ray']}")
            self.servers["node"] = self.start(ray, "start", "--block", "--num-cpus", "1", *address, name="node")

    def kill(self, name: str) -> None:
        """kill -9 a server with all its processes."""
        if name in self.servers:
            kill_tree(self.servers[name].pid)
            self.servers[name].wait()

    def kill_worker(self, kind: str) -> None:
        """kill -9 an actor's process."""
        named = [one for one in psutil.process_iter(["name"]) if (one.info["name"] or "").startswith(f"ray::{kind}")]
        if named:
            named[self.chance.integers(len(named))].kill()

    def command(self, verb: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "flows.cli", "catalog", verb, *arguments, "--json"]

    def begin(self) -> None:
        options = ("--out", str(self.out), "--weights", f"rehearsal:{SECONDS}", "--editors", "2")
        self.run = self.start(*self.command("run", str(self.manifest), *options), name="run")

    def ended(self) -> bool:
        return self.run is None or self.run.poll() is not None

    def committed(self) -> int:
        return sum(len(list(path.glob("segments/*.mkv"))) for path in self.out.glob("take-*"))


def kill_editor(stage: Stage) -> None:
    stage.kill_worker("Editor")


def kill_embedder(stage: Stage) -> None:
    stage.kill_worker("Embedder")


def kill_flow(stage: Stage) -> None:
    assert stage.run is not None
    stage.run.kill()
    stage.run.wait()


def kill_head(stage: Stage) -> None:
    stage.kill("head")


def kill_node(stage: Stage) -> None:
    stage.kill("node")


def kill_prefect(stage: Stage) -> None:
    stage.kill("prefect")


def fill_disk(stage: Stage) -> None:
    """Leave no room for a while, or until the run has ended."""
    filler = stage.out / "filler"
    with suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(2**20))
    with suppress(AssertionError):
        wait_until(stage.ended, 20)
    filler.unlink()


def remove_input(stage: Stage) -> None:
    """Take away a video that nobody has begun; `put_back` is what the operator does in the morning."""
    waiting = [path for path in stage.manifest.parent.glob("take-*.mp4") if not (stage.out / path.stem).is_dir()]
    if waiting:
        chosen = waiting[stage.chance.integers(len(waiting))]
        chosen.rename(chosen.with_suffix(".gone"))


FAULTS: dict[str, Callable[[Stage], None]] = {
    "Editor killed": kill_editor,
    "Embedder killed": kill_embedder,
    "flow killed": kill_flow,
    "Ray head killed": kill_head,
    "second Ray node killed": kill_node,
    "Prefect server killed": kill_prefect,
    "disk full": fill_disk,
    "input removed": remove_input,
}


def play_round(stage: Stage, faults: Sequence[str]) -> dict[str, Any]:
    """Edit a catalog while the faults strike; returns how often the command was run, and what each fault did."""
    seen: dict[str, str] = {}
    runs, struck = 0, 0.0
    left = list(faults)
    wanted = stage.chance.integers(*APART)
    while runs < RUNS:
        stage.restore()
        if stage.ended():
            if seen and stage.run is not None:
                seen[next(reversed(seen)) if time.monotonic() - struck < AT_ONCE else "input removed"] = AGAIN
            stage.begin()
            runs += 1
            stage.say(f"run {runs}, with {stage.committed()} segments committed")
        deadline = time.monotonic() + PATIENCE
        while left and not stage.ended() and stage.committed() < wanted:
            assert time.monotonic() < deadline, f"only {stage.committed()} segments after {PATIENCE} s"
            time.sleep(0.05)
        if left and not stage.ended():
            name = left.pop()
            stage.say(f"{name}, after {stage.committed()} segments")
            FAULTS[name](stage)
            wanted = stage.committed() + stage.chance.integers(*APART)
            seen[name], struck = WENT_ON, time.monotonic()
            time.sleep(1.0)
            continue
        wait_until(stage.ended, PATIENCE)
        code = stage.run.returncode if stage.run else None
        stage.say(f"the run ended with {code}")
        gone = list(stage.manifest.parent.glob("take-*.gone"))
        for path in gone:
            path.rename(path.with_suffix(".mp4"))
        if code == 0 and not left:
            return {"runs": runs, "seen": seen}
    raise AssertionError(f"not done after {RUNS} runs of the same command")


def results(out: Path) -> dict[str, Any]:
    """By video: its segments in order, each with its id and checksum, and the checksum of the result's frames."""
    found = {}
    for folder in sorted(out.glob("take-*")):
        entries = Ledger(folder / "memory").entries()
        segments = sorted((entry.segment, entry.id, entry.checksum) for entry in entries if entry.kind == "segment")
        videos = [entry for entry in entries if entry.kind == "video"]
        frames = [hash_frames(folder / entry.path) for entry in videos]
        found[folder.name] = {"segments": segments, "frames": frames, "faults": sum(e.kind == "fault" for e in entries)}
    return found


def compare(disturbed: dict[str, Any], quiet: dict[str, Any]) -> dict[str, int]:
    """How many segments, or videos, are not as they would have been."""
    counts: Counter[str] = Counter(lost=0, doubled=0, different=0, videos_different=0)
    for name, expected in quiet.items():
        seen = Counter(number for number, _, _ in disturbed.get(name, {"segments": []})["segments"])
        counts["lost"] += sum(number not in seen for number, _, _ in expected["segments"])
        counts["doubled"] += sum(times - 1 for times in seen.values())
        counts["different"] += len(set(disturbed[name]["segments"]) - set(expected["segments"]))
        counts["videos_different"] += disturbed[name]["frames"] != expected["frames"]
    return dict(counts)


def hash_frames(path: Path) -> str:
    command = [str(find_ffmpeg()), "-v", "error", "-i", str(path), "-map", "0:v", "-f", "hash", "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write_catalog(folder: Path) -> Path:
    """Videos that differ, so that no two have one name."""
    folder.mkdir()
    frames, lines = STEP * SEGMENTS + 1, []
    for number in range(VIDEOS):
        chart = f"testsrc2=size=64x64:rate=24,hue=h={number * 20},trim=end_frame={frames}"
        command = [str(find_ffmpeg()), "-v", "error", "-f", "lavfi", "-i", chart, "-c:v", "libx264"]
        path = folder / f"take-{number:02d}.mp4"
        subprocess.run([*command, "-pix_fmt", "yuv420p", str(path)], check=True)
        turns = [{"prompt": "make it night"}]
        lines.append(json.dumps({"video_id": path.stem, "uri": path.name, "turns": turns}))
    (folder / "catalog.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "catalog.jsonl"


@contextmanager
def open_stage(folder: Path, seed: int) -> Iterator[Stage]:
    """A cluster with its catalog; everything ends with it."""
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    ports = {"ray": free_port(), "prefect": free_port()}
    env = {
        **os.environ,
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PREFECT_HOME": str(folder / "prefect"),
        "RAY_ADDRESS": f"127.0.0.1:{ports['ray']}",
        "PREFECT_API_URL": f"http://127.0.0.1:{ports['prefect']}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "DO_NOT_TRACK": "1",
    }
    stage = Stage(folder, write_catalog(folder / "footage"), folder / "out", env, ports, np.random.default_rng(seed))
    try:
        yield stage
    finally:
        if stage.run is not None and stage.run.poll() is None:
            kill_tree(stage.run.pid)
        for name in ("node", "head", "prefect"):
            stage.kill(name)


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of `ROOM` bytes at `folder`; False where we may not make one."""
    folder.mkdir()
    made = os.geteuid() == 0
    if made:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)], check=True)
    try:
        yield made
    finally:
        if made:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def measure(rounds: int, seed: int) -> dict[str, Any]:
    """All rounds against one run that nothing disturbs."""
    played: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, open_stage(Path(name), seed) as stage:
        stage.restore()
        stage.begin()
        wait_until(stage.ended, PATIENCE)
        assert stage.run is not None
        assert stage.run.returncode == 0, (stage.folder / "run.log").read_text()
        quiet = results(stage.out)
        for number in range(1, rounds + 1):
            stage.out = stage.folder / f"out-{number}"
            with small_disk(stage.out) as can_fill:
                faults = [fault for fault in FAULTS if can_fill or fault != "disk full"]
                stage.say(f"round {number}")
                outcome = play_round(stage, stage.chance.permutation(faults).tolist())
                disturbed = results(stage.out)
                played.append({**outcome, **compare(disturbed, quiet)})
                stage.say(f"round {number}: {json.dumps(compare(disturbed, quiet))}")
        log = stage.log
    struck = Counter(fault for one in played for fault in one["seen"])
    went_on = Counter(fault for one in played for fault, what in one["seen"].items() if what == WENT_ON)
    return {
        "rounds": rounds,
        "videos": VIDEOS * rounds,
        "segments": VIDEOS * SEGMENTS * rounds,
        **{name: sum(one[name] for one in played) for name in ("lost", "doubled", "different", "videos_different")},
        "runs_of_the_command": sum(one["runs"] for one in played),
        "faults": {name: {"struck": struck[name], WENT_ON: went_on[name]} for name in FAULTS},
        "log": log,
    }


def as_markdown(figures: Figures) -> str:
    """The page, with the log."""
    totals = {name: value for name, value in figures.items() if name not in ("faults", "log")}
    rows = [(name.replace("_", " "), value) for name, value in totals.items()]
    faults = [(name, row["struck"], row[WENT_ON]) for name, row in figures["faults"].items()]
    return page(
        "Chaos",
        f"{VIDEOS} videos of {SEGMENTS} segments a round, {SECONDS} s a segment (rehearsal), 2 Editors.",
        table(("figure", "value"), rows),
        table(("fault", "struck", "the run went on by itself"), faults),
        "\n".join(["```", *figures["log"], "```"]),
    )


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def kill_tree(pid: int) -> None:
    """kill -9 a process and all its descendants."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        family = [*parent.children(recursive=True), parent]
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(family, timeout=30)


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"nothing happened in {seconds} s"
        time.sleep(0.1)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    figures = measure(chosen.rounds, chosen.seed)
    publish("chaos", figures, as_markdown(figures), chosen)


if __name__ == "__main__":
    main()
