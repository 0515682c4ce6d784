"""A session as one file, to be carried to another output folder.

A zip of stored members: the rows as Arrow files, each payload and each file as it is, and last a manifest with the size
and sha256 of every member. It is written to a temporary name and renamed; the same session gives the same bytes.

A foreign archive is believed nothing: member names come from a fixed list of forms and are never used as paths, links
and compression are refused, sizes are bounded by the file's own, and every checksum is verified before anything is
written. Then the turns' rows come first, so that an import that was killed goes on, and can be removed.
"""

import io
import json
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from struct import error
from typing import Literal

import lance
import pyarrow as pa
from lancedb.expr import col, lit
from lancedb.table import Table
from pydantic import Field, ValidationError

from model.config import SESSION_NAME, Config
from model.errors import ArchiveError, RequestError, RunError, StoreError
from storage.content_id import CHUNK, hash_file
from storage.durable import publish
from storage.ledger import ENTRY_SCHEMA, TURN_SCHEMA, Entry, Ledger, TurnRow, turn_id
from storage.memory import LATENTS, ROWS_PREFIX, latents_schema, of_turns, row_schema
from storage.remembered import IDS_AT_ONCE, remembered, segment_tables
from storage.sessions import require_new, require_session
from storage.store import MEMORY, SEGMENTS, next_version
from storage.tables import open_table, open_tables

VERSION = 1
MANIFEST = "manifest.json"
MOST_MEMBERS, MOST_MANIFEST_BYTES, MOST_ROW_BYTES = 1_000_000, 256 * 2**20, 2**30
EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip cannot be older
ID = r"[0-9a-f]{64}"
MEMBER = rf"turns\.arrow|ledger\.arrow|rows/{ROWS_PREFIX}\d{{1,5}}\.arrow|latents/{ID}|segments/{ID}\.mkv|videos/{ID}"
VIDEO_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}_v\d{3,}\.(mp4|mov|mkv)"

Report = Callable[[int, int], None]
"""Told bytes done and bytes in all, many times."""


class Member(Config):
    """One file of an archive."""

    name: str = Field(pattern=f"^({MEMBER})$")
    size: int = Field(ge=0)
    sha256: str = Field(pattern=f"^{ID}$")


class Manifest(Config):
    """What an archive says of itself."""

    format: Literal["memory-v2v session"] = "memory-v2v session"
    version: int
    session: str = Field(pattern=SESSION_NAME)
    members: tuple[Member, ...] = Field(max_length=MOST_MEMBERS)


@dataclass(frozen=True)
class Contents:
    """The rows of a session: its turns, its ledger entries, and its memories by table."""

    turns: tuple[TurnRow, ...]
    entries: tuple[Entry, ...]
    memories: dict[str, pa.Table]

    @property
    def ids(self) -> list[str]:
        """Of all memories."""
        return sorted(id for table in self.memories.values() for id in table["id"].to_pylist())


def export_session(folder: Path, name: str, path: Path, report: Report) -> Manifest:
    """Write a session with all that it refers to; the caller holds the lock. Whole or not at all.

    Raises:
        RequestError: there is no such session.
        StoreError: a file or a payload of it is missing or damaged.
    """
    contents = _contents(folder, require_session(folder, name))
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
            manifest = Manifest(version=VERSION, session=name, members=tuple(_write(archive, folder, contents, report)))
            archive.writestr(zipfile.ZipInfo(MANIFEST, EPOCH), manifest.model_dump_json())
        publish(unfinished, path)
    except OSError as fault:
        raise RequestError(f"{path}: cannot be written ({fault.strerror}); choose another file") from fault
    finally:
        unfinished.unlink(missing_ok=True)
    return manifest


def _contents(folder: Path, turns: Sequence[TurnRow]) -> Contents:
    keys = {turn.key for turn in turns}
    entries = [entry for entry in Ledger(folder / MEMORY).entries() if entry.kind in ("segment", "video")]
    memories: dict[str, pa.Table] = {}
    for name, table in segment_tables(folder / MEMORY).items():
        rows = table.search().where(of_turns(sorted(keys))).limit(None).to_arrow()
        if rows.num_rows:
            memories[name] = rows.sort_by("id")
    mine = sorted((entry for entry in entries if (entry.session, entry.turn) in keys), key=lambda entry: entry.id)
    return Contents(tuple(turns), tuple(mine), memories)


def _write(archive: zipfile.ZipFile, folder: Path, contents: Contents, report: Report) -> Iterator[Member]:
    """Write all members but the manifest, and yield what it will say of each."""
    files = [(_member_of(entry), folder / entry.path, entry.checksum) for entry in contents.entries]
    total, done = sum(path.stat().st_size for _, path, _ in files if path.is_file()), 0
    tables = {
        "turns.arrow": pa.Table.from_pylist([asdict(turn) for turn in contents.turns], TURN_SCHEMA),
        "ledger.arrow": pa.Table.from_pylist([asdict(entry) for entry in contents.entries], ENTRY_SCHEMA),
        **{f"rows/{name}.arrow": table for name, table in contents.memories.items()},
    }
    for name, table in tables.items():
        yield _add(archive, name, [_to_bytes(table)])
    for id, payload in _payloads(open_tables(folder / MEMORY)[LATENTS], contents.ids):
        yield _add(archive, f"latents/{id}", [payload])
    for name, path, checksum in files:
        if not path.is_file():
            raise StoreError(f"{path}: is missing; run the command of its turn again, or delete the turn")
        member = _add(archive, name, _pieces(path))
        if member.sha256 != checksum:
            raise StoreError(f"{path}: is damaged; run the command of its turn again, or delete the turn")
        done += member.size
        report(done, total)
        yield member


def _member_of(entry: Entry) -> str:
    return f"segments/{entry.id}.mkv" if entry.kind == "segment" else f"videos/{entry.id}"


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
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _payloads(table: Table, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Payloads one by one, in the order of `ids`.

    Raises:
        StoreError: one is missing.
    """
    for id in ids:
        found = table.search().where(col("id") == lit(id)).select(["id"]).with_row_id(True).limit(1).to_arrow()
        if not found.num_rows:
            raise StoreError(f"the latents of memory {id} are missing; restore the folder, or delete the turn")
        yield id, table.fetch_blobs("data", found["_rowid"].to_pylist())[0].as_py()


@contextmanager
def open_archive(path: Path, report: Report) -> Iterator["Archive"]:
    """A foreign archive, of which everything has been verified.

    Raises:
        ArchiveError: it is missing, damaged, of another version, or not what an export writes.
    """
    if not path.is_file():
        raise ArchiveError(f"{path}: no such file; expected what session export writes")
    with _readable(path):
        opened = zipfile.ZipFile(path)
    with opened:
        with _readable(path):
            archive = Archive(path, opened, _read_manifest(path, opened, path.stat().st_size))
            archive.verify(report)
        yield archive


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What `zipfile` raises where an archive is damaged, as one error."""
    try:
        yield
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, error) as fault:
        raise ArchiveError(f"{path}: not an exported session, or damaged ({fault}); export it again") from fault


class Archive:
    """An open archive whose manifest is sound."""

    def __init__(self, path: Path, opened: zipfile.ZipFile, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._opened = opened
        self._members = {member.name: member for member in manifest.members}

    def verify(self, report: Report) -> None:
        """Compare every member with its checksum, without keeping any.

        Raises:
            ArchiveError: one is damaged.
        """
        total, done = sum(member.size for member in self.manifest.members), 0
        for member in self.manifest.members:
            digest = sha256()
            for piece in self.read(member.name):
                digest.update(piece)
                done += len(piece)
                report(done, total)
            if digest.hexdigest() != member.sha256:
                raise ArchiveError(f"{self.path}: {member.name} is damaged (wrong checksum); export the session again")

    def read(self, name: str) -> Iterator[bytes]:
        """A member, piece by piece."""
        with self._opened.open(name) as file:
            while piece := file.read(CHUNK):
                yield piece

    def contents(self) -> Contents:
        """The rows, of which every id, key and path is one that an export can have written.

        Raises:
            ArchiveError: one is not, or something that they name is missing.
        """
        try:
            turns = tuple(TurnRow(**record) for record in self._table("turns.arrow", TURN_SCHEMA).to_pylist())
            entries = tuple(Entry(**record) for record in self._table("ledger.arrow", ENTRY_SCHEMA).to_pylist())
            contents = Contents(turns, entries, dict(self._rows()))
            self._require_sound(contents)
        except (pa.ArrowException, KeyError, TypeError, ValueError) as fault:
            reason = str(fault).splitlines()[0][:200]
            raise ArchiveError(f"{self.path}: its tables are not those of a session ({reason})") from fault
        return contents

    def _rows(self) -> Iterator[tuple[str, pa.Table]]:
        for name in sorted(self._members):
            if name.startswith("rows/"):
                table = name.removeprefix("rows/").removesuffix(".arrow")
                yield table, self._table(name, row_schema(int(table.removeprefix(ROWS_PREFIX))))

    def _table(self, name: str, schema: pa.Schema) -> pa.Table:
        if self._members[name].size > MOST_ROW_BYTES:
            raise ValueError(f"{name} is too large")
        table = pa.ipc.open_file(pa.BufferReader(b"".join(self.read(name)))).read_all().cast(schema)
        if any(column.null_count for column in table.columns):
            raise ValueError(f"{name} has gaps")
        return table

    def _require_sound(self, contents: Contents) -> None:
        keys = {turn.key for turn in contents.turns}
        ids, wanted = contents.ids, {"turns.arrow", "ledger.arrow"}
        wanted |= (
            {f"rows/{name}.arrow" for name in contents.memories}
            | {f"latents/{id}" for id in ids}
            | {_member_of(entry) for entry in contents.entries}
        )
        rows = [row for table in contents.memories.values() for row in table.select(["session", "turn"]).to_pylist()]
        sound = {
            "a session has turns, each once": 0 < len(contents.turns) == len({turn.number for turn in contents.turns}),
            "turns are counted from 1": all(0 <= turn.parent < turn.number for turn in contents.turns),
            "turns are of the session": {turn.session for turn in contents.turns} == {self.manifest.session},
            "ids are told once": len(ids) == len(set(ids)) and _all_once(contents.entries),
            "memories are of its turns": {(row["session"], row["turn"]) for row in rows} <= keys,
            "entries are of its turns": {(entry.session, entry.turn) for entry in contents.entries} <= keys,
            "entries are of its memories": {e.id for e in contents.entries if e.kind == "segment"} <= set(ids),
            "paths are derived": all(_is_sound(entry) for entry in contents.entries),
            "members are what the rows name": wanted == set(self._members),
        }
        if broken := [rule for rule, holds in sound.items() if not holds]:
            raise ValueError(f"not so: {broken[0]}")


def _all_once(entries: Sequence[Entry]) -> bool:
    return len({entry.id for entry in entries}) == len(entries)


def _is_sound(entry: Entry) -> bool:
    if entry.kind == "segment":
        return entry.path == f"{SEGMENTS}/{entry.id}.mkv"
    return entry.kind == "video" and re.fullmatch(VIDEO_NAME, entry.path) is not None


def _read_manifest(path: Path, opened: zipfile.ZipFile, room: int) -> Manifest:
    """The manifest, if the archive's members are just those that it names, stored, and no larger than the file."""
    members = opened.infolist()
    sizes = {member.filename: member.file_size for member in members}
    stored = all(member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1 for member in members)
    linked = any(stat.S_ISLNK(member.external_attr >> 16) or member.is_dir() for member in members)
    if len(members) > MOST_MEMBERS or sum(sizes.values()) > room or not stored:
        raise ArchiveError(f"{path}: is larger than it can be, or compressed; expected what session export writes")
    if linked or max(Counter(member.filename for member in members).values(), default=0) > 1:
        raise ArchiveError(f"{path}: holds links, folders or names told twice; expected what session export writes")
    if sizes.get(MANIFEST, MOST_MANIFEST_BYTES) >= MOST_MANIFEST_BYTES:
        raise ArchiveError(f"{path}: has no manifest; expected what session export writes")
    manifest = _parse(path, opened.read(MANIFEST))
    if {member.name: member.size for member in manifest.members} | {MANIFEST: sizes[MANIFEST]} != sizes:
        raise ArchiveError(f"{path}: its members are not those of its manifest; expected what session export writes")
    return manifest


def _parse(path: Path, text: bytes) -> Manifest:
    try:
        said = json.loads(text)
        version = said.get("version") if isinstance(said, dict) else None
        if isinstance(version, int) and version != VERSION:
            raise ArchiveError(f"{path}: is of version {version}; this program reads version {VERSION}")
        return Manifest.model_validate(said)
    except (ValidationError, ValueError, RecursionError) as fault:
        reason = fault.errors()[0]["msg"] if isinstance(fault, ValidationError) else "no JSON"
        raise ArchiveError(f"{path}: its manifest is not valid ({reason})") from fault


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
    turns, missing = _place(contents, folder, name)
    ledger.add_turns(turns)
    moved = {old.key: new.key for old, new in zip(contents.turns, turns, strict=True)}
    memories = _add_memories(archive, folder, contents, moved)
    files = _add_files(archive, folder, contents, moved, report)
    return Imported(name, missing, memories, files)


def _place(contents: Contents, folder: Path, name: str) -> tuple[list[TurnRow], int]:
    """The turns as they will be here, and how many of them are new.

    A turn whose memories are here lies where they do; any other, under the session's name.
    """
    known = {turn.number: turn for turn in Ledger(folder / MEMORY).turns(name)}
    if not known:
        require_new(folder, name)
    here = {memory.id: memory.session for memory in remembered(folder / MEMORY)}
    turns = [_move(turn, contents, name, here) for turn in contents.turns]
    if known and any(known.get(turn.number, turn).fingerprint != turn.fingerprint for turn in turns):
        raise RequestError(f"{name}: {folder} has another session of that name; choose another with --as NAME")
    if known and not {turn.number for turn in turns} <= set(known):
        raise RequestError(f"{name}: {folder} has another session of that name; choose another with --as NAME")
    return [known.get(turn.number, turn) for turn in turns], sum(turn.number not in known for turn in turns)


def _move(turn: TurnRow, contents: Contents, name: str, here: dict[str, str]) -> TurnRow:
    rows = [row for table in contents.memories.values() for row in table.select(["id", "session", "turn"]).to_pylist()]
    mine = [row["id"] for row in rows if (row["session"], row["turn"]) == turn.key]
    lies = next((here[id] for id in mine if id in here), name)
    return replace(turn, id=turn_id(name, turn.fingerprint), session=name, branch=lies)


def _add_memories(archive: Archive, folder: Path, contents: Contents, moved: dict) -> int:
    """Payloads, then rows, where they are not here yet; returns how many rows were not."""
    here = {memory.id for memory in remembered(folder / MEMORY)}
    latents = open_table(folder / MEMORY, LATENTS, latents_schema())
    for id in contents.ids:
        if id not in here:
            blob = lance.blob_array([b"".join(archive.read(f"latents/{id}"))])
            _insert(latents, pa.table([[id], blob], schema=latents_schema()))
    for name, table in contents.memories.items():
        rows = [{**row, "session": moved[row["session"], row["turn"]][0]} for row in table.to_pylist()]
        schema = row_schema(int(name.removeprefix(ROWS_PREFIX)))
        _insert(open_table(folder / MEMORY, name, schema), pa.Table.from_pylist(rows, schema=schema))
    return len(set(contents.ids) - here)


def _insert(table: Table, rows: pa.Table) -> None:
    table.merge_insert("id").when_not_matched_insert_all().use_index(False).execute(rows)


def _add_files(archive: Archive, folder: Path, contents: Contents, moved: dict, report: Report) -> int:
    """Each file, then its ledger entry, where they are not here yet; returns how many were not."""
    ledger = Ledger(folder / MEMORY)
    known: dict[str, Entry] = {}
    ids = [entry.id for entry in contents.entries]
    for start in range(0, len(ids), IDS_AT_ONCE):
        known |= ledger.find(ids[start : start + IDS_AT_ONCE])
    missing = [entry for entry in contents.entries if not _is_here(folder, known.get(entry.id))]
    for done, entry in enumerate(missing, start=1):
        path = folder / entry.path
        if entry.kind == "video" and path.exists():
            path = next_version(folder, re.sub(r"_v\d+$", "", path.stem), path.suffix)
        _copy(archive, _member_of(entry), path)
        session, turn = moved[entry.session, entry.turn]
        ledger.record(replace(entry, session=session, turn=turn, path=path.relative_to(folder).as_posix()))
        report(done, len(missing))
    return len(missing)


def _is_here(folder: Path, entry: Entry | None) -> bool:
    return entry is not None and (folder / entry.path).is_file() and hash_file(folder / entry.path) == entry.checksum


def _copy(archive: Archive, member: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.writelines(archive.read(member))
        publish(unfinished, path)
    except OSError as fault:
        raise RunError(f"{path}: could not be written ({fault.strerror}); the same command goes on") from fault
    finally:
        unfinished.unlink(missing_ok=True)
