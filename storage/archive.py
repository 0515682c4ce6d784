"""A session as one file: what an archive holds, and how a foreign one is read.

A zip of stored members: the rows as Arrow streams, each payload and each file as it is, and last a manifest with the
size and sha256 of every member (`storage/exchange.py` writes it).

A foreign archive is believed nothing. Member names have one of a few forms and are never used as paths; links and
compression are refused, sizes are bounded by the file's own, every checksum is verified, and rows may name nothing but
what the archive brings.
"""

import json
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from struct import error, unpack_from
from typing import Any, Literal, get_args

import pyarrow as pa
from pydantic import Field, ValidationError

from model.config import SESSION_NAME, Config
from model.errors import ArchiveError, StoreError, first_line
from model.types import Reason
from storage.content_id import CHUNK
from storage.kinds import added_to, complete, schema_of
from storage.ledger import ENTRY_SCHEMA, TURN_SCHEMA, Entry, TurnKind, TurnRow
from storage.making import Making
from storage.store import segment_name

VERSION = 1
MANIFEST = "manifest.json"
MOST_TABLES = 16  # of memories: one a kind, and one a size of descriptors
TOLD = ["session", "turn", "recalled", "scores", "reasons"]
MOST_MEMBERS, MOST_MANIFEST_BYTES, MOST_ROW_BYTES = 1_000_000, 256 * 2**20, 2**30
ID = r"[0-9a-f]{64}"
MEMBER = rf"(turns|ledger|rows/[a-z]{{1,32}}(_[1-9][0-9]{{0,4}})?)\.arrow|latents/{ID}|segments/{ID}\.mkv|videos/{ID}"
VIDEO_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,140}_v\d{3,}\.(mp4|mov|mkv)"

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

    @cached_property
    def ids(self) -> list[str]:
        """Of all memories."""
        return sorted(id for table in self.memories.values() for id in table["id"].to_pylist())

    def __len__(self) -> int:
        """Members that hold it."""
        return 2 + len(self.memories) + len(self.ids) + len(self.entries)


def member_of(entry: Entry) -> str:
    """The member that holds the file of a ledger entry."""
    return f"segments/{entry.id}.mkv" if entry.kind == "segment" else f"videos/{entry.id}"


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
        except (pa.ArrowException, StoreError, KeyError, TypeError, ValueError, error) as fault:
            reason = first_line(fault, 200)
            raise ArchiveError(f"{self.path}: its tables are not those of a session ({reason})") from fault
        return contents

    def _rows(self) -> Iterator[tuple[str, pa.Table]]:
        for name in sorted(self._members):
            if name.startswith("rows/"):
                table = name.removeprefix("rows/").removesuffix(".arrow")
                schema = schema_of(table)
                earlier = pa.schema([column for column in schema if column.name not in added_to(table)])
                yield table, complete(table, self._table(name, schema, earlier))

    def _table(self, name: str, *schemas: pa.Schema) -> pa.Table:
        if self._members[name].size > MOST_ROW_BYTES:
            raise ValueError(f"{name} is too large")
        return read_rows(b"".join(self.read(name)), *schemas)

    def _is_of(self, entry: Entry) -> bool:
        """Whether the member that holds an entry's file is the file that was recorded."""
        member = self._members.get(member_of(entry))
        return member is not None and member.sha256 == entry.checksum

    def _require_sound(self, contents: Contents) -> None:
        keys = {turn.key for turn in contents.turns}
        ids, wanted = contents.ids, {"turns.arrow", "ledger.arrow"}
        wanted |= (
            {f"rows/{name}.arrow" for name in contents.memories}
            | {f"latents/{id}" for id in ids}
            | {member_of(entry) for entry in contents.entries}
        )
        rows = [row for table in contents.memories.values() for row in table.select(TOLD).to_pylist()]
        sound = {
            "tables are few, and hold rows": len(contents.memories) <= MOST_TABLES
            and all(table.num_rows for table in contents.memories.values()),
            "turns are of a kind": {turn.kind for turn in contents.turns} <= {*get_args(TurnKind)},
            "memories tell ids and reasons of what they recalled": all(map(_recalls, rows)),
            "a session has turns, each once": 0 < len(contents.turns) == len({turn.number for turn in contents.turns}),
            "turns are counted from 1": all(0 <= turn.parent < turn.number for turn in contents.turns),
            "turns are of the session": {turn.session for turn in contents.turns} == {self.manifest.session},
            "ids are told once": len(ids) == len(set(ids)) and _all_once(contents.entries),
            "memories are of its turns": {(row["session"], row["turn"]) for row in rows} <= keys,
            "entries are of its turns": {entry.key for entry in contents.entries} <= keys,
            "entries are of its memories": {e.id for e in contents.entries if e.kind == "segment"} <= set(ids),
            "files are those of the entries": all(map(self._is_of, contents.entries)),
            "paths are derived": all(_is_sound(entry) for entry in contents.entries),
            "notes tell how segments were made": all(map(_is_readable, contents.entries)),
            "members are what the rows name": wanted == set(self._members),
        }
        if broken := [rule for rule, holds in sound.items() if not holds]:
            raise ValueError(f"not so: {broken[0]}")


def _recalls(row: Mapping[str, Any]) -> bool:
    ids, reasons = row["recalled"], row["reasons"]
    plain = all(re.fullmatch(ID, id) for id in ids) and {*reasons} <= {*get_args(Reason)}
    return plain and len(ids) == len(reasons) == len(row["scores"])


def _all_once(entries: Sequence[Entry]) -> bool:
    return len({entry.id for entry in entries}) == len(entries)


def _is_sound(entry: Entry) -> bool:
    if entry.kind == "segment":
        return entry.path == segment_name(entry.id)
    return entry.kind == "video" and re.fullmatch(VIDEO_NAME, entry.path) is not None


def _is_readable(entry: Entry) -> bool:
    """Whether later turns can read the note; that of a video is read, with care, where somebody asks for it."""
    try:
        return entry.kind == "video" or bool(Making.read(entry))
    except StoreError:
        return False


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


def read_rows(stream: bytes, *schemas: pa.Schema) -> pa.Table:
    """Rows of an Arrow stream that has just the columns of one of these, takes as much memory as it is long, and has no
    gaps.

    Raises:
        ValueError: it is another stream (`ArrowInvalid` is one).
    """
    messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(stream))
    for number, message in enumerate(messages):
        wanted = "schema" if number == 0 else "record batch"
        if message.type != wanted or (number and _is_compressed(message.metadata.to_pybytes())):
            raise ValueError("rows are compressed, or not told as rows")
    with pa.ipc.open_stream(stream) as reader:
        if not any(reader.schema.equals(schema) for schema in schemas):
            raise ValueError("rows have other columns")
        table = reader.read_all()
    table.validate(full=True)
    if any(column.null_count for column in table.columns):
        raise ValueError("rows have gaps")
    return table


def _is_compressed(metadata: bytes) -> bool:
    """Whether a record batch says that its body is compressed (Arrow's Message.fbs: fields 2 and 3 of the tables)."""
    header = _field(metadata, unpack_from("<I", metadata)[0], 2)
    assert header is not None
    batch = header + unpack_from("<I", metadata, header)[0]
    return _field(metadata, batch, 3) is not None


def _field(metadata: bytes, table: int, number: int) -> int | None:
    """Where a FlatBuffers table keeps a field; None where it has none."""
    vtable = table - unpack_from("<i", metadata, table)[0]
    slot = 4 + 2 * number
    if slot >= unpack_from("<H", metadata, vtable)[0]:
        return None
    offset = unpack_from("<H", metadata, vtable + slot)[0]
    return table + offset if offset else None
