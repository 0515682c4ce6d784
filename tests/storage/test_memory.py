"""The memory keeps every bit, finds exactly what a brute-force search finds, and leaks nothing between sessions."""

import subprocess
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from model.errors import StoreError
from model.memory.retrieval import UNKNOWN, rank_by_descriptor
from storage import latents, memory
from storage.kinds import forget
from storage.latents import Latents, LatentStore
from storage.memory import MemoryRow, MemoryStore
from storage.remembered import Reach
from storage.tables import compact_payloads, open_table
from tests.storage.memories import SIZE, at, keys_of, make_descriptor, make_latents, make_row

ALL = Reach(10**6, (), "tiny")  # before the first segment of a turn that never comes
SESSIONS = ["holiday", "x' OR '1'='1", 'a "quoted" one', "ünï-会话-🎬", "it's", "", "a\\b%_", "holiday "]


def fill(store: MemoryStore, rows: Sequence[MemoryRow]) -> None:
    for row in rows:
        store.remember(row, *make_latents(row.segment))


def assert_same_bits(pair: tuple[Latents, Latents], number: int) -> None:
    for kept, made in zip(pair, make_latents(number), strict=True):
        assert (kept.dtype, kept.shape) == (np.float16, made.shape)
        np.testing.assert_array_equal(kept.view(np.uint16), made.view(np.uint16))


def brute_force(rows: Sequence[MemoryRow], query: np.ndarray, limit: int) -> list[str]:
    if not rows:
        return []
    scores = rank_by_descriptor(query, np.stack([row.descriptor for row in rows]))
    ranked = sorted(zip(scores, rows, strict=True), key=lambda one: (-one[0], -one[1].turn, -one[1].segment, one[1].id))
    return [row.id for _, row in ranked[:limit]]


def found(store: MemoryStore, query: np.ndarray, limit: int = 10, session: str = "holiday") -> list[str]:
    return [hit.id for hit in store.search(keys_of(session), query, "noise", limit, ALL)]


def fragments(folder: Path, table: str) -> int:
    return len(lance.dataset(str(folder / f"{table}.lance")).get_fragments())


def test_latents_come_back_to_the_bit_in_the_order_asked(tmp_path: Path) -> None:
    rows = [make_row(number) for number in range(6)]
    fill(MemoryStore(tmp_path, SIZE), rows)
    store = MemoryStore(tmp_path, SIZE)  # nothing in its cache
    for order in ([3, 0, 5], [5, 0, 3, 1], [2, 2, 0]):
        for pair, number in zip(store.latents([rows[number].id for number in order]), order, strict=True):
            assert_same_bits(pair, number)
    assert store.latents([]) == []


def test_latents_may_be_views_of_any_size(tmp_path: Path) -> None:
    views = [latents[:, ::2, ::-1].swapaxes(2, 3) for latents in make_latents(0, 6, 10)]
    MemoryStore(tmp_path, SIZE).remember(make_row(0), *views)
    for kept, view in zip(MemoryStore(tmp_path, SIZE).latents([make_row(0).id])[0], views, strict=True):
        np.testing.assert_array_equal(kept.view(np.uint16), view.copy().view(np.uint16))


def test_another_process_reads_the_same_bits(tmp_path: Path) -> None:
    fill(MemoryStore(tmp_path, SIZE), [make_row(0), make_row(1)])
    program = (
        "import sys; from pathlib import Path; from storage.memory import MemoryStore\n"
        f"pairs = MemoryStore(Path(sys.argv[1]), {SIZE}).latents(sys.argv[2:])\n"
        "sys.stdout.buffer.write(b''.join(latents.tobytes() for pair in pairs for latents in pair))"
    )
    ids = [make_row(1).id, make_row(0).id]
    output = subprocess.run([sys.executable, "-c", program, str(tmp_path), *ids], capture_output=True, check=True)
    assert output.stdout == b"".join(latents.tobytes() for number in (1, 0) for latents in make_latents(number))


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [make_row(0), make_row(1, turn=2), replace(make_row(1), recalled=(), scores=(), reasons=())]
    store = MemoryStore(tmp_path, SIZE)
    fill(store, rows)
    kept = [asdict(row) for row in MemoryStore(tmp_path, SIZE).rows()]
    for one, row in zip(kept, [rows[0], rows[2], rows[1]], strict=True):
        expected = asdict(row)
        np.testing.assert_array_equal(one.pop("descriptor"), expected.pop("descriptor"))
        assert one == expected
    assert store.row(rows[1].id).turn == 2
    with pytest.raises(StoreError, match="memory nothing is missing"):
        store.row("nothing")


def test_remembering_twice_leaves_one_row_and_the_first_latents(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, SIZE)
    fill(store, [make_row(0)])
    store.remember(make_row(0), *make_latents(1))
    for reader in (store, MemoryStore(tmp_path, SIZE)):
        assert [row.id for row in reader.rows()] == [make_row(0).id]
        assert_same_bits(reader.latents([make_row(0).id])[0], 0)
    assert lance.dataset(str(tmp_path / "latents.lance")).count_rows() == 1


def test_search_equals_brute_force_with_ties_and_blank_pictures(tmp_path: Path) -> None:
    directions = [make_descriptor(0), 2 * make_descriptor(0), -make_descriptor(0), np.zeros(SIZE), make_descriptor(1)]
    rows = [at(make_row(number), directions[number % len(directions)]) for number in range(30)]
    rows += [make_row(number) for number in range(30, 60)]
    store = MemoryStore(tmp_path, SIZE)
    fill(store, rows)
    for query in (*directions[:4], make_descriptor(99), directions[0] * np.float32(0.3)):
        for limit in (1, 4, 7, 20, 31, 59, 100):
            query = query.astype(np.float32)
            assert found(store, query, limit) == brute_force(rows, query, limit)


def test_all_rows_are_ranked_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last place is contested: a session of a million segments need not fit into memory to be searched."""
    ranked: list[int] = []

    def counted(query: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        ranked.append(len(candidates))
        return rank_by_descriptor(query, candidates)

    monkeypatch.setattr(memory, "RANKED_AT_ONCE", 4)
    monkeypatch.setattr(memory, "rank_by_descriptor", counted)
    rows = [at(make_row(number), make_descriptor(number % 2)) for number in range(40)]
    store = MemoryStore(tmp_path, SIZE)
    fill(store, rows)
    store.maintain()
    for limit in (3, 11):
        assert found(store, make_descriptor(0), limit) == brute_force(rows, make_descriptor(0), limit)
        _nearest, *portions = ranked
        assert sum(portions) == len(rows)
        assert max(portions) <= 4
        ranked.clear()
    every = store.search(keys_of("holiday"), make_descriptor(0), "noise", None, ALL)
    assert [hit.id for hit in every] == brute_force(rows, make_descriptor(0), 40)


def test_what_was_hardly_changed_is_left_out_however_many_turns_there_are(tmp_path: Path) -> None:
    changes = (0.1, 0.5, UNKNOWN, float("nan"))
    rows = [replace(make_row(number, turn=number // 4), change=changes[number % 4]) for number in range(16)]
    store = MemoryStore(tmp_path, SIZE)
    fill(store, rows)
    least = {("holiday", turn): 0.3 for turn in range(1, 700)}  # the first turn has none
    kept = [row for row in rows if row.turn == 0 or row.change != 0.1]
    for limit in (1, 3, 20):
        hits = store.search(keys_of("holiday", 700), make_descriptor(3), "noise", limit, ALL, least)
        assert [hit.id for hit in hits] == brute_force(kept, make_descriptor(3), limit)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 70))
def test_search_of_a_maintained_store_equals_brute_force(
    tmp_path_factory: pytest.TempPathFactory, query: int, limit: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "searched"
    rows = [make_row(number) for number in range(64)]
    if not folder.exists():
        store = MemoryStore(folder, SIZE)
        fill(store, rows)
        store.maintain()
    hits = MemoryStore(folder, SIZE).search(keys_of("holiday"), make_descriptor(query), "noise", limit, ALL)
    assert [hit.id for hit in hits] == brute_force(rows, make_descriptor(query), limit)
    assert all(-1 <= hit.score <= 1 for hit in hits)
    for hit in hits:
        np.testing.assert_array_equal(hit.descriptor, next(row.descriptor for row in rows if row.id == hit.id))


def test_search_looks_at_earlier_turns_and_earlier_segments_only(tmp_path: Path) -> None:
    rows = [make_row(number, turn=turn) for turn in (1, 2, 3) for number in range(4)]
    store = MemoryStore(tmp_path, SIZE)
    fill(store, rows)
    query = make_descriptor(99)
    for before in [(1, 0), (1, 1), (2, 0), (2, 3), (3, 4), (4, 0)]:
        earlier = [row for row in rows if (row.turn, row.segment) < before]
        hits = store.search(keys_of("holiday"), query, "noise", 5, Reach(before[0], range(before[1]), "tiny"))
        assert [hit.id for hit in hits] == brute_force(earlier, query, 5)


def test_search_compares_no_descriptors_of_another_name(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, SIZE)
    fill(store, [make_row(0), replace(make_row(1), descriptor_name="other")])
    assert found(store, make_descriptor(1)) == [make_row(0).id]


def test_search_finds_no_memories_of_another_model(tmp_path: Path) -> None:
    """Their latents are in another code, of another size perhaps."""
    store = MemoryStore(tmp_path, SIZE)
    fill(store, [make_row(0), replace(make_row(1), model="another")])
    assert found(store, make_descriptor(1)) == [make_row(0).id]
    assert found(store, make_descriptor(1), limit=1) == [make_row(0).id]
    reach = replace(ALL, model="another")
    assert [hit.segment for hit in store.rows() if reach.holds(hit)] == [1]
    assert store.search(keys_of("holiday"), make_descriptor(1), "noise", 5, replace(ALL, model="a third")) == []


@pytest.mark.parametrize("is_maintained", [False, True])
def test_sessions_of_any_name_see_only_themselves(tmp_path: Path, is_maintained: bool) -> None:
    store = MemoryStore(tmp_path, SIZE)
    fill(store, [make_row(number, session=name) for name in SESSIONS for number in range(2)])
    if is_maintained:
        store.maintain()
    for name in SESSIONS:
        own = {make_row(number, session=name).id for number in range(2)}
        assert set(found(store, make_descriptor(0), 100, name)) == own
        assert {row.id for row in store.rows(name)} == own
    for name in ("nobody", "' OR 1=1 --", "%"):
        assert found(store, make_descriptor(0), 100, name) == []
        assert store.rows(name) == []


def test_ids_are_no_predicates(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, SIZE)
    fill(store, [make_row(0)])
    hostile = "x' OR '1'='1"
    forget(tmp_path, [hostile], [hostile])
    assert len(store.rows()) == 1
    with pytest.raises(StoreError, match="missing"):
        store.latents([hostile])
    assert store._rows.count_rows(f"id = '{hostile}'") == 1  # the control: as text it matches every row


def test_two_descriptor_sizes_live_side_by_side(tmp_path: Path) -> None:
    small, large = MemoryStore(tmp_path, SIZE), MemoryStore(tmp_path, 12)
    small_row, large_row = make_row(0), make_row(1, size=12)
    fill(small, [small_row])
    fill(large, [large_row])
    assert found(small, small_row.descriptor) == [small_row.id]
    assert found(large, large_row.descriptor) == [large_row.id]
    small.maintain()
    assert_same_bits(large.latents([small_row.id])[0], 0)  # latents are shared: an id is an id


def test_forgotten_memories_are_gone(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, SIZE, cache_bytes=0)
    rows = [make_row(number) for number in range(4)]
    fill(store, rows)
    gone = [rows[1].id, rows[2].id, "never there"]
    forget(tmp_path, gone, gone)
    forget(tmp_path, [], [])
    assert [row.segment for row in store.rows()] == [0, 3]
    for reader in (store, MemoryStore(tmp_path, SIZE)):
        assert set(found(reader, make_descriptor(1))) == {rows[0].id, rows[3].id}
        with pytest.raises(StoreError, match="missing"):
            reader.latents([rows[1].id])
    fill(store, rows)
    assert_same_bits(store.latents([rows[1].id])[0], 1)


def test_missing_latents_are_named(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, SIZE)
    fill(store, [make_row(0)])
    with pytest.raises(StoreError) as caught:
        store.latents(["gone-1", make_row(0).id, "gone-2"])
    assert {"gone-1", "gone-2"} <= set(str(caught.value).replace(",", "").replace(";", "").split())
    assert make_row(0).id not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "are damaged"),
        (b"\xff" * 64, "are damaged"),
        (save({"edited": np.zeros((1, 1, 1, 1), np.float16)}), "are damaged"),
        (save(dict.fromkeys(("edited", "source"), np.zeros((1, 1, 1, 1), np.float64))), r"are float64\[1, 1, 1, 1\]"),
        (save(dict.fromkeys(("edited", "source"), np.zeros(7, np.float16))), r"are float16\[7\]"),
    ],
)
def test_foreign_latents_are_checked(payload: bytes, told: str, tmp_path: Path) -> None:
    """They come with the archives of others, whose checksums say nothing of what they are."""
    store = MemoryStore(tmp_path, SIZE)
    table = open_table(tmp_path, latents.TABLE, latents.SCHEMA)
    table.add(pa.table([[make_row(0).id], lance.blob_array([payload])], schema=latents.SCHEMA))
    with pytest.raises(StoreError, match=f"latents of memory {make_row(0).id} {told}.*delete its turn"):
        store.latents([make_row(0).id])


def test_the_cache_keeps_the_latest_used_within_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    fetch = LatentStore._fetch

    def counted(self: LatentStore, ids: Sequence[str]) -> dict[str, tuple[Latents, Latents]]:
        read.extend(ids)
        return fetch(self, ids)

    monkeypatch.setattr(LatentStore, "_fetch", counted)
    ids = [make_row(number).id for number in range(4)]
    store = MemoryStore(tmp_path, SIZE, cache_bytes=2 * sum(latents.nbytes for latents in make_latents(0)))
    fill(store, [make_row(number) for number in range(4)])
    store.latents([ids[2]])
    store.latents([ids[3]])
    assert read == [], "the last two fit"
    store.latents([ids[2]])
    store.latents([ids[0]])
    assert read == [ids[0]]
    store.latents([ids[2]])
    assert read == [ids[0]], "what was used last stays"
    for pair, number in zip(
        store.latents(ids), range(4), strict=True
    ):  # more than there is room for, some of them kept
        assert_same_bits(pair, number)
    assert read == [ids[0], ids[1], ids[3]]


@pytest.mark.parametrize("damage", ["a file", "other columns", "other types", "manifest", "empty manifest"])
def test_a_damaged_store_is_told_in_one_line_that_names_it(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "memory"
    if damage == "a file":
        folder.write_text("notes")
    elif damage == "other columns":
        lancedb.connect(str(folder)).create_table("latents", [{"id": "a", "vector": [1.0, 2.0]}])
    elif damage == "other types":
        lancedb.connect(str(folder)).create_table("latents", [{"id": "a", "data": 1}])
    else:
        fill(MemoryStore(folder, SIZE), [make_row(0)])
        for manifest in (folder / f"memories_{SIZE}.lance" / "_versions").iterdir():
            manifest.write_bytes(b"" if damage == "empty manifest" else b"not a manifest" * 40)
    with pytest.raises(StoreError) as caught:
        MemoryStore(folder, SIZE)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_threads_search_and_fetch_while_one_remembers(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, SIZE, cache_bytes=1)  # every fetch goes to disk
    rows = [make_row(number) for number in range(60)]
    fill(store, rows[:4])
    done = Event()

    def write() -> None:
        try:
            for row in rows[4:]:
                fill(store, [row])
                if row.segment % 16 == 0:
                    store.maintain()
        finally:
            done.set()

    def read(query: int) -> int:
        rounds = seen = 0
        while not done.is_set() or not rounds:
            hits = store.search(keys_of("holiday"), make_descriptor(query), "noise", 5, ALL)
            numbers = {row.id: row.segment for row in rows}
            for hit, pair in zip(hits, store.latents([hit.id for hit in hits]), strict=True):
                assert_same_bits(pair, numbers[hit.id])
            now = len(store.rows())
            assert now >= seen, "nothing that was seen disappears"
            rounds, seen = rounds + 1, now
        return rounds

    with ThreadPoolExecutor(4) as pool:
        writing, reading = pool.submit(write), [pool.submit(read, query) for query in range(3)]
        writing.result()
        assert all(future.result() for future in reading)
    assert [row.segment for row in store.rows()] == list(range(60))
    assert found(store, make_descriptor(99), 7) == brute_force(rows, make_descriptor(99), 7)


def test_maintenance_bounds_fragments_and_changes_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latents, "LATENTS_PER_FRAGMENT", 16)
    store = MemoryStore(tmp_path, SIZE)
    rows = [make_row(number) for number in range(48)]
    query = make_descriptor(99)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # LanceDB warns of indices that it cannot read
        for start in range(0, 48, 12):
            fill(store, rows[start : start + 12])
            store.maintain()
            assert fragments(tmp_path, f"memories_{SIZE}") <= 2  # those in the index, and newer ones
            assert fragments(tmp_path, "latents") <= 1 + (start + 12) / 16
            assert found(store, query, 5) == brute_force(rows[: start + 12], query, 5)
    assert found(MemoryStore(tmp_path, SIZE), query, 5) == brute_force(rows, query, 5)
    fresh = MemoryStore(tmp_path, SIZE)
    for pair, number in zip(fresh.latents([row.id for row in reversed(rows)]), range(47, -1, -1), strict=True):
        assert_same_bits(pair, number)


def test_maintenance_rewrites_each_payload_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latents, "LATENTS_PER_FRAGMENT", 8)
    store = MemoryStore(tmp_path, SIZE)
    files: list[str] = []
    for start in (0, 8, 16):
        fill(store, [make_row(number) for number in range(start, start + 8)])
        store.maintain()
        parts = lance.dataset(str(tmp_path / "latents.lance")).get_fragments()
        now = [file.path for part in parts for file in part.data_files()]
        assert now[:-1] == files, "what was merged before is left alone"
        files = now


def test_maintenance_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = MemoryStore(tmp_path, SIZE)
    for _ in range(3):
        fill(store, [make_row(number) for number in range(4)])
        store.maintain()
        found(MemoryStore(tmp_path, SIZE), make_descriptor(0))
    assert capfd.readouterr() == ("", "")


def test_an_empty_store_answers_and_can_be_maintained(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, SIZE)
    store.maintain()
    assert found(store, make_descriptor(0)) == []
    assert store.rows() == []
    compact_payloads(tmp_path, "latents", 4)
    assert fragments(tmp_path, "latents") == 0
