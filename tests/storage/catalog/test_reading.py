"""Manifests: what is right is read, and everything that is wrong is told, with its line and field, in one pass."""

import json
import os
import re
import subprocess
import sys
import tracemalloc
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import CatalogVideo
from model.errors import RequestError
from storage.address import ObjectAddress
from storage.catalog import find_faults, output_folder, read_catalog, reading
from tests.storage.catalog.manifests import TURNS, faults_of, line_of, told, write_file, write_lines

ROOT = Path(__file__).parents[3]
WORDS = st.sampled_from(
    ["video_id", "uri", "turns", "prompt", "on", "segment", "output", "sha256", "memory_scope", "x"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.just("a.mp4")
    | st.just("../../x")
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12
)


def test_a_manifest_is_read_over_its_defaults(tmp_path: Path) -> None:
    defaults = write_file(
        tmp_path,
        "defaults.yaml",
        "turns: [{prompt: make it snow, seed: 3}, {prompt: add fog, on: last}]\n"
        "segment: {frames: 33, overlap: 4}\nparams: {steps: 8}\ndeliver: {codec: prores}\npriority: 2\n",
    )
    manifest = write_lines(
        tmp_path,
        {"video_id": "one", "uri": "a.mp4", "segment": {"overlap": 8}, "tags": ["s2"]},
        "",
        {"video_id": "two", "uri": "s3://films/two.mov", "turns": TURNS, "priority": 0, "deliver": {"tone_map": True}},
    )
    catalog = read_catalog(manifest, defaults)
    one, two = catalog.videos
    assert [turn.prompt for turn in one.turns] == ["make it snow", "add fog"]
    assert (one.segment.frames, one.segment.overlap, one.params.steps, one.priority) == (33, 8, 8, 2)
    assert (two.turns[0].prompt, len(two.turns), two.priority) == ("make the jacket red", 1, 0)
    assert (two.deliver.codec, two.deliver.tone_map, two.segment.overlap) == ("prores", True, 4)
    assert catalog.folder == tmp_path
    assert catalog.source_of(one) == tmp_path / "a.mp4"
    assert catalog.source_of(two) == ObjectAddress("films", "two.mov")


def test_everything_is_told_at_once(tmp_path: Path) -> None:
    found = faults_of(
        tmp_path,
        line_of("a"),
        line_of("A", seed=1, turns=[{"prompt": "", "on": 4}], output="../x"),
        line_of("b", uri="absent.mp4", priority=1.0),
        '{"video_id": "c"',
        line_of("d", turns=[{"prompt": "x", "on": 5}], tags=[1], uri="http://u:p@h/x"),
    )
    assert [(line, field) for line, field, _ in found] == [
        (2, "turns.0.prompt"),
        (2, "seed"),
        (2, "video_id"),
        (2, "output"),
        (3, "priority"),
        (3, "uri"),
        (4, ""),
        (5, "tags.0"),
        (5, "turns"),
        (5, "uri"),
    ]
    with pytest.raises(RequestError) as raised:
        read_catalog(tmp_path / "manifest.jsonl")
    assert str(raised.value).startswith(f"{tmp_path / 'manifest.jsonl'}: line 2: turns.0.prompt: ")
    said = "(9 faults in all; `memory-v2v catalog validate` shows each)"
    assert said in str(raised.value), "that a file is absent is the affair of its video"


LONG = "9" * 5000


@pytest.mark.parametrize(
    ("line", "field", "said"),
    [
        ("{", "", "not JSON"),
        ("[]", "", "must be an object in braces, got []"),
        ("3", "", "must be an object in braces, got 3"),
        ("[" * 100_000, "", "nested too deeply"),
        ('{"video_id": ' + "[" * 30 + "]" * 30 + "}", "video_id", "nested too deeply"),
        ('{"video_id": "x", "video_id": "a"}', "video_id", "is given twice"),
        ('{"segment": {"frames": 5, "frames": 9}}', "segment.frames", "is given twice"),
        ('{"priority": NaN}', "priority", "'NaN' is no number"),
        ('{"params": {"guidance": -Infinity}}', "params.guidance", "'-Infinity' is no number"),
        ('{"params": {"guidance": 1e999}}', "params.guidance", "'1e999' is no number"),
        (f'{{"priority": {LONG}}}', "priority", "is a number of 5,000 digits"),
        ('{"tags": ["\\ud800"]}', "tags.0", "half of a letter"),
        ('{"\\udfff": 1}', "'\\udfff'", "half of a letter"),
        (f'{{"video_id": "{"x" * 2**20}"}}', "", "is longer than 1,048,576 bytes"),
        ('{"tags": ["\ud800"]}', "", "is not UTF-8"),
        (json.dumps(line_of("a", tags="s2")), "tags", "valid array, got 's2'"),
        (json.dumps(line_of("a", priority="5")), "priority", "valid integer, got '5'"),
        (json.dumps(line_of("a", priority=True)), "priority", "valid integer, got True"),
        (json.dumps(line_of("a", skip="no")), "skip", "valid boolean, got 'no'"),
        (json.dumps(line_of("a", skip=0)), "skip", "valid boolean, got 0"),
        (json.dumps(line_of("a", segment={"frames": 4})), "segment.frames", "greater than or equal to 5, got 4"),
        (json.dumps(line_of("a", segment={"shots": 4})), "segment.shots", "is no setting"),
        (json.dumps(line_of("a", endpoint="http://x")), "endpoint", "is no setting"),
        (json.dumps({**line_of("a"), "a\nline 9: b": 4}), "'a\\nline 9: b'", "is no setting"),
        (json.dumps({**line_of("a"), "x" * 5000: 4}), repr("x" * 5000)[:80] + "...", "is no setting"),
        (json.dumps({**line_of("a"), "": 4}), "''", "is no setting"),
        (json.dumps(line_of("../a")), "video_id", "should match pattern"),
        (json.dumps(line_of("a" * 129)), "video_id", "should match pattern"),
        (json.dumps(line_of("a\n")), "video_id", "should match pattern"),
        (json.dumps(line_of("a", sha256="A" * 64)), "sha256", "should match pattern"),
        (json.dumps(line_of("a", memory_scope="group:../x")), "memory_scope", "should match pattern"),
        (json.dumps(line_of("a", schedule="anchors:0")), "schedule", "should match pattern"),
        (json.dumps(line_of("a", deliver={"region": {"mask": "a\0b"}})), "deliver.region.mask", "cannot be looked at"),
        (json.dumps(line_of("a", turns=[])), "turns", "has no turns"),
        (json.dumps(line_of("a", turns=[{"prompt": "x", "on": 1}])), "turns", "does not come before it"),
        (json.dumps(line_of("a", turns=[{"prompt": "x", "on": "first"}])), "turns.0.on", "'last', got 'first'"),
        ('{"uri": "a.mp4", "turns": [{"prompt": "x"}]}', "video_id", "is missing"),
    ],
)
def test_a_bad_line_is_told(line: str, field: str, said: str, tmp_path: Path) -> None:
    manifest = write_lines(tmp_path, line_of("first"), line)
    found = told(find_faults(manifest))
    assert [each for each in found if each[:2] == (2, field) and said in each[2]], found
    assert all(
        number == 2 and "\n" not in name + message and len(name + message) < 400 for number, name, message in found
    )


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://h/a.mp4", "scheme 'http' is not accepted"),
        ("concat:a.mp4", "scheme 'concat' is not accepted"),
        ("gs://films/a.mp4", "scheme 'gs' is not accepted"),
        ("C:\\a.mp4", "scheme 'C' is not accepted"),
        ("simplecache::s3://films/a.mp4", "chains addresses"),
        ("s3://me:secret@films/a.mp4", "carries a login"),
        ("s3://films/a.mp4?X-Amz-Signature=abc", "carries parameters"),
        ("s3://films/../a.mp4", "its key"),
        ("s3://films", "its key"),
        ("s3://Films_/a.mp4", "is no name of a bucket"),
        ("s3:films/a.mp4", "lacks '//'"),
        ("file://host/a.mp4", "names a server"),
        ("file:///a.mp4?x=1", "carries parameters"),
        ("file:///a%00.mp4", "has control characters"),
        ("-i.mp4", "looks like an option"),
        ("a\n.mp4", "has control characters"),
        ("absent.mp4", "does not exist"),
        ("folder", "is a folder"),
        ("pipe", "is no regular file"),
        ("empty.mp4", "is empty"),
        ("a.mp4/b.mp4", "cannot be looked at (Not a directory)"),
        ("x" * 4000, "cannot be looked at (File name too long)"),
    ],
)
def test_an_address_that_is_no_video_is_told(uri: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe")
    ((line, field, message),) = faults_of(tmp_path, line_of("a", uri=uri))
    assert (line, field) == (1, "uri")
    assert said in message
    assert "secret" not in message
    assert "abc" not in message


@pytest.mark.parametrize("uri", ["a.mp4", "./a.mp4", "sub/../a.mp4", "{folder}/a.mp4", "file://{folder}/a%2Emp4"])
def test_addresses_of_files(uri: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    catalog = read_catalog(write_lines(tmp_path, line_of("a", uri=uri.format(folder=tmp_path))))
    source = catalog.source_of(catalog.videos[0])
    assert isinstance(source, Path)
    assert source.read_bytes() == b"film"


def test_a_video_that_is_skipped_may_be_missing(tmp_path: Path) -> None:
    assert faults_of(tmp_path, line_of("a", uri="absent.mp4", skip=True)) == []


def test_sums_are_checked_when_asked(tmp_path: Path) -> None:
    right = sha256(b"film").hexdigest()
    manifest = write_lines(tmp_path, line_of("a", sha256=right), line_of("b", sha256="0" * 64))
    assert find_faults(manifest) == []
    (fault,) = find_faults(manifest, check_sha=True)
    assert (fault.line, fault.field) == (2, "sha256")
    assert right in fault.message


@pytest.mark.parametrize(
    "output",
    [
        *(
            "..",
            "../x",
            "x/../../y",
            "/etc",
            "~/../..",
            "./x",
            "x//y",
            "-x",
            ".catalog",
            "x/.y",
            "a\\b",
            "a\0b",
            "a\nb",
        ),
        *("file:///x", "ftp://x/y", "s3://films", "s3://films/../x", "s3://u@films/x", "x" * 256, "/".join("x" * 999)),
    ],
)
def test_an_output_that_leads_out_is_told(output: str, tmp_path: Path) -> None:
    ((line, field, message),) = faults_of(tmp_path, line_of("a", output=output))
    assert (line, field) == (1, "output")
    if output in ("..", "../x", "./x"):
        assert "may lead out of the catalog's folder" in message
    if output == "/etc":
        assert "is absolute" in message


@pytest.mark.parametrize(
    ("lines", "field", "said"),
    [
        ((line_of("ep1"), line_of("EP1")), "video_id", "'EP1' is also the video of line 1"),
        ((line_of("a", output="x"), line_of("b", output="X/")), "output", "also holds the results of line 1"),
        ((line_of("a", output="\u00e9"), line_of("b", output="E\u0301")), "output", "holds the results of line 1"),
        ((line_of("a", output="b"), line_of("b")), "output", "'b' also holds the results of line 1"),
        ((line_of("a"), line_of("b", output="a/segments")), "output", "lies inside the results of line 1"),
        ((line_of("a", output="x/y/z"), line_of("b", output="x")), "output", "lies around the results of line 1"),
        ((line_of("a", output="s3://films/x"), line_of("b", output="s3://films/x/")), "output", "results of line 1"),
        ((line_of("a", output="s3://films/x"), line_of("b", output="a")), "output", "results of line 1"),
        ((line_of("a", memory_scope="group:G"), line_of("b", memory_scope="group:g")), "memory_scope", "is spelt 'G'"),
        ((line_of("a", memory_scope="group:b"), line_of("b")), "video_id", "is also the group 'b' of line 1"),
        ((line_of("b"), line_of("a", memory_scope="group:B")), "memory_scope", "is also the video of line 1"),
        ((line_of("b"), line_of("a", memory_scope="group:g", output="x")), "output", "have one folder, 'g'"),
        ((line_of("b", output="g/x"), line_of("a", memory_scope="group:g")), "output", "lies around the results"),
    ],
)
def test_two_videos_share_nothing(lines: tuple[dict[str, Any], ...], field: str, said: str, tmp_path: Path) -> None:
    ((line, found, message),) = faults_of(tmp_path, *lines)
    assert (line, found) == (2, field)
    assert said in message


def test_what_videos_may_share(tmp_path: Path) -> None:
    lines = [line_of("a", memory_scope="group:a"), line_of("b", memory_scope="group:a"), line_of("c", output="x/y")]
    lines += [line_of("d", output="x/z"), line_of("e", output="s3://films/X"), line_of("f", output="s3://films/x")]
    assert faults_of(tmp_path, *lines) == []


def test_links_on_the_way_to_results_are_told(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "linked").symlink_to(elsewhere)
    (out / "file").touch()
    manifest = write_lines(tmp_path, line_of("a", output="linked/a"), line_of("file"), line_of("b"))
    found = find_faults(manifest, out=out)
    assert [(fault.line, fault.field) for fault in found] == [(1, "output"), (2, "output")]
    with pytest.raises(RequestError, match="is a link"):
        output_folder(out, CatalogVideo.model_validate(line_of("a", output="linked/a")))
    assert output_folder(out, CatalogVideo.model_validate(line_of("b", output="s3://films/b"))) == out / "b"


def test_a_manifest_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    for name, said in {
        "absent.jsonl": "no such file",
        "pipe.jsonl": "is no regular file",
        "folder.jsonl": "is a folder",
        "manifest.yaml": "expected a manifest named",
    }.items():
        with pytest.raises(RequestError, match=said):
            read_catalog(tmp_path / name)
        with pytest.raises(RequestError, match=said):
            find_faults(tmp_path / name)


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv"])
def test_an_empty_manifest_names_no_video(name: str, tmp_path: Path) -> None:
    ((line, _, message),) = told(
        find_faults(write_file(tmp_path, name, "\n\n" if name == "m.jsonl" else "uri,video_id"))
    )
    assert (line, message) == (1, "names no video")


def test_the_number_of_videos_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_VIDEOS", 3)
    found = faults_of(tmp_path, *(line_of(f"v{number}") for number in range(9)))
    assert found == [(4, "", "more than 3 videos; make it several catalogs")]


def test_the_number_of_faults_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"x{number}": 1 for number in range(70)}
    found = faults_of(tmp_path, line_of("a", **many))
    assert [said for _, _, said in found[49:]] == ["is no setting; check its spelling", "has 20 more faults"]
    monkeypatch.setattr(reading, "MAX_FAULTS", 60)
    found = faults_of(tmp_path, *(line_of(f"v{number}", **many) for number in range(9)))
    assert len(found) == 2 * 51 + 1
    assert found[-1] == (3, "", "more than 60 faults; the rest was not looked at")


def test_a_mark_and_windows_ends_of_lines_do_no_harm(tmp_path: Path) -> None:
    manifest = write_lines(tmp_path, line_of("a"), line_of("b"))
    manifest.write_bytes(b"\xef\xbb\xbf" + manifest.read_bytes().replace(b"\n", b"\r\n"))
    assert [video.video_id for video in read_catalog(manifest).videos] == ["a", "b"]


LONG_CATALOG = """
import time
from pathlib import Path
from storage.catalog import find_faults
for videos in (2000, 20000):
    began = time.process_time()
    faults = find_faults(Path(f"{videos}.jsonl"))
    print(time.process_time() - began, *(fault.line - videos for fault in faults), *(fault.field for fault in faults))
"""


def test_a_long_catalog_takes_time_by_its_length(tmp_path: Path) -> None:
    for videos in (2000, 20000):
        lines = [line_of(f"v{number}", output=f"season/{number}") for number in range(videos)]
        write_lines(tmp_path, *lines, line_of("V0", output="SEASON/1")).rename(tmp_path / f"{videos}.jsonl")
    command = [sys.executable, "-c", LONG_CATALOG]  # without the checks of types that slow all calls down in tests
    run = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    short, long = (line.split() for line in run.stdout.decode().splitlines())
    assert short[1:] == long[1:] == ["1", "1", "video_id", "output"]
    assert float(long[0]) < 30 * float(short[0])


def test_lines_are_not_kept(tmp_path: Path) -> None:
    long = [{"prompt": "x" * 4000}] * 20
    manifest = write_lines(tmp_path, *(line_of(f"v{number}", turns=long) for number in range(60)))
    find_faults(manifest)
    tracemalloc.start()
    find_faults(manifest)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert manifest.stat().st_size > 4_000_000
    assert peak < 2_000_000


@given(st.lists(st.text() | VALUES.map(json.dumps), max_size=4))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    manifest = write_file(folder, "m.jsonl", "\n".join(lines))
    before = sorted(folder.rglob("*"))
    faults = find_faults(manifest, out=folder)
    if faults:
        with pytest.raises(RequestError, match=f"{re.escape(str(manifest))}: line {faults[0].line}: "):
            read_catalog(manifest, out=folder)
    else:
        videos = read_catalog(manifest, out=folder).videos
        assert all(output_folder(folder, video).is_relative_to(folder) for video in videos)
    assert sorted(folder.rglob("*")) == before


@given(st.text(alphabet=st.sampled_from("ab./\\-~:%s3é\u0301 "), min_size=1, max_size=12))
def test_every_output_that_is_accepted_lies_inside(tmp_path_factory: pytest.TempPathFactory, output: str) -> None:
    root = tmp_path_factory.getbasetemp() / "root"
    video = CatalogVideo.model_validate(line_of("a", output=output))
    try:
        folder = output_folder(root, video)
    except RequestError:
        return
    assert Path(os.path.normpath(folder)) == folder
    assert folder != root.absolute()
    assert folder.resolve().is_relative_to(root.resolve())


@given(st.dictionaries(WORDS, VALUES, max_size=5))
def test_a_line_is_read_exactly_where_it_has_no_fault(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[str, Any]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "one"
    folder.mkdir(exist_ok=True)
    manifest = write_lines(folder, {**line_of("a"), **fields})
    try:
        assert len(read_catalog(manifest).videos) == 1
        assert find_faults(manifest) == []
    except RequestError:
        assert find_faults(manifest) != []
