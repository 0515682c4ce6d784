"""The main job on real footage and on clips that nobody prepared."""

import json
import os
import signal
import subprocess
import sys
import threading
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
import ray
from ray.exceptions import RayActorError

from flows import edit as flow
from flows.edit import EditReport, edit
from flows.request import build_request
from model.config import EditRequest
from model.types import Segment
from storage.garbage import find_garbage, sweep
from storage.ledger import Entry, Ledger
from storage.memory import MemoryStore
from storage.probe import probe
from tasks import cluster as cluster_module
from tasks.editor_handle import EditorHandle
from tasks.pool import EditorPool
from tasks.recall import TextTurn
from tests.clips import ODD_CLIPS, make_clip, sound_packets
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("cluster")
CLIP = Path("tests/garden.mp4").resolve()
REPRESENTATIVE = ("vfr", "rotated_90", "odd_size", "anamorphic", "drop_frame", "start_offset", "ten_bit", "hdr")
ALL_BUT_RAW_SOUND = tuple(kind for kind in ODD_CLIPS if kind != "transport_stream")  # its AAC loses ADTS headers
CLIPS = ALL_BUT_RAW_SOUND if os.environ.get("MEMORY_V2V_ALL_CLIPS") else REPRESENTATIVE
CHEAP = {"steps": 2, "guidance": 1.0}
SMALL = {"height": 32, "width": 48}  # a segment costs as much as its pictures in the video codec, whatever the steps


def decode_all(path: Path) -> np.ndarray:
    """All frames `[frame, height, width, 3]`."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def request(video: Path, out: Path, **options: object) -> EditRequest:
    fixed = {
        "video": video,
        "instruction": "give the ball a new colour",
        "out": out,
        "weights": "untrained",
        "output": {"codec": options.pop("codec", "h264"), "tone_map": options.pop("tone_map", False)},
    }
    window = SMALL | {name: options.pop(name) for name in ("frames", "overlap", "height", "width") if name in options}
    retrieval = {name: options.pop(name) for name in ("top_k",) if name in options}
    return build_request({**fixed, **options}, {"window": window, "retrieval": retrieval, "sampling": CHEAP})


def garden(out: Path, **options: object) -> EditRequest:
    """The clip of three shots, its segments large enough that a run can be ended between two of them."""
    return request(CLIP, out, height=64, width=96, **options)


def test_weights_load_while_the_server_is_still_coming_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever edits waits for one of the two; the flow, which needs the server, takes the Editors that are there."""
    asked, start = threading.Event(), flow.start_editors
    pools = []

    def start_and_tell(*model: Any, **options: Any) -> EditorPool:
        pools.append(start(*model, **options))
        asked.set()
        return pools[-1]

    monkeypatch.setattr(flow, "start_editors", start_and_tell)
    monkeypatch.setattr(cluster_module, "start_prefect", lambda: waited.append(asked.wait(60)))
    waited: list[bool] = []
    report = edit(garden(tmp_path / "out"))
    assert waited == [True]
    assert len(pools) == 1
    assert report.edited == report.segments
    assert edit(garden(tmp_path / "out")).edited == 0
    assert len(pools) == 1, "nothing is loaded for what is finished"


def assert_same_timing_and_sound(source: Path, report: EditReport) -> None:
    """Frame count, time stamps, size and audio packets of the output are the source's."""
    before, after = probe(source), probe(Path(report.output))
    assert after.frames == before.frames == report.frames
    assert [p * after.time_base for p in after.pts] == [p * before.time_base for p in before.pts]
    assert (after.width, after.height, after.sample_aspect) == (before.width, before.height, before.sample_aspect)
    assert sound_packets(Path(report.output)) == sound_packets(source)


@pytest.fixture(scope="module")
def finished_clip(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EditReport]:
    out = tmp_path_factory.mktemp("clip")
    return out, edit(garden(out))


def test_a_clip_of_three_shots(finished_clip: tuple[Path, EditReport]) -> None:
    _, report = finished_clip
    assert_same_timing_and_sound(CLIP, report)
    assert (report.frames, report.shots) == (128, 3)
    assert report.edited == report.segments >= 9
    assert report.reused == 0
    assert Path(report.review).is_file()


def test_the_edit_is_not_the_source(finished_clip: tuple[Path, EditReport]) -> None:
    difference = np.abs(decode_all(CLIP).astype(int) - decode_all(Path(finished_clip[1].output)).astype(int))
    assert difference.mean() > 8


def test_repeating_edits_nothing(finished_clip: tuple[Path, EditReport]) -> None:
    out, first = finished_clip
    again = edit(garden(out))
    assert (again.edited, again.reused) == (0, first.segments)
    assert again.output == first.output
    assert "nothing left to edit" in again.summary()


def test_another_codec_reuses_every_segment(finished_clip: tuple[Path, EditReport]) -> None:
    out, first = finished_clip
    master = edit(garden(out, codec="prores"))
    assert (master.edited, master.reused) == (0, first.segments)
    assert Path(master.output).name == "garden_edit_v002.mov"
    assert_same_timing_and_sound(CLIP, master)


def test_a_lost_segment_is_edited_again_to_the_same_bits(finished_clip: tuple[Path, EditReport]) -> None:
    out, first = finished_clip
    finished = Path(first.output)
    video = finished.read_bytes()
    lost = sorted((out / "segments").iterdir())[3]
    content = lost.read_bytes()
    lost.unlink()
    finished.unlink()
    again = edit(garden(out))
    finished.write_bytes(video)  # other tests compare with it
    assert (again.edited, again.reused) == (1, first.segments - 1)
    assert lost.read_bytes() == content
    assert np.array_equal(decode_all(Path(again.output)), decode_all(finished))


def test_recalls_are_kept_and_shot_aware(finished_clip: tuple[Path, EditReport]) -> None:
    """Inside a shot the previous segment comes first; across a cut only what looks alike is recalled."""
    out, _ = finished_clip
    store = MemoryStore(out / "memory", 192)
    turns = {row.turn for row in store.rows()}
    rows = sorted((row for row in store.rows() if row.turn == min(turns)), key=lambda row: row.segment)
    shot_of = {row.id: row.shot for row in rows}
    for before, row in pairwise(rows):
        same_shot = before.shot == row.shot
        first = (row.reasons[0], row.recalled[0]) if row.recalled else None
        assert (first == ("previous", before.id)) is same_shot
        assert set(row.recalled) <= {earlier.id for earlier in rows[: row.segment]}
    street, garden = (next(row for row in rows if row.shot == shot) for shot in (1, 2))
    assert street.recalled == ()
    assert {shot_of[id] for id in garden.recalled} == {0}


def test_sessions_share_a_memory_only_when_asked(film: Path, cluster: None, tmp_path: Path) -> None:
    def recalled_from(session: str | None, instruction: str) -> set[str]:
        edit(request(film, tmp_path, session=session, instruction=instruction))
        rows = MemoryStore(tmp_path / "memory", 192).rows()
        mine = [row for row in rows if row.instruction == instruction]
        owner = {row.id: row.instruction for row in rows}
        return {owner[id] for row in mine for id in row.recalled}

    assert recalled_from("film", "first") == {"first"}
    assert recalled_from("film", "second") == {"first", "second"}
    assert recalled_from(None, "third") == {"third"}


@pytest.mark.parametrize(
    ("name", "shots"), [pytest.param("bikes.mp4", 6, marks=pytest.mark.slow), ("bigbuckbunny.mp4", 1)]
)
def test_real_footage(name: str, shots: int, footage: Path, cluster: None, tmp_path: Path) -> None:
    report = edit(request(footage / name, tmp_path, frames=33, overlap=4))
    assert_same_timing_and_sound(footage / name, report)
    assert report.shots == shots


@pytest.mark.parametrize("kind", CLIPS)
def test_odd_clips(kind: str, cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output folder is given as people give it: from where they stand."""
    video = make_clip(kind, tmp_path)
    monkeypatch.chdir(tmp_path)
    report = edit(request(video, Path("out"), tone_map=kind == "hdr", top_k=1))
    assert_same_timing_and_sound(video, report)


def test_a_dead_editor_is_replaced(
    finished_clip: tuple[Path, EditReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on by itself with the segment at hand, and ends in the same bits."""
    edit_segment, calls = EditorHandle.edit, count()

    def kill_at_the_third(editor: EditorHandle, *given: Any) -> Any:
        if next(calls) == 2:
            os.kill(ray.get(editor.actor.load.remote()), signal.SIGKILL)
        return edit_segment(editor, *given)

    monkeypatch.setattr(EditorHandle, "edit", kill_at_the_third)
    report = edit(garden(tmp_path))
    assert (report.edited, report.reused) == (report.segments, 0)
    faults = Ledger(tmp_path / "memory").entries(kind="fault")
    assert [json.loads(fault.note)["kind"] for fault in faults] == ["death"]
    assert np.array_equal(decode_all(Path(report.output)), decode_all(Path(finished_clip[1].output)))


def test_a_dead_embedder_costs_another_attempt(
    film: Path, cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which goes on behind what was committed, and counts that as its own work."""
    look, asked = TextTurn.look, []

    def die_at_the_last(turn: TextTurn, segment: Segment, *given: Any) -> Any:
        asked.append(segment.index)
        if asked.count(2) == 1 and segment.index == 2:
            raise RayActorError
        return look(turn, segment, *given)

    monkeypatch.setattr(TextTurn, "look", die_at_the_last)
    report = edit(request(film, tmp_path))
    assert (report.segments, report.edited, report.reused) == (3, 3, 0)
    assert asked == [0, 1, 2, 2], "nothing is edited twice"


class KilledError(Exception):
    """As far as a run got."""


@pytest.mark.parametrize("step", ["entry", "page"])
def test_a_run_that_was_killed_behind_its_last_segment_comes_to_its_end(
    step: str, film: Path, cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Ledger.record

    def record_but_videos(ledger: Ledger, entry: Entry) -> None:
        if entry.kind == "video":
            raise KilledError
        record(ledger, entry)

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        if step == "entry":
            patch.setattr(Ledger, "record", record_but_videos)
        else:
            patch.setattr("tasks.publish.write_review", killed)
        with pytest.raises(KilledError):
            edit(request(film, tmp_path))
    assert len(list(tmp_path.glob("*.mp4"))) == 1
    report = edit(request(film, tmp_path))
    assert (report.segments, report.edited) == (3, 0)
    sweep(tmp_path, find_garbage(tmp_path, Ledger(tmp_path / "memory").turns()))
    assert list(tmp_path.glob("*.mp4")) == [Path(report.output)]
    assert Path(report.review).is_file()


def launch(out: Path, log: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "flows.cli", "edit", str(CLIP), "--prompt", "give the ball a new colour"]
    options = ["--out", str(out), "--weights", "untrained", "--steps", "2", "--guidance", "1", "--json"]
    with log.open("wb") as file:
        return subprocess.Popen(command + options, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)


def committed_ids(out: Path) -> set[str]:
    if not (out / "memory" / "ledger.lance").is_dir():
        return set()
    return {entry.id for entry in Ledger(out / "memory").entries(kind="segment")}


@pytest.mark.slow
def test_killed_again_and_again(finished_clip: tuple[Path, EditReport], tmp_path: Path) -> None:
    """Ended once 1, 4 and 8 segments are committed: none is ever edited again, and all ends in the same frames.

    Ctrl-C goes to the whole group of processes, as a terminal sends it.
    """
    out, log = tmp_path / "out", tmp_path / "log"
    kept: set[str] = set()
    kill, term, interrupt = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
    for segments, ended, codes in ((1, interrupt, {130}), (4, term, {143, -15}), (8, kill, {-9})):
        run = launch(out, log)
        wait_for(lambda run=run, segments=segments: len(committed_ids(out)) >= segments or run.poll() is not None)
        family = psutil.Process(run.pid).children(recursive=True)
        (os.killpg if ended is interrupt else os.kill)(run.pid, ended)
        assert run.wait(timeout=120) in codes
        assert psutil.wait_procs(family, timeout=60)[1] == [], "a run that was ended leaves processes behind"
        assert "Traceback" not in log.read_text()
        assert ended is not interrupt or log.read_text().count("memory-v2v: interrupted;") == 1
        assert kept < committed_ids(out), "what was committed stays"
        kept = committed_ids(out)
    last = launch(out, log)
    assert last.wait(timeout=300) == 0, log.read_text()
    report = json.loads(log.read_text().splitlines()[-1])
    assert report["reused"] == len(kept) >= 8
    assert report["edited"] == report["segments"] - len(kept)
    assert np.array_equal(decode_all(Path(report["output"])), decode_all(Path(finished_clip[1].output)))
    assert not [path for path in out.rglob("*") if path.name.endswith(".unfinished")]
