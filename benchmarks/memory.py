"""What the memory costs: a search, a commit, a descriptor; and how the first two grow with what is remembered.

The metrics are milliseconds of a search among 10^3, 10^5 and 10^6 memories, of a commit with latents of the real size,
and the exponents with which they grow; the ceiling is nothing at all beside a segment, which takes seconds to minutes.
Searches are exact, so their recall is 1, which is checked against all scores. Two stores of each size: all rows in one
session, and rows in sessions of 1,000, of which one is searched. `bare` is the store as written, `kept` after the
maintenance that a writer does every 64 commits: fragments merged, the sessions indexed.

Costs are told in processor time, which other work on a machine hardly touches, and those of commits, which wait for the
disk, by the wall as well. Descriptors are made by DINOv2-small and -base at random weights, on one thread.

    OMP_NUM_THREADS=1 python benchmarks/memory.py [--rows 1000 100000 1000000] [--json] [--write]
"""

import argparse
import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from model.memory.retrieval import rank_by_descriptor
from reporting import Figures, page, parser, publish, ratio, say, spread, table, take_turns, told, wall_seconds
from storage.latents import LATENTS_PER_FRAGMENT
from storage.latents import SCHEMA as LATENT_SCHEMA
from storage.latents import TABLE as LATENT_TABLE
from storage.ledger import ENTRY_SCHEMA, Entry, Ledger, TurnKey
from storage.memory import TABLE, MemoryRow, MemoryStore, memory_schema
from storage.remembered import Reach
from storage.tables import open_table

SIZE = 768  # of a descriptor: DINOv2-base
ROWS = (10**3, 10**5, 10**6)
COMMIT_ROWS = (10**3, 10**4, 10**5)
TURN = SESSION = BLOCK = 1000  # segments of a turn, rows of a session where there are many, rows drawn at once
WRITTEN_AT_ONCE = 50_000
SCENES, UNLIKE = 50, 0.3  # what segments show, and how far those of one scene are apart
TOP_K = 5
LATENTS = (16, 21, 60, 104)
PARTS, CLOCKS = ("memory and latents", "ledger"), ("processor", "wall")
COMMITS = 15
CHECKED = 10**5  # rows up to which all scores are looked at
FRAMES, PICTURE = 16, (480, 832, 3)
BATCHES = (1, 4, 16)
ALL = ("search", "commit", "descriptors")
WIDTHS = {"small": (384, 6), "base": (768, 12)}
DEFAULTS: dict[str, Any] = {"string": "", "int64": 0, "double": 0.0, "timestamp[us, tz=UTC]": dt.datetime.now(dt.UTC)}


def descriptors(start: int, count: int) -> np.ndarray:
    """Descriptors [count, size] of the rows from `start`, a multiple of a thousand: scenes that come again."""
    return np.concatenate([like_scenes(number, BLOCK) for number in range(start, start + count, BLOCK)])[:count]


def like_scenes(seed: int, count: int) -> np.ndarray:
    """So many descriptors [count, size]."""
    scenes = np.random.default_rng(0).normal(size=(SCENES, SIZE)).astype(np.float32)
    chance = np.random.default_rng([1, seed])
    own = chance.standard_normal((count, SIZE), dtype=np.float32)
    return scenes[chance.integers(SCENES, size=count)] + UNLIKE * own


def filled(schema: pa.Schema, count: int, **given: pa.Array) -> pa.Table:
    """Rows of a schema; columns that are not given hold the same everywhere."""
    columns = [given[field.name] if field.name in given else _constant(field.type, count) for field in schema]
    return pa.table(columns, schema=schema)


def _constant(kind: pa.DataType, count: int) -> pa.Array:
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(pa.array(np.zeros(count + 1), pa.int32()), pa.array([], kind.value_type))
    return pa.repeat(pa.scalar(DEFAULTS[str(kind)], kind), count)


def memories(start: int, count: int, session_rows: int) -> pa.Table:
    """Memories from number `start` on, `session_rows` a session, in turns of 1,000 segments."""
    numbers = np.arange(start, start + count)
    inside = numbers % session_rows
    vectors = pa.array(descriptors(start, count).reshape(-1))
    return filled(
        memory_schema(SIZE),
        count,
        id=pa.array([f"{number:064x}" for number in numbers]),
        session=pa.array([f"session-{number}" for number in numbers // session_rows]),
        turn=pa.array(1 + inside // TURN),
        segment=pa.array(inside % TURN),
        descriptor=pa.FixedSizeListArray.from_arrays(vectors, SIZE),
        descriptor_name=pa.repeat("noise", count),
    )


def write_memories(folder: Path, rows: int, session_rows: int) -> MemoryStore:
    """A store with so many memories, without latents."""
    kept = open_table(folder, f"{TABLE}{SIZE}", memory_schema(SIZE))
    for start, count in portions(rows):
        kept.add(memories(start, count, session_rows))
    return MemoryStore(folder, SIZE)


def portions(rows: int) -> Iterator[tuple[int, int]]:
    """Where rows that are written at once start, and how many they are."""
    for start in range(0, rows, WRITTEN_AT_ONCE):
        yield start, min(WRITTEN_AT_ONCE, rows - start)


def session_turns(session_rows: int) -> list[TurnKey]:
    """The turns of the first session."""
    return [("session-0", number) for number in range(1, -(-session_rows // TURN) + 1)]


def query() -> np.ndarray:
    """The descriptor that is searched for: of a scene that the store knows."""
    return like_scenes(10**9, 1)[0]


def search(store: MemoryStore, session_rows: int) -> list[str]:
    """The memories that are most like the query, by the product's own search."""
    turns = session_turns(session_rows)
    return [hit.id for hit in store.search(turns, query(), "noise", TOP_K, Reach(len(turns) + 1, (), model=""))]


def nearest(session_rows: int) -> list[str]:
    """The same from the scores of all rows of the session."""
    scores = [rank_by_descriptor(query(), descriptors(start, count)) for start, count in portions(session_rows)]
    return [f"{number:064x}" for number in np.argsort(-np.concatenate(scores))[:TOP_K]]


def measure_search(rows: int, session_rows: int) -> Figures:
    """Processor milliseconds of a search, bare and kept, and seconds of the maintenance between the two."""
    with TemporaryDirectory() as name:
        store = write_memories(Path(name), rows, session_rows)
        figures: Figures = {"bare": milliseconds(lambda: search(store, session_rows))}
        figures["maintenance_s"] = round(wall_seconds(store.maintain), 2)
        figures["kept"] = milliseconds(lambda: search(store, session_rows))
        if session_rows <= CHECKED:
            figures["recall"] = len({*search(store, session_rows)} & {*nearest(session_rows)}) / TOP_K
    say(f"{rows} rows, {session_rows} a session: {told(figures['kept'], ' ms')}")
    return figures


def milliseconds(work: Callable[[], object]) -> Figures:
    """Processor time of this process, all threads together."""
    return thousandfold(take_turns({"": work}, clock=processor_seconds)[""])


def thousandfold(seconds: Sequence[float]) -> Figures:
    """Milliseconds."""
    return spread([1000 * each for each in seconds])


def processor_seconds(work: Callable[[], object]) -> float:
    """What `work` costs this process."""
    before = time.process_time()
    work()
    return time.process_time() - before


def exponent(costs: dict[int, float]) -> float:
    """With which power of the rows a cost grew, from the fewest to the most."""
    few, many = min(costs), max(costs)
    return round(log(costs[many] / costs[few]) / log(many / few), 2)


def measure_searches(sizes: Sequence[int]) -> Figures:
    """Both stores of each size."""
    layouts = {
        "one session": {rows: measure_search(rows, rows) for rows in sizes},
        f"sessions of {SESSION}": {rows: measure_search(rows, SESSION) for rows in sizes},
    }
    return {
        layout: {
            "rows": by_rows,
            "exponent": exponent({rows: each["kept"]["median"] for rows, each in by_rows.items()}),
        }
        for layout, by_rows in layouts.items()
    }


def measure_commit(rows: int) -> Figures:
    """Milliseconds of the parts of a commit to a store that holds so many memories, and the seconds of maintenance."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        store = write_memories(folder, rows, SESSION)
        write_ledger(folder, rows)
        store.maintain()
        ledger, latents = Ledger(folder), np.random.default_rng(0).normal(size=LATENTS).astype(np.float16)
        numbers = iter(range(10**9, 2 * 10**9))
        parts = {
            "memory and latents": lambda: store.remember(new_row(next(numbers)), latents, latents),
            "ledger": lambda: ledger.record(new_entry(next(numbers))),
        }
        processor = take_turns(parts, COMMITS, clock=processor_seconds)
        wall = take_turns(parts, COMMITS)
        figures: Figures = {
            part: {"processor": thousandfold(processor[part]), "wall": thousandfold(wall[part])} for part in parts
        }
        figures["maintenance_s"] = round(wall_seconds(lambda: (store.maintain(), ledger.maintain())), 2)
    say(f"{rows} rows: " + ", ".join(f"{part} {told(figures[part]['processor'], ' ms')}" for part in parts))
    return figures


def write_ledger(folder: Path, rows: int) -> None:
    """As many entries of the ledger, and payloads, which are tiny, in fragments as commits leave them."""
    entries = open_table(folder, "ledger", ENTRY_SCHEMA)
    payloads = open_table(folder, LATENT_TABLE, LATENT_SCHEMA)
    for start, count in portions(rows):
        ids = pa.array([f"{number:064x}" for number in range(start, start + count)])
        entries.add(filled(ENTRY_SCHEMA, count, id=ids))
        for at in range(0, count, LATENTS_PER_FRAGMENT):
            some = ids[at : at + LATENTS_PER_FRAGMENT]
            payloads.add(pa.table([some, lance.blob_array([b"tiny"] * len(some))], schema=LATENT_SCHEMA))


def new_row(number: int) -> MemoryRow:
    """A memory that is not there yet."""
    numbers = dict.fromkeys(("turn", "segment", "shot", "start", "stop", "seed"), 1)
    texts = dict.fromkeys(("session", "video", "instruction", "model"), "new")
    recalled: dict[str, Any] = dict.fromkeys(("recalled", "scores", "reasons"), ())
    vector = like_scenes(number, 1)[0]
    return MemoryRow(
        f"{number:064x}", **texts, **numbers, **recalled, created=dt.datetime.now(dt.UTC),
        descriptor=vector, descriptor_name="noise",
    )  # fmt: skip


def new_entry(number: int) -> Entry:
    """Its row in the ledger."""
    return Entry(f"{number:064x}", "segment", "new", "new", 1, 1, "", "", 1.0, dt.datetime.now(dt.UTC))


def measure_commits(sizes: Sequence[int]) -> Figures:
    """Commits by the rows that are there, and how they grow."""
    by_rows = {rows: measure_commit(rows) for rows in sizes}
    grown = {
        part: exponent({rows: each[part]["processor"]["median"] for rows, each in by_rows.items()}) for part in PARTS
    }
    return {"rows": by_rows, "exponent": grown}


def measure_descriptors(width: str) -> Figures:
    """Processor seconds of a frame by how many are described at once, in parts of one by one."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    from model.backbones.dinov2 import Dinov2Descriptor

    torch.set_num_threads(1)
    size, heads = WIDTHS[width]
    with TemporaryDirectory() as name:
        Dinov2Model(
            Dinov2Config(hidden_size=size, num_attention_heads=heads, image_size=518, patch_size=14)
        ).save_pretrained(name)
        model = Dinov2Descriptor(name)
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, *PICTURE), np.uint8)

    def describe(batch: int) -> Callable[[], object]:
        return lambda: [model.describe_each(frames[at : at + batch]) for at in range(0, FRAMES, batch)]

    times = take_turns({str(batch): describe(batch) for batch in BATCHES}, clock=processor_seconds)
    say(f"DINOv2-{width}: " + ", ".join(f"{batch} at once {told(spread(each), ' s')}" for batch, each in times.items()))
    return {
        batch: {"seconds_a_frame": spread([one / FRAMES for one in each]), "ratio": ratio(each, times["1"])}
        for batch, each in times.items()
    }


def as_markdown(figures: Figures) -> str:
    """The page."""
    told_of = {"search": search_told, "commit": commit_told, "descriptors": descriptors_told}
    sections = [section for part, each in figures.items() for section in told_of[part](each)]
    return page("What the memory costs", "Medians, in brackets the least and the most.", *sections)


def search_told(figures: Figures) -> list[str]:
    """The section about searches."""
    rows = [
        [layout, count, told(each["bare"]), told(each["kept"]), each["maintenance_s"], each.get("recall", "")]
        for layout, found in figures.items()
        for count, each in found["rows"].items()
    ]
    return [
        f"## A search for {TOP_K} memories, processor milliseconds",
        table(("store", "rows", "bare", "kept", "maintenance, s", "recall"), rows),
        "Rows to the power of: " + ", ".join(f"{layout} {found['exponent']}" for layout, found in figures.items()),
    ]


def commit_told(figures: Figures) -> list[str]:
    """The section about commits."""
    rows = [
        [count, *(told(each[part][clock]) for part in PARTS for clock in CLOCKS), each["maintenance_s"]]
        for count, each in figures["rows"].items()
    ]
    head = ("rows", *(f"{part}, {clock}" for part in PARTS for clock in CLOCKS), "maintenance, s")
    return [
        f"## A commit with latents {'x'.join(map(str, LATENTS))} float16, twice, milliseconds",
        table(head, rows),
        "Processor time, rows to the power of: " + ", ".join(f"{part} {figures['exponent'][part]}" for part in PARTS),
    ]


def descriptors_told(figures: Figures) -> list[str]:
    """The section about descriptors."""
    rows = [
        [f"DINOv2-{width}", batch, told(each["seconds_a_frame"]), told(each["ratio"])]
        for width, batches in figures.items()
        for batch, each in batches.items()
    ]
    head = ("model", "frames at once", "seconds", "in parts of one by one")
    return ["## Descriptors, processor seconds of a frame on one thread", table(head, rows)]


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = _options(arguments)
    ways: dict[str, Callable[[], Figures]] = {
        "search": lambda: measure_searches(chosen.rows),
        "commit": lambda: measure_commits(chosen.commit_rows),
        "descriptors": lambda: {width: measure_descriptors(width) for width in WIDTHS},
    }
    figures = {part: ways[part]() for part in chosen.parts}
    publish("memory", figures, as_markdown(figures), chosen)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--rows", nargs="+", type=int, default=ROWS)
    options.add_argument("--parts", nargs="+", choices=ALL, default=ALL)
    options.add_argument("--commit-rows", nargs="+", type=int, default=COMMIT_ROWS)
    chosen = options.parse_args(arguments)
    for name, sizes in (("--rows", chosen.rows), ("--commit-rows", chosen.commit_rows)):
        if len(set(sizes)) < 2 or min(sizes) < 1:
            options.error(f"{name} {sizes}: expected two sizes or more, of at least 1: it is measured how costs grow")
    return chosen


if __name__ == "__main__":
    main()
