"""Hostile texts are refused in one line; honest ones say what they say."""

import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from model.errors import RequestError
from storage.foreign_text import TextError, parse_json, parse_yaml, read_text


def laughs(levels: int = 9) -> str:
    """Three hundred bytes that stand for a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        names = ", ".join(10 * [f"*a{level - 1}"])
        lines.append(f"a{level}: &a{level} [{names}]")
    return "\n".join(lines)


def test_pipes_folders_and_large_files_are_no_texts(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "large.json").write_text("[" + 100 * " ")
    (tmp_path / "latin.json").write_bytes(b"caf\xe9")
    (tmp_path / "marked.json").write_text("\ufeff[]")
    for name, told in (
        ("pipe.json", "is no regular file"),
        (".", "is no regular file"),
        ("absent.json", "no such file"),
        ("large.json", "is larger than 100 bytes; split it"),
        ("latin.json", "UnicodeDecodeError"),
    ):
        with pytest.raises(RequestError, match=told):
            read_text(tmp_path / name, 100)
    assert read_text(tmp_path / "large.json", 101) == "[" + 100 * " "
    assert read_text(tmp_path / "marked.json") == "[]", "some editors mark UTF-8"


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "not JSON: "), (100_000 * "[", "nested too deeply"), ("1" * 5000, "digits"), ("[1]x", "Extra data")],
)
def test_what_is_no_json_is_one_line(text: str, told: str) -> None:
    with pytest.raises(TextError, match=told) as fault:
        parse_json(text)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1", "not YAML"),
        (5_000 * "[", "nested too deeply"),
        ("a: &a [*a]", "in itself"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: *nowhere", "undefined alias"),
        (laughs(), "more than 1,000,000 values"),
        ("a: \x00", "not YAML"),
    ],
)
def test_what_is_no_plain_yaml_is_one_line(text: str, told: str) -> None:
    started = time.monotonic()
    with pytest.raises(TextError, match=told) as fault:
        parse_yaml(text)
    assert "\n" not in str(fault.value)
    assert time.monotonic() - started < 10


def test_without_the_count_the_laughs_would_be_loaded() -> None:
    """The control: PyYAML takes them in an instant, and whoever walks them never ends."""
    assert len(laughs()) < 1000
    assert yaml.safe_load(laughs())["a8"][0][0][0][0][0][0][0][0][0] == "x"


def test_honest_repetitions_are_fine() -> None:
    fields, tree = parse_yaml("world: &w {size: 32}\nother: *w\n")
    assert fields == {"world": {"size": 32}, "other": {"size": 32}}
    assert isinstance(tree, yaml.MappingNode)
    assert parse_yaml("") == (None, None)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_json, parse_yaml):
        refused = ""
        try:
            parse(text)
        except TextError as fault:
            refused = str(fault)
        assert len(refused.splitlines()) <= 1, "a refusal is one line"
