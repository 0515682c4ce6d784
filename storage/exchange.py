"""Sessions out of an output folder, as an archive (`storage/archive.py`), and into another one.

An archive is written to a temporary name and renamed; the same session gives the same bytes. What is brought in is
verified before anything is written. Then the turns' rows come first, so that an import that was killed goes on, or can
be deleted; no memory is ever there without its latents, and no ledger row without its file.
"""

import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from glob import escape
from hashlib import sha256
from pathlib import Path

import lance
import pyarrow as pa
from lancedb.expr import col

from model.errors import RequestError, RunError, StoreError
from storage import latents
from storage.archive import (
    MANIFEST,
    MOST_MEMBERS,
    MOST_ROW_BYTES,
    VERSION,
    Archive,
    Contents,
    Manifest,
    Member,
    Report,
    member_of,
)
from storage.content_id import CHUNK, hash_file
from storage.durable import whole_file
from storage.garbage import OF_TURNS, unrecorded
from storage.kinds import IDS_AT_ONCE, added_to, complete, remembered, schema_of, segment_tables
from storage.ledger import ENTRY_SCHEMA, TURN_SCHEMA, Entry, Ledger, TurnKey, TurnRow, of_turns, turn_id
from storage.sessions import require_new, require_session
from storage.store import MEMORY, next_version
from storage.tables import insert_missing, open_table, read_all, readable

PAYLOADS_AT_ONCE = 16  # each insert is a version of the table
EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip cannot be older


def export_session(folder: Path, name: str, path: Path, report: Report) -> Manifest:
    """Write a session with all that it refers to; the caller holds the lock. Whole or not at all.

    Raises:
        RequestError: there is no such session, or it is larger than an import accepts.
        StoreError: a file or a payload of it is missing or damaged.
    """
    contents = _contents(folder, require_session(folder, name))
    total = len(contents)
    _require_importable(name, "members", total + 1, MOST_MEMBERS)
    try:
        with whole_file(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
            members = []
            for member in _write(archive, folder, contents):
                members.append(member)
                report(len(members), total)
            manifest = Manifest(version=VERSION, session=name, members=tuple(members))
            archive.writestr(zipfile.ZipInfo(MANIFEST, EPOCH), manifest.model_dump_json())
    except OSError as fault:
        raise RequestError(f"{path}: cannot be written ({fault.strerror}); choose another file") from fault
    return manifest


def _contents(folder: Path, turns: Sequence[TurnRow]) -> Contents:
    keys = {turn.key for turn in turns}
    entries = Ledger(folder / MEMORY).entries(turns=sorted(keys))
    memories: dict[str, pa.Table] = {}
    for name, table in segment_tables(folder / MEMORY).items():
        rows = table.search().where(of_turns(sorted(keys))).limit(None).to_arrow()
        if rows.num_rows:
            memories[name] = complete(name, rows.sort_by("id"))
    mine = sorted((entry for entry in entries if entry.kind in OF_TURNS), key=lambda entry: entry.id)
    return Contents(tuple(turns), tuple(mine), memories)


def _write(archive: zipfile.ZipFile, folder: Path, contents: Contents) -> Iterator[Member]:
    """Write all members but the manifest, and yield what it will say of each."""
    files = [(member_of(entry), folder / entry.path, entry.checksum) for entry in contents.entries]
    tables = {
        "turns.arrow": pa.Table.from_pylist([asdict(turn) for turn in contents.turns], TURN_SCHEMA),
        "ledger.arrow": pa.Table.from_pylist([asdict(entry) for entry in contents.entries], ENTRY_SCHEMA),
        **{f"rows/{name}.arrow": table for name, table in contents.memories.items()},
    }
    for name, table in tables.items():
        rows = _to_bytes(table)
        _require_importable(contents.turns[0].session, f"bytes in {name}", len(rows), MOST_ROW_BYTES)
        yield _add(archive, name, [rows])
    for id, payload in _payloads(folder, contents.ids):
        yield _add(archive, f"latents/{id}", [payload])
    for name, path, checksum in files:
        if not path.is_file():
            raise StoreError(f"{path}: is missing; run the command of its turn again, or delete the turn")
        member = _add(archive, name, _pieces(path))
        if member.sha256 != checksum:
            raise StoreError(f"{path}: is damaged; run the command of its turn again, or delete the turn")
        yield member


def _require_importable(session: str, what: str, size: int, most: int) -> None:
    if size > most:
        raise RequestError(
            f"{session}: takes {size} {what}, and an import accepts {most}; export fewer turns of it: "
            f"memory-v2v session branch {session} --from TURN --as NAME, then export that"
        )


def _add(archive: zipfile.ZipFile, name: str, pieces: Iterable[bytes]) -> Member:
    digest, size = sha256(), 0
    with archive.open(zipfile.ZipInfo(name, EPOCH), "w", force_zip64=True) as member:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            member.write(piece)
    return Member(name=name, size=size, sha256=digest.hexdigest())


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece


def _to_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _payloads(folder: Path, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Payloads one by one, in the order of `ids`; few are held at once, though all are looked up together.

    Raises:
        StoreError: one is missing, or damaged.
    """
    table = open_table(folder / MEMORY, latents.TABLE, latents.SCHEMA)
    places: dict[str, int] = {}
    for some in _groups(ids, IDS_AT_ONCE):
        query = table.search().where(col("id").isin(some)).select(["id"]).with_row_id(True)
        found = read_all(folder / MEMORY, query)
        places |= zip(found["id"].to_pylist(), found["_rowid"].to_pylist(), strict=True)
    if missing := [id for id in ids if id not in places]:
        raise StoreError(f"the latents of memory {missing[0]} are missing; restore the folder, or delete the turn")
    for some in _groups(ids, PAYLOADS_AT_ONCE):
        with readable(folder / MEMORY):
            payloads = table.fetch_blobs("data", [places[id] for id in some])
        yield from zip(some, (payload.as_py() for payload in payloads), strict=True)


def _groups(ids: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(ids), size):
        yield list(ids[start : start + size])


@dataclass(frozen=True)
class Imported:
    """What an import wrote: 0 of each where all was there already."""

    session: str
    turns: int
    memories: int
    files: int


def import_session(archive: Archive, contents: Contents, folder: Path, name: str, report: Report) -> Imported:
    """Bring the session of an archive into an output folder, as `name`; the caller holds the lock.

    What the folder has already is shared with whoever has it. Killed in the middle, doing it again goes on.

    Raises:
        RequestError: the folder has another session of that name; nothing was written.
    """
    ledger = Ledger(folder / MEMORY)
    known = {turn.number: turn for turn in ledger.turns(name)}
    if not known:
        require_new(folder, name)
    elif any(turn.number not in known or known[turn.number].fingerprint != turn.fingerprint for turn in contents.turns):
        raise RequestError(f"{name}: {folder} has another session of that name; choose another with --as NAME")
    here = {memory.id: memory.session for memory in remembered(folder / MEMORY)}
    turns = [known.get(turn.number) or _move(turn, contents, name, here) for turn in contents.turns]
    ledger.add_turns(turns)
    moved = {old.key: new.key for old, new in zip(contents.turns, turns, strict=True)}
    memories = [id for id in contents.ids if id not in here]
    files = _missing_files(folder, contents.entries)
    total = len(memories) + len(files)
    _add_payloads(archive, folder, memories, lambda done: report(done, total))
    _add_rows(folder, contents, moved)
    _add_files(archive, folder, files, moved, lambda done: report(len(memories) + done, total))
    return Imported(name, 0 if known else len(turns), len(memories), len(files))


def _move(turn: TurnRow, contents: Contents, name: str, here: Mapping[str, str]) -> TurnRow:
    """A turn as it will be: where its memories lie, if they are here already, else under the session's name."""
    rows = [row for table in contents.memories.values() for row in table.select(["id", "session", "turn"]).to_pylist()]
    mine = [row["id"] for row in rows if (row["session"], row["turn"]) == turn.key]
    lies = next((here[id] for id in mine if id in here), name)
    return replace(turn, id=turn_id(name, turn.fingerprint), session=name, branch=lies)


def _missing_files(folder: Path, entries: Sequence[Entry]) -> list[tuple[Entry, Entry | None]]:
    """The entries whose files are not here yet, each with the folder's own entry of that id, if there is one."""
    ledger, known = Ledger(folder / MEMORY), dict[str, Entry]()
    ids = [entry.id for entry in entries]
    for some in _groups(ids, IDS_AT_ONCE):
        known |= ledger.find(some)
    return [(entry, known.get(entry.id)) for entry in entries if not _is_here(folder, known.get(entry.id))]


def _add_payloads(archive: Archive, folder: Path, ids: Sequence[str], tell: Callable[[int], None]) -> None:
    """The latents of memories, which come before their rows."""
    payloads = open_table(folder / MEMORY, latents.TABLE, latents.SCHEMA)
    done = 0
    for some in _groups(ids, PAYLOADS_AT_ONCE):
        data = lance.blob_array([b"".join(archive.read(f"latents/{id}")) for id in some])
        insert_missing(payloads, pa.table([some, data], schema=latents.SCHEMA))
        done += len(some)
        tell(done)


def _add_rows(folder: Path, contents: Contents, moved: Mapping[TurnKey, TurnKey]) -> None:
    """Rows of memories, where they are not here yet."""
    for name, memories in contents.memories.items():
        rows = [{**row, "session": moved[row["session"], row["turn"]][0]} for row in memories.to_pylist()]
        schema = schema_of(name)
        table = open_table(folder / MEMORY, name, schema, added_to(name))
        insert_missing(table, pa.Table.from_pylist(rows, schema=schema))


def _add_files(
    archive: Archive,
    folder: Path,
    missing: Sequence[tuple[Entry, Entry | None]],
    moved: Mapping[TurnKey, TurnKey],
    tell: Callable[[int], None],
) -> None:
    """Each file, then its ledger entry."""
    ledger = Ledger(folder / MEMORY)
    for done, (entry, mine) in enumerate(missing, start=1):
        path = folder / entry.path
        belongs_here = mine is not None and mine.path == entry.path  # and was lost
        taken = path.exists() if belongs_here else any(folder.glob(f"{escape(path.stem)}[._]*"))
        if entry.kind == "video" and taken:
            path = next_version(folder, re.sub(r"_v\d+$", "", path.stem), path.suffix)
        session, turn = moved[entry.key]
        with unrecorded(path) if entry.kind == "video" else nullcontext():
            _copy(archive, member_of(entry), path)
            ledger.record(replace(entry, session=session, turn=turn, path=path.relative_to(folder).as_posix()))
        tell(done)


def _is_here(folder: Path, entry: Entry | None) -> bool:
    return entry is not None and (folder / entry.path).is_file() and hash_file(folder / entry.path) == entry.checksum


def _copy(archive: Archive, member: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(path) as unfinished, unfinished.open("wb") as file:
            file.writelines(archive.read(member))
    except OSError as fault:
        raise RunError(f"{path}: could not be written ({fault.strerror}); the same command goes on") from fault
