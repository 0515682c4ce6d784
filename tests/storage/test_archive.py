"""An archive brings a session over whole; hostile and damaged ones are refused before anything is written."""

import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from model.errors import ArchiveError, RequestError, StoreError
from model.memory.retrieval import UNKNOWN
from storage import archive, exchange, tables
from storage.archive import MANIFEST, open_archive
from storage.content_id import hash_file
from storage.exchange import Imported, export_session, import_session
from storage.garbage import find_garbage, sweep
from storage.kinds import payload_sizes, remembered
from storage.ledger import ENTRY_SCHEMA, TURN_SCHEMA, Ledger
from storage.memory import TABLE, MemoryStore, memory_schema
from storage.sessions import branch, list_sessions, read_session
from storage.store import MEMORY, open_store
from storage.tables import PRIMARY_KEY, open_table, open_tables, read_all
from tests.storage.memories import SIZE, commit, enter_turn, make_session, row_of
from tests.waiting import dying

Rewrite = Callable[[dict[str, bytes]], object]


def quiet(_done: int, _total: int) -> None:
    pass


def bring(path: Path, folder: Path, name: str = "film") -> Imported:
    with open_archive(path, quiet) as opened:
        folder.mkdir(exist_ok=True)
        return import_session(opened, opened.contents(), folder, name, quiet)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_session(tmp_path / "here")


@pytest.fixture
def exported(folder: Path, tmp_path: Path) -> Path:
    export_session(folder, "film", tmp_path / "film.zip", quiet)
    return tmp_path / "film.zip"


def everything(folder: Path, name: str = "film") -> object:
    """All that a session holds, to the bit."""
    turns = read_session(folder, name)
    store = MemoryStore(folder / MEMORY, SIZE)
    pairs = [store.latents([segment.id])[0] for turn in turns for segment in turn.segments]
    entries = Ledger(folder / MEMORY).entries()
    files = {entry.id: (folder / entry.path).read_bytes() for entry in entries}
    return (
        [(turn.row.number, turn.row.fingerprint, turn.row.asked, turn.row.parent, turn.segments) for turn in turns],
        [(edited.tobytes(), source.tobytes()) for edited, source in pairs],
        files,
    )


def test_a_session_is_brought_over_whole(folder: Path, exported: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    assert bring(exported, there) == Imported("film", turns=3, memories=6, files=9)
    assert everything(there) == everything(folder)
    assert find_garbage(there, Ledger(there / MEMORY).turns()).files == ()


def test_bringing_it_twice_changes_nothing(exported: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    bring(exported, there)
    before, files = everything(there), sorted(path for path in there.iterdir() if path.name != MEMORY)
    assert bring(exported, there) == Imported("film", 0, 0, 0)
    assert everything(there) == before
    assert sorted(path for path in there.iterdir() if path.name != MEMORY) == files
    assert [session.turns for session in list_sessions(there)] == [3]


def test_the_same_session_gives_the_same_archive(folder: Path, exported: Path, tmp_path: Path) -> None:
    export_session(folder, "film", tmp_path / "again.zip", quiet)
    assert (tmp_path / "again.zip").read_bytes() == exported.read_bytes()


def test_payloads_are_looked_up_together(folder: Path, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one an export took a time that grew with the square of its memories."""
    looks: list[Path] = []

    def counted(uri: Path, query: object) -> pa.Table:
        looks.append(uri)
        return read_all(uri, query)

    monkeypatch.setattr(exchange, "read_all", counted)
    monkeypatch.setattr(exchange, "IDS_AT_ONCE", 4)
    monkeypatch.setattr(exchange, "PAYLOADS_AT_ONCE", 2)
    again = exported.with_name("again.zip")
    export_session(folder, "film", again, quiet)
    assert len(looks) == 2, "for six memories"
    assert again.read_bytes() == exported.read_bytes()


def test_a_table_that_cannot_be_understood_is_no_empty_one(folder: Path) -> None:
    """All that its memories name would be taken for garbage, and removed."""
    turns = Ledger(folder / MEMORY).turns()
    open_table(folder / MEMORY, "views", pa.schema([PRIMARY_KEY]))
    with pytest.raises(StoreError, match="table views was written by another version"):
        find_garbage(folder, turns)


def test_tables_are_found_however_many_there_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = open_tables(folder / MEMORY).keys()
    monkeypatch.setattr(tables, "PAGE", 1)
    assert open_tables(folder / MEMORY).keys() == every >= {"latents", "ledger", "turns", f"{TABLE}{SIZE}"}


def test_another_session_of_that_name_is_told(folder: Path, exported: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    with open_store(there, SIZE) as store:
        enter_turn(store.ledger, "film", "something else")
        commit(store, row_of(1, 7))
    with pytest.raises(RequestError, match="--as NAME"):
        bring(exported, there)
    assert [memory.segment for memory in remembered(there / MEMORY)] == [7]
    assert bring(exported, there, "their-film").turns == 3
    assert len(read_session(there, "film")[0].segments) == 1
    kept = [turn.row.key for turn in read_session(there, "their-film")]
    assert kept == [("their-film", number) for number in (1, 2, 3)]


def test_a_copy_beside_the_original_shares_everything(folder: Path, exported: Path) -> None:
    before = everything(folder)
    assert bring(exported, folder, "copy") == Imported("copy", turns=3, memories=0, files=0)
    assert everything(folder) == before
    assert [turn.row.branch for turn in read_session(folder, "copy")] == ["film"] * 3


def test_a_branch_is_brought_over_without_what_it_branched_from(folder: Path, tmp_path: Path) -> None:
    branch(folder, "film", 2, "blue")
    export_session(folder, "blue", tmp_path / "blue.zip", quiet)
    assert bring(tmp_path / "blue.zip", tmp_path / "there", "blue").memories == 4
    assert [session.name for session in list_sessions(tmp_path / "there")] == ["blue"]
    assert [turn.row.branch for turn in read_session(tmp_path / "there", "blue")] == ["blue"] * 2


def test_a_video_of_that_name_is_not_overwritten(exported: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "film_edit_v002.mov").write_text("mine")  # its page has the name of that of an .mp4
    bring(exported, there)
    assert (there / "film_edit_v002.mov").read_text() == "mine"
    paths = [turn.videos[0].path for turn in read_session(there, "film")]
    assert sorted(paths) == [f"film_edit_v00{version}.mp4" for version in (1, 3, 4)]
    assert [(there / path).read_text() for path in paths] == ["video 1", "video 2", "video 3"]


def test_a_video_that_was_lost_comes_back_to_its_page(folder: Path, exported: Path) -> None:
    (lost,) = (turn.videos[0].path for turn in read_session(folder, "film")[:1])
    (folder / lost).with_suffix(".html").write_text("its page")
    (folder / lost).unlink()
    assert bring(exported, folder).files == 1
    assert (folder / lost).read_text() == "video 1"
    assert read_session(folder, "film")[0].videos[0].path == lost


def test_a_session_of_an_older_version_goes_there_and_back(folder: Path, exported: Path, tmp_path: Path) -> None:
    """Neither its tables nor its archives know by how much edits changed a segment."""

    def drop(members: dict[str, bytes]) -> None:
        name = f"rows/{TABLE}{SIZE}.arrow"
        members[name] = exchange._to_bytes(pa.ipc.open_stream(members[name]).read_all().drop_columns(["change"]))

    bring(rewrite(exported, drop), tmp_path / "there")
    assert everything(tmp_path / "there") == everything(folder)
    open_tables(folder / MEMORY)[f"{TABLE}{SIZE}"].drop_columns(["change"])
    export_session(folder, "film", tmp_path / "again.zip", quiet)
    assert bring(tmp_path / "again.zip", folder, "copy").memories == 0
    assert {row.change for row in MemoryStore(folder / MEMORY, SIZE).rows()} == {UNKNOWN}


@pytest.mark.parametrize(
    ("owner", "step", "after"),
    [
        *((exchange, "insert_missing", calls) for calls in (0, 1)),  # at the payloads, at the rows
        *((exchange, "_copy", calls) for calls in (0, 5)),  # at the file of a segment, of a video
        *((Ledger, "record", calls) for calls in (0, 5)),  # between that file and its entry
    ],
)
def test_an_import_that_was_killed_goes_on(
    owner: Any,
    step: str,
    after: int,
    folder: Path,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = tmp_path / "there"
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, dying(owner, step, after))
        with pytest.raises(KeyboardInterrupt):
            bring(exported, there)
    assert {memory.id for memory in remembered(there / MEMORY)} <= set(payload_sizes(there / MEMORY))
    assert all((there / entry.path).is_file() for entry in Ledger(there / MEMORY).entries())
    bring(exported, there)
    assert everything(there) == everything(folder)
    sweep(there, find_garbage(there, Ledger(there / MEMORY).turns()))
    assert everything(there) == everything(folder)
    assert len(list(there.glob("film_edit_*"))) == 3, "what the killed one left is garbage"


def test_a_damaged_session_is_not_exported(folder: Path, tmp_path: Path) -> None:
    damaged = next((folder / "segments").iterdir())
    damaged.write_text("something else")
    with pytest.raises(StoreError, match=f"{damaged.name}: is damaged"):
        export_session(folder, "film", tmp_path / "film.zip", quiet)
    damaged.unlink()
    with pytest.raises(StoreError, match=f"{damaged.name}: is missing"):
        export_session(folder, "film", tmp_path / "film.zip", quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here"], "no half-written archive"


@pytest.mark.parametrize(("bound", "told"), [("MOST_MEMBERS", "members"), ("MOST_ROW_BYTES", r"bytes in \w+\.arrow")])
def test_what_no_import_would_accept_is_not_exported(
    bound: str, told: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told at once, not when the archive is needed."""
    monkeypatch.setattr(exchange, bound, 10)
    with pytest.raises(RequestError, match=rf"film: takes \d+ {told}, and an import accepts 10; export") as caught:
        export_session(folder, "film", tmp_path / "film.zip", quiet)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here"]


def test_the_largest_archive_is_taken(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides count the same."""
    members = export_session(folder, "film", tmp_path / "film.zip", quiet).members
    bounds = {
        "MOST_MEMBERS": len(members) + 1,
        "MOST_ROW_BYTES": max(each.size for each in members if "arrow" in each.name),
    }
    for name, bound in bounds.items():
        monkeypatch.setattr(exchange, name, bound)
        monkeypatch.setattr(archive, name, bound)
    export_session(folder, "film", tmp_path / "again.zip", quiet)
    assert bring(tmp_path / "again.zip", tmp_path / "there").turns == 3
    for name, bound in bounds.items():
        monkeypatch.setattr(archive, name, bound - 1)
        with pytest.raises(ArchiveError):
            bring(tmp_path / "again.zip", tmp_path / "elsewhere")
        monkeypatch.setattr(archive, name, bound)


def rewrite(exported: Path, change: Rewrite, **member: int) -> Path:
    """The archive with other members, its manifest made to fit unless `change` wrote one of its own."""
    with zipfile.ZipFile(exported) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    manifest = members[MANIFEST]
    change(members)
    if members.get(MANIFEST) == manifest:
        told = [_told(name, content) for name, content in members.items() if name != MANIFEST]
        members[MANIFEST] = json.dumps(json.loads(manifest) | {"members": told}).encode()
    path = exported.with_name("hostile.zip")
    with zipfile.ZipFile(path, "w") as written:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            for field, value in member.items():
                setattr(info, field, value)
            written.writestr(info, content)
    return path


def _told(name: str, content: bytes) -> dict[str, object]:
    return {"name": name, "size": len(content), "sha256": sha256(content).hexdigest()}


def first(members: dict[str, bytes], folder: str) -> str:
    return next(name for name in members if name.startswith(folder))


def rename(members: dict[str, bytes], name: str) -> None:
    members[name] = members.pop(first(members, "segments/"))


def spoil(members: dict[str, bytes]) -> None:
    """Other content under the checksum of the old."""
    manifest = json.loads(members[MANIFEST])
    members[first(members, "segments/")] = b"x" * manifest["members"][-1]["size"]
    size = len(members[first(members, "segments/")])
    for member in manifest["members"]:
        if member["name"] == first(members, "segments/"):
            member["size"] = size
    members[MANIFEST] = json.dumps(manifest).encode()


def say(**changes: object) -> Rewrite:
    def change(members: dict[str, bytes]) -> None:
        members[MANIFEST] = json.dumps(json.loads(members[MANIFEST]) | changes).encode()

    return change


def write_rows(name: str, schema: pa.Schema, **changes: object) -> Rewrite:
    """The same table with another value in its first row."""

    def change(members: dict[str, bytes]) -> None:
        rows = pa.ipc.open_stream(members[name]).read_all().to_pylist()
        rows[0] |= changes
        members[name] = exchange._to_bytes(pa.Table.from_pylist(rows, schema))

    return change


def write_note(members: dict[str, bytes]) -> None:
    """A segment that says nonsense of how it was made."""
    rows = pa.ipc.open_stream(members["ledger.arrow"]).read_all().to_pylist()
    next(row for row in rows if row["kind"] == "segment")["note"] = "[]"
    members["ledger.arrow"] = exchange._to_bytes(pa.Table.from_pylist(rows, ENTRY_SCHEMA))


def squeeze(members: dict[str, bytes]) -> None:
    """Rows that would be a thousand times as large in memory."""
    rows = pa.ipc.open_stream(members["turns.arrow"]).read_all()
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(rows)
    members["turns.arrow"] = sink.getvalue()


def recall(**changes: object) -> Rewrite:
    """A memory that recalled something."""
    told = {"recalled": [64 * "a"], "scores": [1.0], "reasons": ["similar"]} | changes
    return write_rows(ROWS, memory_schema(SIZE), **told)


def add_tables(*sizes: int | str) -> Rewrite:
    """Tables for descriptors of these sizes, without a row."""
    empty = exchange._to_bytes(memory_schema(1).empty_table())
    return lambda members: members.update({f"rows/{TABLE}{size}.arrow": empty for size in sizes})


ROWS = f"rows/{TABLE}{SIZE}.arrow"
HOSTILE: dict[str, tuple[Rewrite, str]] = {
    "traversal": (lambda members: rename(members, "segments/../../evil.mkv"), "manifest is not valid"),
    "absolute": (lambda members: rename(members, "/tmp/evil.mkv"), "manifest is not valid"),
    "unknown table": (lambda members: rename(members, "rows/ledger.arrow"), "ledger: no table of remembered"),
    "member that no row names": (lambda members: rename(members, f"latents/{64 * 'e'}"), "not those of a session"),
    "member missing": (lambda members: members.pop(first(members, "latents/")) and None, "not those of a session"),
    "member untold": (lambda members: say()(members) or members.update(extra=b"x"), "not those of its manifest"),
    "wrong checksum": (spoil, "wrong checksum"),
    "another version": (say(version=2), "of version 2; this program reads version 1"),
    "another format": (say(format="film"), "manifest is not valid"),
    "session's name": (say(session="../film"), "manifest is not valid"),
    "no manifest": (lambda members: members.pop(MANIFEST) and None, "no manifest"),
    "no JSON": (lambda members: members.update({MANIFEST: b"{"}), "no JSON"),
    "nested JSON": (lambda members: members.update({MANIFEST: 100_000 * b"["}), "no JSON"),
    "path out of the folder": (write_rows("ledger.arrow", ENTRY_SCHEMA, path="../evil.mkv"), "paths are derived"),
    "nonsense in a note": (write_note, "notes tell how segments were made"),
    "entry of another turn": (write_rows("ledger.arrow", ENTRY_SCHEMA, turn=9), "entries are of its turns"),
    "turn of another session": (write_rows("turns.arrow", TURN_SCHEMA, session="other"), "turns are of the session"),
    "recalled no id": (recall(recalled=["\x1b[2J"]), "memories tell ids and reasons"),
    "recalled for no reason": (recall(reasons=["\x1b]0;mine\x07"]), "memories tell ids and reasons"),
    "recalled without a score": (recall(scores=[]), "memories tell ids and reasons"),
    "file of another checksum": (write_rows("ledger.arrow", ENTRY_SCHEMA, checksum=64 * "0"), "files are those of the"),
    "empty table": (add_tables(1), "tables are few, and hold rows"),
    "digits of another script": (add_tables("\N{ARABIC-INDIC DIGIT THREE}"), "manifest is not valid"),
    "a size with a zero in front": (add_tables("01"), "manifest is not valid"),
    "no turns": (lambda members: members.pop("turns.arrow") and None, "not those of a session"),
    "turn on itself": (write_rows("turns.arrow", TURN_SCHEMA, parent=1), "counted from 1"),
    "compressed rows": (squeeze, "compressed"),
    "other columns": (lambda members: members.update({"turns.arrow": members["ledger.arrow"]}), "other columns"),
    "gaps": (write_rows("turns.arrow", TURN_SCHEMA, created=None), "rows have gaps"),
    "no Arrow": (lambda members: members.update({"turns.arrow": b"ARROW1"}), "not those of a session"),
}


def assert_refused(path: Path, told: str) -> None:
    there = path.parent / "there"
    with pytest.raises(ArchiveError, match=told) as caught:
        bring(path, there)
    assert "\n" not in str(caught.value)
    assert not there.exists() or not list(there.iterdir())
    assert not list(path.parent.rglob("evil*"))


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives_are_refused(kind: str, exported: Path) -> None:
    change, told = HOSTILE[kind]
    before = hash_file(exported)
    assert_refused(rewrite(exported, change), told)
    assert hash_file(exported) == before


def test_more_tables_than_there_are_kinds_are_refused(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of memories crowd others out of what a folder lists."""
    monkeypatch.setattr(archive, "MOST_TABLES", 0)
    assert_refused(exported, "tables are few, and hold rows")


def test_turns_of_no_kind_are_refused(exported: Path) -> None:
    with open_archive(exported, quiet) as opened:
        contents = opened.contents()
        object.__setattr__(contents.turns[0], "kind", "\x1b[2J")  # which under test no turn can be made with
        with pytest.raises(ValueError, match="turns are of a kind"):
            opened._require_sound(contents)


@pytest.mark.parametrize("change", [recall(), recall(recalled=[], scores=[], reasons=[])])
def test_what_memories_may_tell_is_taken(change: Rewrite, exported: Path) -> None:
    assert bring(rewrite(exported, change), exported.parent / "there").turns == 3


def test_what_was_rewritten_without_harm_is_taken(exported: Path) -> None:
    """The control: it is the change that is refused, not the rewriting."""
    assert bring(rewrite(exported, lambda members: None), exported.parent / "there").turns == 3


def test_links_and_compression_are_refused(exported: Path) -> None:
    def nothing(members: dict[str, bytes]) -> None:
        pass

    assert_refused(rewrite(exported, nothing, external_attr=(stat.S_IFLNK | 0o777) << 16), "holds links")
    assert_refused(rewrite(exported, nothing, compress_type=zipfile.ZIP_DEFLATED), "compressed")


def test_a_bomb_is_refused_by_its_size(exported: Path) -> None:
    """A directory that tells of more bytes than the file has."""
    content = bytearray(exported.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    for field in (20, 24):  # compressed and real size, of the last member
        content[entry + field : entry + field + 4] = (2**31).to_bytes(4, "little")
    exported.write_bytes(content)
    assert_refused(exported, "larger than it can be")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_archives_are_refused(exported: Path, share: float) -> None:
    exported.write_bytes(exported.read_bytes()[: int(share * exported.stat().st_size)])
    assert_refused(exported, "not an exported session, or damaged")


def test_flipped_bytes_are_refused(exported: Path) -> None:
    """Anywhere at all: what is taken all the same, as zip says some things twice, is what was written."""
    content = exported.read_bytes()
    with open_archive(exported, quiet) as opened:
        whole = opened.contents()
    refused = 0
    for place in np.random.default_rng(0).integers(0, len(content), 200).tolist():
        exported.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            with open_archive(exported, quiet) as opened:
                assert opened.contents() == whole
        except ArchiveError:
            refused += 1
    assert refused > 100


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "absent"):
        with pytest.raises(ArchiveError, match="no such file"):
            bring(path, tmp_path / "there")
