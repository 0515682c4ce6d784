"""Novel views, turn after turn, on the real model at toy size: what is remembered, resumed, chained, and shared."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import pytest

from flows.cameras import plot_cameras, turns_of
from flows.novel_views import TurnReport, ViewsReport, view
from flows.request import build_view_request
from flows.sessions import branch_session, export_to, import_from, show_session
from model.camera.multicam import write_cameras
from model.camera.presets import PRESETS, preset
from model.config import ViewRequest
from model.errors import RequestError
from storage.ledger import Ledger
from storage.probe import probe
from storage.store_lock import StoreLock
from storage.views import ViewStore
from tests.clips import SHORT_GOPS, chart, run_ffmpeg, sound_packets, tone
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("cluster")
SMALL = {"frames": 9, "overlap": 4, "height": 32, "width": 48}
OPTIONS = ["--frames", "9", "--overlap", "4", "--size", "48x32", "--steps", "1", "--guidance", "1"]


def make_video(path: Path, frames: int) -> Path:
    """A moving chart with sound: one segment if it has 9 frames, two if it has 14."""
    run_ffmpeg(*chart("96x64", frames=frames), *tone(frames / 25), *SHORT_GOPS, "-c:a", "aac", path)
    return path


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("short") / "short.mp4", 9)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("long") / "long.mp4", 14)


def request(video: Path, out: Path, *cameras: str, top_k: int = 5, **options: object) -> ViewRequest:
    fixed = {"video": video, "cameras": cameras, "out": out, "weights": "untrained", **options}
    sampling = {"steps": 1, "guidance": 1.0}
    return build_view_request(fixed, {"window": SMALL, "retrieval": {"top_k": top_k}, "sampling": sampling})


def decode_all(path: str) -> np.ndarray:
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def recalled(turn: TurnReport) -> set[tuple[int, int, int]]:
    """(segment that recalled, turn recalled, its segment)."""
    return {(one.by, one.turn, one.segment) for one in turn.recalled}


@pytest.fixture(scope="module")
def two_turns(cluster: None, long: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ViewsReport]:
    out = tmp_path_factory.mktemp("turns")
    return out, view(request(long, out, "pan-left", "arc-right"))


@pytest.fixture(scope="module")
def alone(cluster: None, long: Path, tmp_path_factory: pytest.TempPathFactory) -> ViewsReport:
    """The same turns, none of which recalls anything."""
    return view(request(long, tmp_path_factory.mktemp("alone"), "pan-left", "arc-right", recall="none"))


def test_a_turn_a_camera(two_turns: tuple[Path, ViewsReport], long: Path) -> None:
    out, report = two_turns
    assert [(turn.number, turn.camera) for turn in report.turns] == [(1, "pan-left"), (2, "arc-right")]
    for turn, name in zip(report.turns, ("long_turn01_pan-left_v001", "long_turn02_arc-right_v001"), strict=True):
        assert (turn.segments, turn.reused) == (2, 0)
        assert Path(turn.output) == out / f"{name}.mp4"
        before, after = probe(long), probe(Path(turn.output))
        assert after.pts == before.pts
        assert sound_packets(Path(turn.output)) == sound_packets(long)
    assert not np.array_equal(*(decode_all(turn.output) for turn in report.turns))


def test_a_segment_recalls_earlier_turns_and_earlier_segments(two_turns: tuple[Path, ViewsReport]) -> None:
    first, second = two_turns[1].turns
    assert recalled(first) == {(1, 1, 0)}
    assert recalled(second) == {(0, 1, 0), (0, 1, 1), (1, 1, 0), (1, 1, 1), (1, 2, 0)}
    assert {one.reason for one in second.recalled} == {"view"}
    assert all(0 < one.score <= 1 for one in second.recalled)


def test_turns_are_told_of_in_their_session(two_turns: tuple[Path, ViewsReport]) -> None:
    out, report = two_turns
    shown = show_session(out, report.session).fields()["turns"]
    assert [(turn["kind"], turn["asked"], turn["parent"]) for turn in shown] == [
        ("view", "pan-left", 0),
        ("view", "arc-right", 0),
    ]
    told = {
        (segment["segment"], one["turn"], one["segment"])
        for segment in shown[1]["segments"]
        for one in segment["recalled"]
    }
    assert told == recalled(report.turns[1])


def test_a_new_camera_is_drawn_beside_the_views_that_are_there(
    two_turns: tuple[Path, ViewsReport], tmp_path: Path
) -> None:
    out, report = two_turns
    drawn = plot_cameras(["pan-left"], 14, None, None, tmp_path / "cameras.html", turns_of(out, report.session))
    assert [camera.name for camera in drawn.cameras] == ["turn 1: pan-left", "turn 2: arc-right", "pan-left"]
    assert drawn.overlap[2][0] == 1 > drawn.overlap[2][1]


def test_a_session_goes_on_where_it_was_carried(
    cluster: None, two_turns: tuple[Path, ViewsReport], long: Path, tmp_path: Path
) -> None:
    """And on a branch: turns that are shared are found, and the next one comes out the same."""
    out, report = two_turns
    export_to(out, report.session, tmp_path / "session.zip")
    import_from(tmp_path / "session.zip", tmp_path / "there", "carried")
    branch_session(tmp_path / "there", "carried", 1, "branch")
    cameras = ("pan-left", "arc-right")
    carried, branch = (
        view(request(long, tmp_path / "there", *cameras, session=name)) for name in ("carried", "branch")
    )
    assert [turn.reused for turn in carried.turns] == [2, 2]
    assert [turn.reused for turn in branch.turns] == [2, 0]
    for first, *others in zip(report.turns, carried.turns, branch.turns, strict=True):
        assert all(recalled(other) == recalled(first) for other in others)
        assert all(np.array_equal(decode_all(other.output), decode_all(first.output)) for other in others)


def test_each_segment_keeps_its_part_of_the_path(two_turns: tuple[Path, ViewsReport]) -> None:
    rows = [row for row in ViewStore(two_turns[0] / "memory").rows() if row.turn == 2]
    whole = preset("arc-right", 14).poses[:, :3]
    for row in rows:
        np.testing.assert_allclose(row.trajectory, whole[row.start : row.stop], atol=1e-9)


def test_the_page_shows_path_and_recalls(two_turns: tuple[Path, ViewsReport]) -> None:
    page = Path(two_turns[1].turns[1].review).read_text()
    assert "data:image/svg+xml;base64," in page
    assert "turn 1, frame 0" in page
    assert re.search(r"recalled as view, score 0\.\d{3}", page)


def test_memory_changes_what_is_seen(two_turns: tuple[Path, ViewsReport], alone: ViewsReport) -> None:
    assert [turn.recalled for turn in alone.turns] == [(), ()]
    with_memory, without = (report.turns[1].output for report in (two_turns[1], alone))
    assert not np.array_equal(decode_all(with_memory), decode_all(without))


def test_repeating_makes_nothing_and_one_more_camera_one_turn(
    two_turns: tuple[Path, ViewsReport], long: Path, tmp_path: Path
) -> None:
    out = tmp_path / "moved"  # the store, and the video, on another machine
    shutil.copytree(two_turns[0], out)
    video = Path(shutil.copy(long, tmp_path / "renamed.mp4"))
    again = view(request(video, out, "pan-left", "arc-right"))
    assert [(turn.number, turn.reused) for turn in again.turns] == [(1, 2), (2, 2)]
    assert {Path(turn.output).parent for turn in again.turns} == {out}
    more = view(request(video, out, "tilt-up", "pan-left", top_k=5))
    assert [(turn.number, turn.reused) for turn in more.turns] == [(3, 0), (1, 2)]
    assert {(turn, segment) for _, turn, segment in recalled(more.turns[0])} == {
        *((turn, segment) for turn in (1, 2) for segment in (0, 1)),
        (3, 0),
    }
    assert more.session == again.session == two_turns[1].session


def test_a_store_is_gone_back_to_from_another_folder(
    two_turns: tuple[Path, ViewsReport], long: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(two_turns[0], tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    shutil.copy(long, "here.mp4")
    turn = view(request(Path("here.mp4"), Path("store"), "zoom-in")).turns[0]
    assert turn.number == 3
    assert {earlier for _, earlier, _ in recalled(turn)} == {1, 2, 3}
    rows = ViewStore(tmp_path / "store" / "memory").rows()
    paths = [entry.path for entry in Ledger(tmp_path / "store" / "memory").entries()]
    assert all(not Path(path).is_absolute() for path in paths)
    assert str(two_turns[0]) not in str(rows)


def test_a_file_of_poses_is_a_camera(cluster: None, short: Path, tmp_path: Path) -> None:
    write_cameras(tmp_path / "path.json", {"cam01": preset("pan-left", 5)})
    turn = view(request(short, tmp_path / "out", str(tmp_path / "path.json"))).turns[0]
    assert Path(turn.output).name == "short_turn01_path_v001.mp4"


def test_every_turn_costs_the_same(cluster: None, short: Path, tmp_path: Path) -> None:
    """Ten turns: as many memories for the last as for the fourth, and each turn recalls only those before."""
    report = view(request(short, tmp_path, *PRESETS, top_k=3))
    assert [turn.number for turn in report.turns] == list(range(1, 11))
    assert [len(turn.recalled) for turn in report.turns] == [0, 1, 2, *[3] * 7]
    for turn in report.turns:
        assert all(one.turn < turn.number for one in turn.recalled)
    scores = [one.score for one in report.turns[-1].recalled]
    assert scores == sorted(scores, reverse=True)


def test_several_editors_see_a_turn_by_a_schedule(cluster: None, long: Path, tmp_path: Path) -> None:
    """The second segment is the anchor, which the first one then recalls."""
    (turn,) = view(request(long, tmp_path, "pan-left", schedule="anchors:1", editors=2)).turns
    assert recalled(turn) == {(0, 1, 1)}


def test_baselines_recall_what_they_say(cluster: None, short: Path, tmp_path: Path) -> None:
    cameras = ("pan-left", "pan-right", "tilt-up", "pan-left")
    recent = view(request(short, tmp_path, *cameras[:3], recall="recency", top_k=1))
    assert [[(one.turn, one.reason) for one in turn.recalled] for turn in recent.turns] == [
        [],
        [(1, "recent")],
        [(2, "recent")],
    ]
    drawn = view(request(short, tmp_path, *cameras[:3], recall="random", top_k=1))
    assert [[one.reason for one in turn.recalled] for turn in drawn.turns] == [[], ["random"], ["random"]]
    assert drawn.session != recent.session, "other settings are another session unless one is named"


def test_in_a_chain_each_turn_renders_the_one_before(alone: ViewsReport, long: Path, tmp_path: Path) -> None:
    chained = request(long, tmp_path, "pan-left", "arc-right", "pan-left", recall="none", chain=True)
    report = view(chained)
    assert [turn.number for turn in report.turns] == [1, 2, 3], "the third is no repetition: its source is another"
    assert len({decode_all(turn.output).tobytes() for turn in report.turns}) == 3
    assert np.array_equal(decode_all(alone.turns[0].output), decode_all(report.turns[0].output))
    assert not np.array_equal(decode_all(alone.turns[1].output), decode_all(report.turns[1].output))
    assert [turn.reused for turn in view(chained).turns] == [2, 2, 2]


def test_a_lost_segment_is_made_again_to_the_same_bits(
    two_turns: tuple[Path, ViewsReport], long: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(two_turns[0], tmp_path / "out")
    finished = out / Path(two_turns[1].turns[1].output).name
    frames = decode_all(str(finished))
    entries = Ledger(out / "memory").entries(kind="segment")
    lost = out / next(entry.path for entry in entries if (entry.turn, entry.segment) == (2, 0))
    content = lost.read_bytes()
    lost.unlink()
    finished.unlink()
    again = view(request(long, out, "pan-left", "arc-right"))
    assert [one.reused for one in again.turns] == [2, 1]
    assert lost.read_bytes() == content
    assert np.array_equal(decode_all(again.turns[1].output), frames)


def test_no_camera_is_told(short: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no camera is given"):
        request(short, tmp_path)


def launch(
    video: Path, out: Path, log: Path, *cameras: str, env: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "flows.cli", "view", str(video), "--weights", "untrained"]
    named = [word for camera in cameras for word in ("--camera", camera)]
    with log.open("wb") as file:
        return subprocess.Popen(
            [*command, *named, *OPTIONS, "--out", str(out), "--json"], stdout=file, stderr=subprocess.STDOUT, env=env
        )


def committed_ids(out: Path) -> set[str]:
    if not (out / "memory" / "ledger.lance" / "_versions").is_dir():
        return set()
    return {entry.id for entry in Ledger(out / "memory").entries(kind="segment")}


def told(log: Path) -> list[dict]:
    return json.loads(log.read_text().splitlines()[-1])["turns"]


@pytest.mark.slow
def test_killed_in_either_turn_it_ends_in_the_same_bits(
    two_turns: tuple[Path, ViewsReport], joining: dict[str, str], long: Path, tmp_path: Path
) -> None:
    """kill -9 once 1 and 3 of 4 segments are committed: same turns, same frames, nothing made twice.

    On a cluster that goes on running; what a run that started its own leaves behind is asked in test_edit.
    """
    out, log, cameras = tmp_path / "out", tmp_path / "log", ("pan-left", "arc-right")
    kept: set[str] = set()
    for segments in (1, 3):
        run = launch(long, out, log, *cameras, env=joining)
        wait_for(lambda run=run, segments=segments: len(committed_ids(out)) >= segments or run.poll() is not None)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        assert kept < committed_ids(out), "what was committed stays"
        kept = committed_ids(out)
    last = launch(long, out, log, *cameras, env=joining)
    assert last.wait(timeout=400) == 0, log.read_text()
    assert sum(turn["reused"] for turn in told(log)) == len(kept) >= 3
    assert len(committed_ids(out)) == 4
    for turn, other in zip(told(log), two_turns[1].turns, strict=True):
        assert (turn["number"], turn["camera"]) == (other.number, other.camera)
        assert np.array_equal(decode_all(turn["output"]), decode_all(other.output))


def test_two_processes_add_to_one_session(joining: dict[str, str], short: Path, tmp_path: Path) -> None:
    """Both wait for the folder, and say so: then all turns are there, none twice, those of a process in a row."""
    out, logs = tmp_path / "out", [tmp_path / "log0", tmp_path / "log1"]
    out.mkdir()
    with StoreLock(out):
        runs = [
            launch(short, out, logs[0], "pan-left", "tilt-up", env=joining),
            launch(short, out, logs[1], "pan-right", "tilt-up", env=joining),
        ]
        ended = [run.poll for run in runs]
        wait_for(lambda: all("waiting for it" in log.read_text() for log in logs) or any(end() for end in ended))
    for run, log in zip(runs, logs, strict=True):
        assert run.wait(timeout=400) == 0, log.read_text()
        assert f"process {os.getpid()} is writing to it; waiting for it" in log.read_text()
    turns = [told(log) for log in logs]
    numbers = sorted([turn["number"] for turn in each] for each in turns)
    assert numbers == [[1, 2], [3, 2]], "the one camera that both were given is one turn"
    assert {turn["turn"] for each in turns for one in each for turn in one["recalled"]} == {1, 2}
    assert len(committed_ids(out)) == 3
