"""What a run over a catalog would do, and what it takes: segments, Editor hours, finish, disk; before anything is paid.

Every video is probed, none is decoded: where a catalog has cuts, it has some more segments than are counted here, which
past runs on this machine make up for. How long a segment takes is known from them too; without any it is guessed from
the model's size, and the plan says so.
"""

import heapq
import math
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from model.backbones.model_folder import read_config
from model.config import Preset
from model.errors import MemoryV2VError, RunError, StoreError
from model.rehearsal import Rehearsal
from model.segments import plan_segments
from model.types import Shot, Span
from storage.calibration import Rates, Setting, read_rates, this_machine
from storage.content_id import hash_folder, known_hash
from storage.ledger import USERS_VIDEO, Ledger, TurnRow
from storage.store import MEMORY, existing
from storage.table_place import has_tables
from storage.video_states import VideoState
from tasks.catalog_work import Entry, Setup, is_remote, known_source, parents_of, requests_of
from tasks.work import examine_video

PROBES = 4  # videos that are looked at side by side
ASSUMED_FLOPS = {"cuda": 150e12, "cpu": 5e10}  # of an Editor, where nothing was measured
BYTES_OF_PARAMETER = 2
START_SECONDS, END_SECONDS = 40.0, 10.0  # assumed where nothing was measured
OUTPUT_SHARE = 0.01  # assumed size of a result, in parts of its raw pixels
RAW_SHARE = 0.5  # assumed size of a lossless segment, in parts of its raw pixels


@dataclass(frozen=True)
class PlannedVideo:
    """One video: `left` of its `segments` are to be edited. `error` says why it cannot be; then there are none.

    There are none either where it is skipped, or `unknown`: in an object store that does not answer, or not fetched.
    """

    id: str
    segments: int
    left: int
    error: str = ""
    unknown: bool = False


@dataclass(frozen=True)
class CatalogPlan:
    """What a run would do. Hours are an Editor's, bytes are added to the disk; `unknown` videos are in none of them.

    `finish_seconds` is from the command to its end, on `editors` Editors. `measured` if rates are from this machine.
    """

    planned: tuple[PlannedVideo, ...]
    done: int
    skipped: int
    unknown: int
    segments: int
    left: int
    editors: int
    editor_hours: float
    finish_seconds: float
    memory_bytes: int
    output_bytes: int
    free_bytes: int
    measured: bool
    rates: Rates

    @property
    def faulty(self) -> list[PlannedVideo]:
        """Videos that cannot be edited."""
        return [one for one in self.planned if one.error]

    @property
    def fits(self) -> bool:
        """Whether the disk has room."""
        return self.memory_bytes + self.output_bytes < self.free_bytes


def plan_catalog(
    entries: Sequence[Entry],
    states: Mapping[str, VideoState],
    setup: Setup,
    rates: tuple[Rates, bool],
) -> CatalogPlan:
    """Look at every video; `states` are those of earlier runs."""
    silent = Event()  # the object store does not answer: it is not asked about each of a thousand videos
    with ThreadPoolExecutor(PROBES, thread_name_prefix="probe") as threads:
        looked = threads.map(lambda entry: _look(entry, states.get(entry.video.video_id), setup, silent), entries)
        planned = tuple(looked)
    known, measured = rates
    sound = [one for one in planned if not one.error]
    left = math.ceil(sum(one.left for one in sound) * known.cut_factor)
    step = (known.segment_seconds + known.wait_seconds) * known.cut_factor
    request = setup.request
    lefts = {one.id: one.left for one in planned}
    loads = [sum(lefts[entry.video.video_id] for entry in unit) * step for unit in units_of(entries, lefts)]
    span = makespan(loads, request.editors)
    return CatalogPlan(
        planned=planned,
        done=sum(one.segments > 0 and one.left == 0 for one in sound),
        skipped=sum(entry.video.skip for entry in entries),
        unknown=sum(one.unknown for one in planned),
        segments=sum(one.segments for one in sound),
        left=left,
        editors=request.editors,
        editor_hours=left * known.segment_seconds / 3600,
        finish_seconds=span + known.start_seconds + known.end_seconds if left else 0.0,
        memory_bytes=round(left * known.memory_bytes),
        output_bytes=round(left * known.output_bytes),
        free_bytes=shutil.disk_usage(existing(request.out)).free,
        measured=measured,
        rates=known,
    )


def units_of(entries: Sequence[Entry], left: Mapping[str, int]) -> list[list[Entry]]:
    """What is edited in line: a video, or a group. Higher priorities first, then what takes longest.

    `left` is how many segments of each video are to be edited, by its id.
    """
    units: dict[str, list[Entry]] = {}
    for entry in entries:
        units.setdefault(f"group {entry.video.group}" if entry.video.group else entry.video.video_id, []).append(entry)

    def precedence(unit: list[Entry]) -> tuple[int, int]:
        return -max(entry.video.priority for entry in unit), -sum(left[entry.video.video_id] for entry in unit)

    return sorted(units.values(), key=precedence)


def makespan(loads: Sequence[float], editors: int) -> float:
    """When the last of `editors` is done, each taking the next load, in their order, as soon as it is free."""
    ends = [0.0] * editors
    for load in loads:
        heapq.heappush(ends, heapq.heappop(ends) + load)
    return max(ends)


def setting_of(setup: Setup) -> Setting:
    """What decides how long a segment of a catalog takes on this machine."""
    window = setup.preset.window
    size = f"{window.width}x{window.height}x{window.frames}"
    steps = setup.preset.edit.sampling.steps
    speed = setup.request.speed.model_dump_json()
    return Setting(this_machine(), hash_folder(setup.weights, setup.cache), setup.device, size, steps, speed)


def known_rates(data: Path, setup: Setup) -> tuple[Rates, bool]:
    """What past runs measured, else a guess by the model's size; and whether they were measured."""
    setting = setting_of(setup)
    found = read_rates(data, setting)
    return (found, True) if found else (guess_rates(setting, setup.weights, setup.preset), False)


def guess_rates(setting: Setting, weights: Path, preset: Preset) -> Rates:
    """By operations: two a parameter and token, and four a pair of tokens and channel, in every block."""
    window, sampling = preset.window, preset.edit.sampling
    transformer = weights / "transformer"
    told = read_config(transformer) if (transformer / "config.json").is_file() else {}
    shape = {name: value for name, value in told.items() if isinstance(value, int)}
    width = shape.get("num_attention_heads", 0) * shape.get("attention_head_dim", 0)
    size = sum(path.stat().st_size for path in weights.glob("transformer/*.safetensors"))
    tokens = ((window.frames - 1) // 4 + 1) * (window.height // 16) * (window.width // 16)
    block = 2 * size / BYTES_OF_PARAMETER * tokens + 4 * shape.get("num_layers", 0) * width * tokens**2
    flops = block * sampling.steps * (2 if sampling.guidance > 1 else 1)
    assumed = flops / ASSUMED_FLOPS["cuda" if setting.device.startswith("cuda") else "cpu"]
    raw = window.frames * window.height * window.width * 3
    return Rates(
        segments=0,
        segment_seconds=Rehearsal.open(weights).seconds if Rehearsal.is_at(weights) else assumed,
        wait_seconds=0.05,
        start_seconds=START_SECONDS,
        end_seconds=END_SECONDS,
        memory_bytes=raw * RAW_SHARE,
        output_bytes=raw * OUTPUT_SHARE,
        cut_factor=1.0,
    )


def _look(entry: Entry, state: VideoState | None, setup: Setup, silent: Event) -> PlannedVideo:
    id = entry.video.video_id
    if entry.video.skip:
        return PlannedVideo(id, 0, 0)
    try:
        if (source := _known_source(entry, setup, silent)) is None:
            return PlannedVideo(id, 0, 0, unknown=True)
        turn = requests_of(entry, setup, source)[0]
        info = examine_video(turn)
        finished = state is not None and state.state == "done" and state.line == entry.line
        committed = None if finished else _committed(entry, source, setup.cache)
    except MemoryV2VError as fault:
        return PlannedVideo(id, 0, 0, str(fault))
    window = turn.window
    each = len(plan_segments([Shot(0, Span(0, info.frames))], window.frames, window.overlap))
    segments = each * len(entry.video.turns)
    done = segments if committed is None else min(segments, committed)
    return PlannedVideo(id, segments, segments - done)


def _known_source(entry: Entry, setup: Setup, silent: Event) -> Path | None:
    if silent.is_set() and is_remote(entry.source):
        return None
    try:
        return known_source(entry, setup)
    except RunError:
        silent.set()
        return None


def _committed(entry: Entry, source: Path, cache: Path) -> int:
    """Segments in the ledger that are of a video, and of what its line asks for.

    Which model made them, and with which seed and settings, is not looked at: a plan may bear that.

    Raises:
        StoreError: the memory is damaged, or was written by another version.
    """
    memory = entry.folder / MEMORY
    if not has_tables(memory):
        return 0
    try:
        ledger = Ledger(memory)
        wanted = _asked(entry, ledger.turns(entry.session), source, known_hash(source, cache))
        return len(
            {(one.key, one.segment) for one in ledger.entries(kind="segment", turns=[row.key for row in wanted])}
        )
    except (RuntimeError, ValueError, OSError) as fault:
        raise StoreError(f"{memory}: cannot be read ({type(fault).__name__}); restore the folder") from fault


def _asked(entry: Entry, turns: Sequence[TurnRow], source: Path, content: str | None) -> list[TurnRow]:
    """The turns of a session that are those of a line, whose video is `source`; its `content` tells, else its name.

    A turn that edits the result of another one is the same only if that one is.
    """
    mine = [row for row in turns if (row.source == content if content else row.video == source.name)]
    found: list[list[TurnRow]] = []
    for turn, parent in zip(entry.video.turns, parents_of(entry.video.turns), strict=True):
        numbers = {row.number for row in found[parent - 1]} if parent else {USERS_VIDEO}
        found.append([row for row in mine if row.asked == turn.prompt and row.parent in numbers])
    return [row for rows in found for row in rows]
