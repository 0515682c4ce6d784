"""The YAML of what videos have in common: what it guesses is told, and nothing in it unfolds."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import RequestError
from storage.catalog import find_faults, read_catalog
from storage.catalog.defaults import MAX_BYTES, merge, read_defaults
from tests.storage.catalog.manifests import line_of, write_file, write_lines

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]\n" for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)
FIELDS = st.dictionaries(
    st.sampled_from("abc"),
    st.integers() | st.lists(st.integers()) | st.dictionaries(st.sampled_from("xy"), st.booleans()),
)


@pytest.mark.parametrize(
    ("text", "line", "field", "said"),
    [
        ("schedule: auto\nturns:\n  - prompt: no", 3, "turns.0.prompt", "'no' would be read as true or false"),
        ("turns:\n- {prompt: 2026-01-01}", 2, "turns.0.prompt", "'2026-01-01' would be read as a date"),
        ("tags: [s2,\n 12:30:45]", 2, "tags.1", "'12:30:45' would be read as a number"),
        ("skip: off", 1, "skip", "'off' would be read as true or false"),
        ("turns: [{prompt: 42}]", 1, "turns.0.prompt", "valid string, got 42"),
        ("turns: [{prompt: ~}]", 1, "turns.0.prompt", "valid string, got None"),
        ("priority: 0x10", 1, "priority", "'0x10' would be read as a number"),
        ("priority: 017", 1, "priority", "'017' would be read as a number"),
        ("params: {guidance: 1.0e+999}", 1, "params.guidance", "would be read as a number"),
        ('"a\\nb": 1', 1, "'a\\nb'", "is no setting"),
        ("priority: 1_0", 1, "priority", "'1_0' would be read as a number"),
        ("params: {guidance: .inf}", 1, "params.guidance", "'.inf' would be read as a number"),
        ("params: {guidance: .nan}", 1, "params.guidance", "'.nan' would be read as a number"),
        (f"priority: {'9' * 5000}", 1, "priority", "would be read as a number"),
        ('tags: ["\\ud800"]', 1, "tags.0", "half of a letter"),
        ("priority: 1\nskip: true\npriority: 2", 1, "priority", "is given twice, again in line 3"),
        ("segment:\n  frames: 33\n  frames: 9", 2, "segment.frames", "is given twice, again in line 3"),
        ("segment:\n  shots: detect", 2, "segment.shots", "is no setting"),
        ("video_id: a", 1, "video_id", "is no setting"),
        ("tags: &t [a]\nturns: *t", 2, "", "alias *t; write it out"),
        (BOMB, 2, "", "alias *a"),
        ("tags: !!python/name:os.system x", 1, "tags", "would be read as"),
        ("tags: !!binary aGk=", 1, "tags", "would be read as"),
        ("? [a]\n: b", 1, "", "has a list for a name in line 1"),
        ("a: [", 1, "", "cannot be read"),
        ("a: b\n---\nc: d", 2, "", "cannot be read"),
        ("[1]", 1, "", "must be settings by name"),
        ("hello", 1, "", "must be settings by name"),
        ("tags: " + "[" * 40 + "]" * 40, 1, "", "nested too deeply"),
        ("[" * 100_000, 1, "", "nested too deeply"),
        ("a: \0", 1, "", "cannot be read"),
    ],
)
def test_a_fault_is_told_with_its_line(text: str, line: int, field: str, said: str, tmp_path: Path) -> None:
    faults = read_defaults(write_file(tmp_path, "defaults.yaml", text))[1]
    found = [fault for fault in faults if said in fault.message]
    assert found, faults
    assert found[0].field.startswith(field)
    assert found[0].line == line
    assert all(len(fault.message) < 300 and "\n" not in fault.message for fault in faults)


def test_names_stand_as_they_are_written(tmp_path: Path) -> None:
    text = "turns:\n- prompt: 'no'\n- prompt: a\n  on: last\n  seed: 7\nparams: {guidance: 2}\nskip: True\n"
    fields, faults = read_defaults(write_file(tmp_path, "defaults.yaml", text))
    assert faults == []
    assert fields["turns"] == [{"prompt": "no"}, {"prompt": "a", "on": "last", "seed": 7}]
    assert fields["skip"] is True


def test_lines_are_not_blamed_for_the_defaults(tmp_path: Path) -> None:
    defaults = write_file(tmp_path, "defaults.yaml", "turns: [{prompt: no}]\npriority: high\nschedule: auto\n")
    manifest = write_lines(tmp_path, {"video_id": "a", "uri": "a.mp4"}, line_of("b"))
    assert [(fault.file, fault.line) for fault in find_faults(manifest, defaults)] == [(defaults, 1), (defaults, 2)]
    with pytest.raises(RequestError, match=r"defaults\.yaml: line 1: turns\.0\.prompt: .*2 faults in all"):
        read_catalog(manifest, defaults)


def test_empty_defaults_say_nothing(tmp_path: Path) -> None:
    for text in ("", "# nothing yet\n", "\ufeffskip: false\n"):
        assert read_defaults(write_file(tmp_path, "defaults.yaml", text))[1] == []


@pytest.mark.parametrize(
    ("content", "said"), [(b"\xff", "is not UTF-8"), (b"#" * (MAX_BYTES + 1), "is larger than"), (None, "no such file")]
)
def test_a_file_that_cannot_be_read_is_one_error(content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "defaults.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestError, match=said):
        read_defaults(path)


@given(st.text(alphabet="ab:-[]{}&*!?|>'\"#,% \n0.1\t~<", max_size=60))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text)
    fields, faults = read_defaults(path)
    assert all(fault.file == path and fault.line >= 1 for fault in faults)
    assert faults or not set(fields) - {"turns", "skip", "tags", "priority"}


@given(FIELDS, FIELDS)
def test_a_line_wins_over_the_defaults(defaults: dict[str, object], line: dict[str, object]) -> None:
    merged = merge(defaults, line)
    assert merged.keys() == defaults.keys() | line.keys()
    assert merge(merged, line) == merged
    assert merge({}, line) == merge(line, {}) == line
    for name, value in line.items():
        below = defaults.get(name)
        both = isinstance(below, dict) and isinstance(value, dict)
        assert merged[name] == ({**below, **value} if both else value)  # type: ignore[dict-item]
