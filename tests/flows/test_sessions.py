"""Turns that build on one another, and sessions that branch and travel: always the same bits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flows.edit import EditReport, edit, understand
from flows.request import build_request
from flows.sessions import branch_session, export_to, import_from
from model.backbones.tiny import build_tiny_lucy_edit
from model.config import EditRequest
from model.errors import RequestError
from storage.ledger import Ledger
from storage.memory import MemoryRow, MemoryStore
from storage.sessions import locked, plan_removal, read_session, remove
from tests.flows.test_edit import CHEAP, CLIP, committed_ids, decode_all
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("cluster")
HELD_UP = """
import runpy
from storage.ledger import Ledger
from tests.waiting import stand_still_after
stand_still_after(Ledger, "record")
runpy.run_module("flows.cli", run_name="__main__")
"""
"""The command line, which stands still once it has committed something."""
AS_TYPED = CHEAP | {"first_guidance": CHEAP["guidance"]}  # as the command line puts it


def request(video: Path, out: Path, instruction: str, session: str | None = "film", **options: object) -> EditRequest:
    fixed = {"video": video, "instruction": instruction, "out": out, "weights": "untrained", "session": session}
    window = {name: options.pop(name) for name in ("frames", "overlap") if name in options}
    if "codec" in options:
        options["output"] = {"codec": options.pop("codec")}
    return build_request({**fixed, **options}, {"window": window, "retrieval": {}, "sampling": AS_TYPED})


def rows_of(out: Path, session: str, number: int) -> list[MemoryRow]:
    key = Ledger(out / "memory").turn(session, number).key
    return MemoryStore(out / "memory", 192).rows_of(key)


def latents_of(out: Path, session: str, number: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return MemoryStore(out / "memory", 192).latents([row.id for row in rows_of(out, session, number)])


def assert_same_turn(one: tuple[Path, str], other: tuple[Path, str], number: int) -> None:
    """Frames, latents, recalled turns and segments: all the same bits, whatever the ids."""
    for (edited, source), (edited_too, source_too) in zip(
        latents_of(*one, number), latents_of(*other, number), strict=True
    ):
        np.testing.assert_array_equal(edited, edited_too)
        np.testing.assert_array_equal(source, source_too)
    videos = [read_session(*place)[number - 1].videos[0] for place in (one, other)]
    frames = [decode_all(out / video.path) for (out, _), video in zip((one, other), videos, strict=True)]
    np.testing.assert_array_equal(*frames)


@pytest.fixture(scope="module")
def session(cluster: None, film: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EditReport]]:
    """Three turns: of the video, of turn 1, and of the latest, which is turn 2."""
    out = tmp_path_factory.mktemp("session")
    asked = [("night", 0), ("a red hat", 1), ("a green hat", "last")]
    return out, [edit(request(film, out, words, on=on)) for words, on in asked]


@pytest.fixture(scope="module")
def branched(session: tuple[Path, list[EditReport]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder with a branch after turn 2, and an archive of it."""
    out, _ = session
    branch_session(out, "film", 2, "blue")
    archive = tmp_path_factory.mktemp("archive") / "blue.zip"
    export_to(out, "blue", archive)
    return out, archive


def test_a_turn_edits_the_result_of_another_without_loss(session: tuple[Path, list[EditReport]]) -> None:
    out, _ = session
    for number in (2, 3):
        results = [edited for edited, _ in latents_of(out, "film", number - 1)]
        sources = [source for _, source in latents_of(out, "film", number)]
        for source, result in zip(sources, results, strict=True):
            np.testing.assert_array_equal(source, result)
    assert [turn.row.parent for turn in read_session(out, "film")] == [0, 1, 2]


def test_what_is_edited_is_not_recalled_as_well(session: tuple[Path, list[EditReport]]) -> None:
    out, _ = session
    for before, row in zip(rows_of(out, "film", 2), rows_of(out, "film", 3), strict=True):
        assert (before.start, before.stop) == (row.start, row.stop)
        assert before.id not in row.recalled
        assert row.recalled
    first = {row.id for row in rows_of(out, "film", 1)}
    assert first & {id for row in rows_of(out, "film", 3) for id in row.recalled}


def test_the_same_command_is_the_same_turn(film: Path, session: tuple[Path, list[EditReport]]) -> None:
    out, reports = session
    for words, on, report in (("a red hat", 1, reports[1]), ("a green hat", "last", reports[2])):
        again = edit(request(film, out, words, on=on))
        assert (again.edited, again.output) == (0, report.output)
    assert len(read_session(out, "film")) == 3


def test_a_turn_that_a_branch_kept_can_be_made_again(film: Path, tmp_path: Path) -> None:
    """Its name would else be that of the branch's, and nothing left to edit."""
    first = edit(request(film, tmp_path, "night"))
    second = edit(request(film, tmp_path, "a red hat", on=1))
    branch_session(tmp_path, "film", 2, "blue")
    remove(tmp_path, plan_removal(tmp_path, "film", 2))
    again = edit(request(film, tmp_path, "a red hat", on=1))
    assert again.edited == again.segments
    assert again.output not in (first.output, second.output)
    assert [turn.row.number for turn in read_session(tmp_path, "film")] == [1, 3]
    assert edit(request(film, tmp_path, "a red hat", on=1)).output == again.output
    assert edit(request(film, tmp_path, "a red hat", session="blue", on=1)).output == second.output


def test_a_page_does_without_memories_that_were_deleted(film: Path, tmp_path: Path) -> None:
    """Only the codec is another, so nothing is edited again."""
    edit(request(film, tmp_path, "night"))
    before = edit(request(film, tmp_path, "a red hat", codec="ffv1"))
    assert {id for row in rows_of(tmp_path, "film", 2) for id in row.recalled} & {
        row.id for row in rows_of(tmp_path, "film", 1)
    }
    remove(tmp_path, plan_removal(tmp_path, "film", 1))
    after = edit(request(film, tmp_path, "a red hat"))
    assert (after.edited, after.output != before.output) == (0, True)
    assert Path(after.review).is_file()


def test_what_is_edited_is_part_of_the_name(film: Path, session: tuple[Path, list[EditReport]]) -> None:
    out, _ = session
    works = [understand(request(film, out, "a red hat", on=on)) for on in (0, 1, 2)]
    assert len({work.fingerprint for work in works}) == 3
    assert [work.parent.number if work.parent else 0 for work in works] == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"on": 9}, "--on 9: session film in .* has turns 1, 2, 3"),
        ({"on": "last", "session": "another"}, "has no turns"),
        ({"on": 1, "session": None}, "name its session"),
        ({"on": 1, "frames": 9, "overlap": 4}, "windows of 17 frames, overlap 4, 96x64"),
        ({"on": -1}, "greater than or equal to 0"),
    ],
)
def test_a_turn_that_cannot_be_edited_is_one_clear_line(
    options: dict[str, object], told: str, film: Path, session: tuple[Path, list[EditReport]]
) -> None:
    with pytest.raises(RequestError, match=told) as caught:
        understand(request(film, session[0], "x", **options))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_turn_of_another_video_is_told(session: tuple[Path, list[EditReport]]) -> None:
    with pytest.raises(RequestError, match=r"turn 2 of session film edited film.mp4; give that video, not garden.mp4"):
        understand(request(CLIP, session[0], "x", on=2))


def test_another_model_encodes_what_the_first_one_made(
    film: Path, session: tuple[Path, list[EditReport]], tmp_path: Path
) -> None:
    out, _ = session
    other = build_tiny_lucy_edit(tmp_path / "other", seed=1)
    assert "begins with 1 turn of film;" in branch_session(out, "film", 1, "two-models").summary()
    edit(request(film, out, "a red hat", "two-models", on=1, weights=str(other)))
    from model.editor import MemoryEditor
    from storage.segment_file import read_segment

    editor = MemoryEditor.from_pretrained(other)
    before = rows_of(out, "film", 1)[0]
    frames = np.stack(list(read_segment(out / "segments" / f"{before.id}.mkv"))).astype(np.float32) / np.float32(255)
    again = editor.edit(frames, config=request(film, out, "x").edit)
    _, source = latents_of(out, "two-models", 2)[0]
    np.testing.assert_allclose(source, again.source, atol=2e-3)


def test_a_branch_goes_on_as_the_original_did(film: Path, branched: tuple[Path, Path]) -> None:
    out, _ = branched
    shared = edit(request(film, out, "a red hat", "blue", on=1))
    assert shared.edited == 0, "a turn that is shared is found"
    report = edit(request(film, out, "a green hat", "blue", on="last"))
    assert report.edited == report.segments == 3
    assert_same_turn((out, "film"), (out, "blue"), 3)
    assert {row.id for row in rows_of(out, "film", 3)}.isdisjoint(row.id for row in rows_of(out, "blue", 3))


def test_an_archive_goes_on_elsewhere_as_here(film: Path, branched: tuple[Path, Path], tmp_path: Path) -> None:
    out, archive = branched
    import_from(archive, tmp_path / "elsewhere", "theirs")
    report = edit(request(film, tmp_path / "elsewhere", "a green hat", "theirs", on="last"))
    assert report.edited == 3
    assert_same_turn((out, "film"), (tmp_path / "elsewhere", "theirs"), 3)


def test_a_turn_that_was_deleted_is_made_again_to_the_same_bits(film: Path, branched: tuple[Path, Path]) -> None:
    out, _ = branched
    branch_session(out, "film", 2, "undone")
    edit(request(film, out, "a green hat", "undone", on=2))
    before = latents_of(out, "undone", 3)
    with locked(out):
        remove(out, plan_removal(out, "undone", 3))
    edit(request(film, out, "a green hat", "undone", on=2))
    for pair, again in zip(before, latents_of(out, "undone", 3), strict=True):
        np.testing.assert_array_equal(pair, again)


def test_an_unfinished_turn_cannot_be_edited_and_goes_on_after_kill_9(
    film: Path, branched: tuple[Path, Path], joining: dict[str, str], tmp_path: Path
) -> None:
    """The command is killed once a segment of turn 3 is committed, and repeated: `last` is still turn 2."""
    out, archive = branched
    there = tmp_path / "there"
    import_from(archive, there, "film")
    before = len(committed_ids(there))
    words = ["edit", film, "--prompt", "a green hat", "--session", "film", "--on", "last", "--out", there]
    words += ["--weights", "untrained", "--steps", "2", "--guidance", "1"]
    running = subprocess.Popen([sys.executable, "-c", HELD_UP, *map(str, words)], env=joining)
    wait_for(lambda: len(committed_ids(there)) > before or running.poll() is not None)
    assert running.poll() is None
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    with pytest.raises(RequestError, match="turn 3 of session film is not finished"):
        understand(request(film, there, "something else", on="last"))
    report = edit(request(film, there, "a green hat", on="last"))
    assert report.reused == len(committed_ids(there)) - before - report.edited >= 1
    assert_same_turn((out, "film"), (there, "film"), 3)
