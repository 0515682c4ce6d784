"""The same content has the same name, other content has another, and weights are read once."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from storage import content_id
from storage.content_id import hash_file, hash_folder, hash_source, identify

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
FIELDS = st.dictionaries(st.text(), VALUES, max_size=4)
FILES = {"config.json": b"{}", "transformer/model.safetensors": b"weights" * 99, "vae/model.safetensors": b"\0"}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose content was read."""
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return hash_file(path)

    monkeypatch.setattr(content_id, "hash_file", counted)
    return read


def make_folder(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(one) for one in value] if isinstance(value, list) else value


@given(FIELDS)
def test_the_order_of_keys_does_not_matter(fields: dict[str, Any]) -> None:
    assert identify(reversed_keys(fields)) == identify(fields)
    assert identify(json.loads(json.dumps(fields))) == identify(fields)


@given(FIELDS, FIELDS)
def test_ids_are_equal_exactly_where_the_json_is(one: dict[str, Any], other: dict[str, Any]) -> None:
    is_equal = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (identify(one) == identify(other)) == is_equal


@given(FIELDS, st.text(), VALUES)
def test_one_field_more_gives_another_id(fields: dict[str, Any], name: str, value: Any) -> None:
    assume(name not in fields)
    assert identify({**fields, name: value}) != identify(fields)


def test_ids_are_of_the_canonical_text() -> None:
    text = '{"a":["ü",0.5,null],"b":{"c":1,"d":true}}'
    assert identify({"b": {"d": True, "c": 1}, "a": ["ü", 0.5, None]}) == sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        identify({"a": [number]})


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", Path("a"), object()])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        identify({"a": value})


def test_text_that_no_encoding_takes_has_an_id() -> None:
    assert identify({"name": os.fsdecode(b"film-\xff.mp4")}) != identify({"name": "film-.mp4"})


@given(st.binary(max_size=200))
def test_a_file_hashes_alike_however_it_is_cut(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "cut"
    path.write_bytes(content)
    whole = hash_file(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content_id, "CHUNK", 7)
        assert hash_file(path) == whole


def test_a_folder_hashes_alike_in_any_place_and_order(tmp_path: Path) -> None:
    here = make_folder(tmp_path / "here")
    there = make_folder(tmp_path / "far" / "away", dict(reversed(FILES.items())))
    names = {hash_folder(folder, tmp_path / f"cache-{number}") for number, folder in enumerate((here, there))}
    assert len(names | {hash_folder(there, tmp_path / "cache-0")}) == 1


@pytest.mark.parametrize(
    "other",
    [
        {**FILES, "config.json": b"[]"},
        {**FILES, "vae/model.safetensors": b"\1"},
        {**FILES, "new": b""},
        {("model.json" if name == "config.json" else name): content for name, content in FILES.items()},
        {"vae/model.safetensors": FILES["config.json"], "config.json": FILES["vae/model.safetensors"]},
    ],
)
def test_a_byte_or_a_name_changes_the_hash(tmp_path: Path, other: dict[str, bytes]) -> None:
    one = hash_folder(make_folder(tmp_path / "one"), tmp_path / "cache")
    assert hash_folder(make_folder(tmp_path / "other", other), tmp_path / "cache") != one


def test_a_change_in_place_is_noticed_in_spite_of_the_cache(tmp_path: Path) -> None:
    folder, cache = make_folder(tmp_path / "weights"), tmp_path / "cache"
    before = hash_folder(folder, cache)
    (folder / "config.json").write_bytes(b"[]")  # as long as it was
    os.utime(folder / "config.json", ns=(1, 1))
    assert hash_folder(folder, cache) != before


def test_hidden_files_do_not_count(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / ".hidden" / "weights")
    name = hash_folder(folder, tmp_path / "cache")
    make_folder(folder, {".DS_Store": b"x", ".git/config": b"x", "vae/.lock": b"x"})
    assert hash_folder(folder, tmp_path / "other-cache") == name


def test_an_unchanged_folder_is_read_once(tmp_path: Path, opened: list[Path]) -> None:
    folder, cache = make_folder(tmp_path / "weights"), tmp_path / "cache"
    first = hash_folder(folder, cache)
    assert len(opened) == len(FILES)
    assert hash_folder(folder, cache) == first
    assert len(opened) == len(FILES)
    shutil.copytree(folder, tmp_path / "copy")
    assert hash_folder(tmp_path / "copy", cache) == first
    assert len(opened) == 2 * len(FILES)


def test_threads_may_hash_one_file_at_once(tmp_path: Path) -> None:
    """As videos of a catalog do that have one mask."""
    path = tmp_path / "mask.png"
    path.write_bytes(b"mask")
    together = Barrier(8)

    def ask(number: int) -> str:
        together.wait()
        return hash_source(path, tmp_path / f"cache-{number}")

    with ThreadPoolExecutor(8) as threads:
        for number in range(20):
            assert set(threads.map(ask, [number] * 8)) == {hash_file(path)}


def test_the_cache_holds_whole_answers_only(tmp_path: Path) -> None:
    hash_folder(make_folder(tmp_path / "weights"), tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache" / "hashes").iterdir()] == [""]


def test_weights_behind_linked_folders_are_part_of_the_name(tmp_path: Path) -> None:
    folder, cache = make_folder(tmp_path / "model"), tmp_path / "cache"
    plain = hash_folder(folder, cache)
    (folder / "transformer").rename(tmp_path / "elsewhere")
    (folder / "transformer").symlink_to(tmp_path / "elsewhere")
    assert hash_folder(folder, cache) == plain
    (tmp_path / "elsewhere" / "model.safetensors").write_bytes(b"other weights")
    assert hash_folder(folder, cache) != plain


def test_folders_that_lead_back_are_gone_into_once(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    plain = hash_folder(folder, tmp_path / "cache")
    (folder / "vae" / "back").symlink_to(folder)
    (folder / "empty").symlink_to(folder / "vae" / "back")
    assert hash_folder(folder, tmp_path / "cache") == plain
