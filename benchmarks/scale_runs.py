"""The runs that `benchmarks/scale.py` measures: catalogs and long videos, edited by stand-ins that wait.

The stand-in (`model/rehearsal.py`) takes its seconds and no core; all around it is real. Everything runs in this
process, which is the driver: flows, threads, tables and encoders are what is counted as its processor time.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
from prefect import flow

from catalog_scale import STEP, database_bytes, write_catalog
from flows.edit import EditReport, edit_video
from flows.environment import user_folder
from model.config import CatalogRequest, EditConfig, EditRequest, FaultPolicy, RetrievalConfig, WindowConfig
from model.rehearsal import write_rehearsal
from processes import Account
from storage.catalog import read_catalog
from storage.ffmpeg import find_ffmpeg
from storage.ledger import Ledger
from storage.store import MEMORY, SEGMENTS
from storage.video_states import VideoStates
from tasks.actors.editor import EditJob, Editor
from tasks.catalog import Actors, CatalogRun
from tasks.catalog_board import Board
from tasks.catalog_plan import known_rates, plan_catalog
from tasks.catalog_work import entries_of, set_up
from tasks.pool import EditorPool, descriptor_of, start_embedder
from tests.footage import fetch_footage

FOOTAGE, FOOTAGE_FRAMES = "bigbuckbunny.mp4", 264  # 132 frames of one shot, and back again
PATIENCE = FaultPolicy(recycle_after=10**6, growth=1e6)  # an Editor that starts anew is no part of what is measured
SMALL = WindowConfig(frames=STEP + 1, overlap=1, height=64, width=64)
REAL = WindowConfig(frames=81, overlap=1, height=480, width=832)


@dataclass(frozen=True)
class Done:
    """One run. `span` is from the first segment that reached an Editor to the last one done, `busy` of all Editors.

    `driver` and `all_processes` are processor seconds of the run, `by_kind` each kind's, `others` the rest of the
    machine's over `wall` seconds.
    """

    editors: int
    videos: int
    segments: int
    seconds: float
    span: float
    busy: float
    wall: float
    by_kind: dict[str, float]
    others: float
    sizes: dict[str, int] = field(default_factory=dict)
    overhead_ms: float | None = None

    @property
    def rate(self) -> float:
        """Segments a second."""
        return self.segments / self.span

    @property
    def ideal(self) -> float:
        """What so many Editors would do that never wait."""
        return self.editors / self.seconds

    @property
    def driver(self) -> float:
        """Processor seconds of the driver and the programs that it starts."""
        return self.by_kind["driver"] + self.by_kind["ffmpeg"]

    @property
    def all_processes(self) -> float:
        """Processor seconds of all that is ours."""
        return sum(self.by_kind.values())


class Stage:
    """Stand-in Editors that take `seconds`, all loaded before anything is measured, and an Embedder."""

    def __init__(self, folder: Path, seconds: float, editors: int) -> None:
        self.folder, self.seconds = folder, seconds
        self.weights = rehearsal(folder, seconds)
        options: Any = {"num_cpus": 0, "max_concurrency": 2}
        self.actors = [Editor.options(**options).remote(str(self.weights), "float32", "cpu") for _ in range(editors)]
        self.embedder = start_embedder("thumbnail")
        ray.get([actor.load.remote() for actor in self.actors])
        self.name = descriptor_of(self.embedder)

    def pool(self, editors: int) -> EditorPool:
        """The first so many Editors, as a pool."""
        return EditorPool(iter(self.actors).__next__, editors, PATIENCE)

    def close(self) -> None:
        """End all actors."""
        for actor in [*self.actors, self.embedder]:
            ray.kill(actor)


@contextmanager
def stage(folder: Path, seconds: float, editors: int) -> Iterator[Stage]:
    """A stage that is closed in the end."""
    built = Stage(folder, seconds, editors)
    try:
        yield built
    finally:
        built.close()


def rehearsal(folder: Path, seconds: float) -> Path:
    """A stand-in's folder of weights, written once."""
    weights = folder / f"rehearsal-{seconds:g}"
    if not weights.is_dir():
        write_rehearsal(weights, seconds)
    return weights


def run_catalog(on: Stage, editors: int, videos: int, segments: int) -> Done:
    """A catalog of clips with so many segments each, on so many Editors of a stage."""
    folder = on.folder / f"catalog-{time.time_ns()}"
    manifest = write_catalog(folder, videos, segments)
    pool = on.pool(editors)
    with Account() as account:
        _edit_catalog(manifest, on, pool)
    shutil.rmtree(folder)
    usage = pool.usage
    assert usage.first is not None
    assert usage.last is not None
    return Done(
        editors=editors,
        videos=videos,
        segments=videos * segments,
        seconds=on.seconds,
        span=usage.last - usage.first,
        busy=usage.busy,
        wall=account.wall,
        by_kind=dict(account.seconds),
        others=account.others,
    )


@flow(name="measured-catalog", log_prints=False)
def _edit_catalog(manifest: Path, on: Stage, pool: EditorPool) -> None:
    """What `flows/catalog.py` does, on Editors that are there already."""
    request = CatalogRequest(manifest=manifest, out=manifest.parent / "out", weights=str(on.weights), device="cpu")
    setup = set_up(request.model_copy(update={"editors": pool.size}), user_folder("cache"))
    setup.state.mkdir(parents=True)
    entries = entries_of(read_catalog(manifest, None, request.out), setup.request)
    planned = plan_catalog(entries, {}, setup, known_rates(user_folder("data"), setup))
    actors = Actors(pool, on.embedder, *on.name)
    run = CatalogRun([[entry] for entry in entries], setup, actors, VideoStates(setup.state))
    with Board(planned) as board:
        run.run(board.tell)
    lost = [state.id for state in run.table if state.state != "done"]
    assert not lost, f"{len(lost)} videos were not edited, such as {lost[0]}"


def run_video(
    folder: Path,
    segments: int,
    seconds: float,
    schedule: str = "sequential",
    editors: int = 1,
    window: WindowConfig = SMALL,
    top_k: int = RetrievalConfig().top_k,
) -> Done:
    """One video of so many segments, by the flow of `memory-v2v edit`."""
    video = long_video(folder, segments, window)
    request = EditRequest(
        video=video,
        out=folder / f"edit-{time.time_ns()}",
        weights=str(rehearsal(folder, seconds)),
        instruction="make it night",
        window=window,
        retrieval=RetrievalConfig(top_k=top_k),
        schedule=schedule,
        editors=editors,
        device="cpu",
    )
    before, started = prefect_bytes(), time.time()
    with Account() as account:
        report = EditReport(**edit_video(request, started))
    rows = Ledger(request.out / MEMORY).entries(kind="segment")
    assert len(rows) == report.segments == segments, f"{segments} segments expected, {report.segments} edited"
    assert report.first_segment_seconds is not None
    sizes = {**sizes_of(request.out), "prefect": prefect_bytes() - before}
    shutil.rmtree(request.out)
    return Done(
        editors=editors,
        videos=1,
        segments=segments,
        seconds=seconds,
        span=rows[-1].recorded.timestamp() - started - report.first_segment_seconds,
        busy=sum(row.seconds for row in rows),
        wall=account.wall,
        by_kind=dict(account.seconds),
        others=account.others,
        sizes=sizes,
        overhead_ms=report.overhead_ms,
    )


def long_video(folder: Path, segments: int, window: WindowConfig) -> Path:
    """One shot at the model's size, of as many frames as make so many segments: a chart, or footage to and fro."""
    path = folder / f"{segments}-of-{window.frames}x{window.height}.mp4"
    if path.exists():
        return path
    frames = (window.frames - window.overlap) * segments + window.overlap
    size = f"{window.width}:{window.height}"
    if window == SMALL:
        pictures = ["-f", "lavfi", "-i", f"testsrc2=size={size.replace(':', 'x')}:rate=24"]
    else:
        to_and_fro = f"scale={size},split[a][b];[b]reverse[c];[a][c]concat,loop=-1:size={FOOTAGE_FRAMES}"
        pictures = ["-i", str(fetch_footage() / FOOTAGE), "-an", "-vf", to_and_fro]
    command = [str(find_ffmpeg()), "-v", "error", *pictures, "-frames:v", str(frames)]
    subprocess.run([*command, "-c:v", "libx264", "-pix_fmt", "yuv420p", str(path)], check=True)
    return path


def watch_editors(on: Stage, editors: int) -> Done:
    """Every Editor edits one segment, handed to it without a flow or a store: what is left is to wait and to look."""
    pool, frames = on.pool(editors), ray.put(np.zeros((SMALL.frames, SMALL.height, SMALL.width, 3), np.uint8))
    job = EditJob("make it night", SMALL.frames, 1, (), None, EditConfig())
    with ExitStack() as leases, ThreadPoolExecutor(editors) as threads:
        held = [leases.enter_context(pool.lease()) for _ in range(editors)]
        with Account() as account:
            list(threads.map(lambda editor: editor.edit(frames, job, [], lambda share: None), held))
    by_kind, wall = dict(account.seconds), account.wall
    return Done(editors, 0, editors, on.seconds, wall, pool.usage.busy, wall, by_kind, account.others)


def sizes_of(out: Path) -> dict[str, int]:
    """Bytes of an output folder by what they are: each table, the segments, and the rest (video, page, proxies)."""
    tables = {path.stem: folder_bytes(path) for path in (out / MEMORY).glob("*.lance")}
    named = {**tables, "segments": folder_bytes(out / SEGMENTS)}
    return {**named, "results": folder_bytes(out) - sum(named.values())}


def folder_bytes(folder: Path) -> int:
    """Of all files below it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def prefect_bytes() -> int:
    """Of the database of Prefect's own server."""
    from prefect.settings import get_current_settings

    return database_bytes(Path(get_current_settings().home) / "prefect.db")


def cores() -> int:
    return psutil.cpu_count() or 1


def total(runs: Sequence[Done], what: str) -> float:
    """The sum of one figure over several runs."""
    return sum(getattr(run, what) for run in runs)
