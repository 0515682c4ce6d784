"""Tables below a prefix in a bucket, against a server that speaks S3."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from model.errors import RequestError, RunError, StoreError, UnreachableError
from storage.garbage import find_garbage, sweep
from storage.kinds import payload_sizes, remembered
from storage.ledger import Ledger
from storage.object_store import server_options
from storage.remembered import Reach
from storage.sessions import list_sessions, plan_removal, remove
from storage.store import MEMORY, find_finished, open_store, read_turns
from storage.table_place import has_tables, require_place
from tests.storage.memories import (
    SIZE,
    commit,
    keys_of,
    make_descriptor,
    make_latents,
    make_row,
    make_session,
    row_of,
)
from tests.storage.object_servers import OddServer, emptied, forget_servers, names_in, running_moto

PREFIX = "s3://films/memories/a take"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_moto("films") as address:
        yield address


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """The bucket `films`, empty."""
    forget_servers(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "words")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("MEMORY_V2V_S3_ENDPOINT", server)
    return emptied("films", server)


def test_a_memory_in_a_bucket_is_one_like_any_other(bucket: S3Store, tmp_path: Path) -> None:
    with open_store(tmp_path, SIZE, memory=PREFIX) as store:
        for number in range(3):
            commit(store, make_row(number))
        found = store.memory.search(keys_of("holiday"), make_descriptor(1), "noise", 2, Reach(2, (), "tiny"))
        assert found[0].id == make_row(1).id
        (edited, source), expected = store.memory.latents([make_row(1).id])[0], make_latents(1)
        assert edited.tobytes() + source.tobytes() == b"".join(half.tobytes() for half in expected)
        store.memory.maintain()
    assert (tmp_path / MEMORY).is_file()
    assert all(name.startswith("memories/a take/") for name in names_in(bucket))
    assert any("latents.lance" in name for name in names_in(bucket))
    assert find_finished(tmp_path, make_row(2).id) is not None
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    with open_store(moved, SIZE) as store:
        assert len(store.memory.rows()) == 3, "the folder itself knows where its memory lies"


def test_sessions_there_are_listed_deleted_and_swept(bucket: S3Store, tmp_path: Path) -> None:
    with open_store(tmp_path, SIZE, memory=PREFIX):
        pass
    make_session(tmp_path)
    assert [turn.number for turn in read_turns(tmp_path, "film")] == [1, 2, 3]
    assert list_sessions(tmp_path)[0].segments == 6
    remove(tmp_path, plan_removal(tmp_path, "film", 3))
    ledger = Ledger(tmp_path / MEMORY)
    sweep(tmp_path, find_garbage(tmp_path, ledger.turns()))
    left = {row_of(turn, segment).id for turn in (1, 2) for segment in (0, 1)}
    assert {memory.id for memory in remembered(tmp_path / MEMORY)} == set(payload_sizes(tmp_path / MEMORY)) == left


def test_what_another_copy_of_the_folder_may_be_writing_is_left(bucket: S3Store, tmp_path: Path) -> None:
    """Here whoever holds the lock is alone; a copy on another machine has another lock."""
    for folder, memory in ((tmp_path / "here", None), (tmp_path / "there", PREFIX)):
        with open_store(folder, SIZE, memory=memory) as store:
            commit(store, make_row(0))
    begun = [f"{table}.lance/data/{40 * '0'}.lance" for table in ("latents", "ledger")]
    for name in begun:
        (tmp_path / "here" / MEMORY / name).write_bytes(b"rows")
        obstore.put(bucket, f"memories/a take/{name}", b"rows")
    versions = {name for name in names_in(bucket) if "_versions" in name}
    for folder in (tmp_path / "here", tmp_path / "there"):
        sweep(folder, find_garbage(folder, []))
    assert not any((tmp_path / "here" / MEMORY / name).exists() for name in begun)
    assert {*(f"memories/a take/{name}" for name in begun), *versions} <= {*names_in(bucket)}


def test_a_prefix_belongs_to_one_folder(bucket: S3Store, tmp_path: Path) -> None:
    with open_store(tmp_path / "mine", SIZE, memory=PREFIX) as store:
        commit(store, make_row(0))
    before = names_in(bucket)
    with pytest.raises(StoreError, match="holds the memory of another output folder"):
        open_store(tmp_path / "other", SIZE, memory=PREFIX).__enter__()
    assert names_in(bucket) == before
    assert not has_tables(tmp_path / "other" / MEMORY)
    with open_store(tmp_path / "other", SIZE, memory=f"{PREFIX} 2") as store:
        assert store.memory.rows() == []


def test_what_was_begun_and_never_made_is_made(bucket: S3Store, tmp_path: Path) -> None:
    """As by a machine that lost its network."""
    obstore.put(bucket, "memories/a take/ledger.lance/_transactions/0-a.txn", b"")
    with open_store(tmp_path, SIZE, memory=PREFIX) as store:
        assert store.ledger.entries() == []
    obstore.put(bucket, "memories/b/ledger.lance/data/a.lance", b"")
    with pytest.raises(StoreError, match="table ledger cannot be read"):
        open_store(tmp_path / "b", SIZE, memory="s3://films/memories/b").__enter__()


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("memories", "expected s3://bucket/prefix"),
        ("s3://films", "its key is empty"),
        ("gs://films/memories", "--memory gs://films/memories: expected s3://bucket/prefix"),
    ],
)
def test_what_is_no_prefix_is_refused(prefix: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=said):
        require_place(tmp_path / MEMORY, prefix)
    assert list(tmp_path.iterdir()) == []


def test_a_memory_stays_where_it_is(bucket: S3Store, tmp_path: Path) -> None:
    with open_store(tmp_path / "here", SIZE):
        pass
    with pytest.raises(RequestError, match="is here already; leave out --memory"):
        require_place(tmp_path / "here" / MEMORY, PREFIX)
    with open_store(tmp_path / "there", SIZE, memory=PREFIX):
        pass
    for same in (PREFIX, f"{PREFIX}/"):
        require_place(tmp_path / "there" / MEMORY, same)
    with pytest.raises(RequestError, match=f"is at {PREFIX}; leave out --memory"):
        require_place(tmp_path / "there" / MEMORY, "s3://films/elsewhere")


def test_a_server_that_would_lose_commits_is_refused(
    bucket: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OddServer().running() as address:
        monkeypatch.setenv("MEMORY_V2V_S3_ENDPOINT", address)
        with pytest.raises(RunError, match="ignores If-None-Match"):
            open_store(tmp_path, SIZE, memory="s3://films/odd").__enter__()
    assert not has_tables(tmp_path / MEMORY)


def test_a_server_that_fails_is_told_where_the_tables_lie_there(bucket: S3Store, tmp_path: Path) -> None:
    fault = RuntimeError("lance error: LanceError(IO): Generic S3 error: error sending request\nand more")
    with pytest.raises(UnreachableError, match=f"^{PREFIX}: the server does not answer.*goes on") as told:
        open_and_raise(fault, tmp_path / "there", PREFIX)
    assert "\n" not in str(told.value)
    with pytest.raises(RuntimeError, match="LanceError"):
        open_and_raise(fault, tmp_path / "here", None)


def open_and_raise(fault: Exception, folder: Path, memory: str | None) -> None:
    with open_store(folder, SIZE, memory=memory):
        raise fault


def test_a_server_that_stops_in_the_middle_is_told(
    bucket: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = {"client_max_retries": "0", "client_retry_timeout": "1"}
    monkeypatch.setattr("storage.table_place.server_options", lambda: server_options() | hasty)

    def commit_until_it_stops() -> None:
        with ExitStack() as running:
            monkeypatch.setenv("MEMORY_V2V_S3_ENDPOINT", running.enter_context(running_moto("films")))
            with open_store(tmp_path, SIZE, memory=PREFIX) as store:
                commit(store, make_row(0))
                running.close()
                commit(store, make_row(1))

    with pytest.raises(UnreachableError, match=f"^{PREFIX}: the server does not answer"):
        commit_until_it_stops()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "s3://films/a",
        "[]",
        '{"tables": "s3://films/a"}',
        '{"tables": "/etc", "owner": "a"}',
        '{"tables": 1, "owner": "a"}',
        '{"tables": "s3://films/a", "owner": 1}',
        '{"tables": "s3://films/a", "owner": "a", "more": "b"}',
    ],
)
def test_another_file_in_its_place_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / MEMORY).write_text(content)
    with pytest.raises(StoreError, match="neither a folder nor a file that says where the memory lies"):
        find_finished(tmp_path, "a")


def test_a_signpost_names_no_server(bucket: S3Store, tmp_path: Path) -> None:
    """Whoever gets the folder learns neither a server nor a key."""
    with open_store(tmp_path, SIZE, memory=PREFIX):
        pass
    post = json.loads((tmp_path / MEMORY).read_text())
    assert set(post) == {"tables", "owner"}
    assert post["tables"] == PREFIX
