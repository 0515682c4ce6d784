"""Made-up memories for the storage tests, and a program that commits them until it is killed.

`python -m tests.storage.memories FOLDER COUNT` prints an id once its segment is committed.
"""

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from storage.content_id import hash_file, identify
from storage.latents import Latents
from storage.ledger import USERS_VIDEO, Entry, Ledger, TurnKey
from storage.memory import MemoryRow
from storage.store import Store, open_store

SIZE = 8  # of the descriptors
STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def keys_of(session: str, turns: int = 10) -> list[TurnKey]:
    """The keys of a session that shares no turn with another."""
    return [(session, number) for number in range(turns)]


def make_descriptor(number: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(number).normal(size=size).astype(np.float32)


def make_row(number: int, *, session: str = "holiday", turn: int = 1, size: int = SIZE) -> MemoryRow:
    """The memory of segment `number` of a turn; its id says what it is of."""
    return MemoryRow(
        id=identify({"session": session, "turn": turn, "segment": number}),
        session=session,
        video="film",
        turn=turn,
        segment=number,
        shot=0,
        start=17 * number,
        stop=17 * number + 21,
        instruction="make it a snowy winter day",
        seed=number,
        descriptor=make_descriptor(number, size),
        descriptor_name="noise",
        recalled=("a", "b"),
        scores=(0.5, 0.25),
        reasons=("previous", "similar"),
        model="tiny",
        created=STARTED + timedelta(seconds=number),
    )


def make_latents(number: int, rows: int = 4, columns: int = 4) -> tuple[Latents, Latents]:
    """Edited and source latents of any bits at all: subnormal numbers, infinities, minus zero, NaN payloads."""
    bits = np.random.default_rng(number).integers(0, 2**16, (2, 4, 3, rows, columns), np.uint16)
    edited, source = bits.view(np.float16)
    return edited, source


def make_entry(row: MemoryRow, path: str = "segments/a.mkv", checksum: str = "") -> Entry:
    return Entry(
        id=row.id,
        kind="segment",
        video=row.video,
        session=row.session,
        turn=row.turn,
        segment=row.segment,
        path=path,
        checksum=checksum,
        seconds=1.5,
        recorded=row.created,
    )


def commit(store: Store, row: MemoryRow) -> Entry:
    """A whole commit in its order: file, latents, row, ledger row."""
    path = store.segments / f"{row.id}.mkv"
    path.write_text(row.id)
    store.memory.remember(row, *make_latents(row.segment))
    entry = make_entry(row, str(path.relative_to(store.folder)), hash_file(path))
    store.ledger.record(entry)
    return entry


def enter_turn(ledger: Ledger, session: str, fingerprint: str, **told: Any) -> int:
    """Enter a turn by its names alone, or with what else is `told` of it; returns its number."""
    nothing = {"settings": "", "kind": "text", "asked": "", "video": "", "source": "", "parent": USERS_VIDEO}
    return ledger.enter_turn(session, fingerprint, **(nothing | told))


def row_of(turn: int, segment: int, recalled: tuple[str, ...] = (), session: str = "film") -> MemoryRow:
    """The memory of a segment of a session's turn, made with the memories `recalled`."""
    row = make_row(segment, session=session, turn=turn)
    return replace(row, recalled=recalled, scores=(0.5,) * len(recalled), reasons=("similar",) * len(recalled))


def make_session(folder: Path) -> Path:
    """Session `film`: three turns of two segments; 2 recalls 1, and 3 edits the result of 2. Each has a video."""
    with open_store(folder, SIZE) as store:
        for turn, (recalled, parent) in enumerate([((), 0), ((row_of(1, 0).id,), 0), ((), 2)], start=1):
            enter_turn(store.ledger, "film", f"turn {turn}", asked="night", source="film", parent=parent)
            for segment in range(2):
                commit(store, row_of(turn, segment, recalled))
            path = folder / f"film_edit_v00{turn}.mp4"
            path.write_text(f"video {turn}")
            path.with_suffix(".html").write_text("page")
            entry = make_entry(row_of(turn, 0), path.name, hash_file(path))
            store.ledger.record(replace(entry, id=identify({"video": turn}), kind="video", segment=-1))
    return folder


def at(row: MemoryRow, descriptor: np.ndarray) -> MemoryRow:
    return replace(row, descriptor=descriptor.astype(np.float32))


if __name__ == "__main__":
    with open_store(Path(sys.argv[1]), SIZE) as store:
        print("open", flush=True)
        for number in range(int(sys.argv[2])):
            print(commit(store, make_row(number)).id, flush=True)
        sys.stdin.read()
