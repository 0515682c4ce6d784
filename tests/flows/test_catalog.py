"""A night in small: many short clips through the whole pipeline, with a model that waits instead of computing.

`rehearsal` (model/rehearsal.py) stands in for the weights; everything else is what edits real footage.
"""

import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from shutil import copy
from threading import Lock
from typing import Any

import psutil
import pytest
from filelock import FileLock
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort

from flows import catalog
from flows.environment import user_folder
from model.config import CatalogRequest, FaultPolicy
from model.errors import CatalogError, DiskFullError, RequestError, RunError, StoreBusyError, StoreError
from storage.catalog_page import PAGE
from storage.content_id import hash_file, hash_source
from storage.ledger import Entry, Ledger
from storage.memory import MemoryStore
from storage.object_store import upload
from storage.probe import probe
from storage.run_lock import Holder, RunLock, holder_path, is_held, lock_path
from storage.run_report import RunRecord, read_runs
from storage.store import MEMORY
from storage.video_states import VideoState
from tasks import commit
from tasks.catalog_work import STATE
from tasks.editor_handle import EditorHandle
from tests.clips import X264, chart, make_bad_input, run_ffmpeg
from tests.storage.memories import enter_turn, make_entry, make_row
from tests.storage.object_servers import running_moto
from tests.users import as_nobody
from tests.waiting import end, wait_for

FRAMES, SEGMENTS = 17, 4  # windows of 5 frames, an overlap of 1
BAD = ("empty", "text", "truncated")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    run_ffmpeg(*chart("64x64", frames=FRAMES), *X264, path)
    return path


def last_run(out: Path) -> RunRecord:
    """Of the runs of a catalog that came to their end, the one that began last."""
    return read_runs(out / STATE)[-1]


def write_catalog(folder: Path, clip: Path, ids: Sequence[str], **settings: Any) -> Path:
    """A manifest of copies of a clip that ask for the same, but for `settings` that are functions of the id."""
    for id in ids:
        copy(clip, folder / f"{id}.mp4")
    path = folder / "catalog.jsonl"
    path.write_text(asked_for(ids, **settings))
    return path


def asked_for(ids: Sequence[str], **settings: Any) -> str:
    """The lines of such a manifest."""
    lines = []
    for id in ids:
        own = {name: value(id) if callable(value) else value for name, value in settings.items()}
        lines.append({"video_id": id, "uri": f"{id}.mp4", "turns": [{"prompt": "make it night"}], **own})
    return "".join(json.dumps(line) + "\n" for line in lines)


def request(manifest: Path, **options: Any) -> CatalogRequest:
    fixed = {"manifest": manifest, "out": manifest.parent / "out", "weights": "rehearsal:0.02", "editors": 2}
    return CatalogRequest.model_validate({**fixed, **options})


def states_of(out: Path) -> dict[str, VideoState]:
    return {state.id: state for state in catalog.status(out)[1]}


def segments_in(folder: Path) -> list[Entry]:
    """The segments in the ledger of a folder; what is committed again replaces its entry, but says when."""
    return Ledger(folder / "memory").entries(kind="segment")


def rows_of(out: Path) -> list[str]:
    """The videos on the page of a catalog, from the top."""
    return re.findall(r'<th scope="row" data-value="([^"]+)">', (out / PAGE).read_text())


def tables_on_the_page() -> int:
    named = ArtifactFilter(key=ArtifactFilterKey(any_=["catalog-status"]))
    with get_client(sync_client=True) as client:
        return len(client.read_artifacts(artifact_filter=named, sort=ArtifactSort.UPDATED_DESC, limit=200))


def test_a_night_with_bad_inputs_and_the_morning_after(cluster: None, clip: Path, tmp_path: Path) -> None:
    """20 videos, 6 of them bad: 14 are done and 6 explained; of two that are mended exactly these two are done anew."""
    ids = [f"take-{number:02d}" for number in range(20)]
    manifest = write_catalog(tmp_path, clip, ids, sha256=lambda id: "0" * 64 if id == "take-05" else None)
    for id, kind in zip(("take-00", "take-01", "take-02"), BAD, strict=True):
        make_bad_input(kind, tmp_path).replace(tmp_path / f"{id}.mp4")
    (tmp_path / "take-03.mp4").unlink()
    (tmp_path / "take-04.mp4").unlink()
    os.mkfifo(tmp_path / "take-04.mp4")
    with pytest.raises(CatalogError, match="6 of 20 videos"):
        catalog.run(request(manifest))
    first = last_run(tmp_path / "out")
    assert first.videos == {"done": 14, "partial": 0, "failed": 6, "skipped": 0}
    assert first.segments == {"edited": 14 * SEGMENTS, "reused": 0, "quarantined": 0}
    states = states_of(tmp_path / "out")
    assert {id for id, state in states.items() if state.state == "failed"} == set(ids[:6])
    assert all(id in states[id].error for id in ids[:6]), "each is explained, by its name"
    assert "sha256" in states["take-05"].error
    for id in ids[6:]:
        assert probe(Path(states[id].output)).frames == FRAMES
    assert rows_of(tmp_path / "out") == ids, "on the page, failed ones come first"

    for id in ids[:2]:
        copy(clip, tmp_path / f"{id}.mp4")
    with pytest.raises(CatalogError, match="4 of 6 videos"):
        catalog.retry(tmp_path / "out")
    second = last_run(tmp_path / "out")
    assert second.segments == {"edited": 2 * SEGMENTS, "reused": 0, "quarantined": 0}
    assert {id for id, state in states_of(tmp_path / "out").items() if state.state == "failed"} == set(ids[2:6])
    within = catalog.run(request(manifest, max_failed_fraction=0.2))
    assert within.videos["failed"] == 4
    assert within.segments["edited"] == 0


def test_the_same_command_finds_what_is_done_and_another_prompt_redoes_its_video(
    cluster: None, clip: Path, tmp_path: Path
) -> None:
    ids = ["one", "two", "three"]
    manifest = write_catalog(tmp_path, clip, ids)
    shown = tables_on_the_page()
    assert catalog.run(request(manifest)).segments["edited"] == 3 * SEGMENTS
    assert tables_on_the_page() == shown + 1, "one table a run, however often it was renewed"
    again = catalog.run(request(manifest))
    assert (again.segments["edited"], again.segments["reused"]) == (0, 3 * SEGMENTS)
    write_catalog(tmp_path, clip, ids, turns=lambda id: [{"prompt": "make it day" if id == "two" else "make it night"}])
    assert catalog.run(request(manifest)).segments["edited"] == SEGMENTS
    assert len(segments_in(tmp_path / "out" / "two")) == 2 * SEGMENTS
    assert catalog.plan(request(manifest)).left == 0


def test_memories_may_lie_in_a_bucket(
    cluster: None, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One prefix a folder of results; a second turn recalls the first from there, and nothing is done twice."""
    for name, value in {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "words", "REGION": "eu-central-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    turns = [{"prompt": "make it night"}, {"prompt": "make it rain", "on": "last"}]
    manifest = write_catalog(tmp_path, clip, ["one"], turns=turns)
    with running_moto("films") as server:
        monkeypatch.setenv("MEMORY_V2V_S3_ENDPOINT", server)
        asked = request(manifest, memory="s3://films/night")
        assert catalog.run(asked).segments["edited"] == 2 * SEGMENTS
        folder = tmp_path / "out" / "one"
        assert "s3://films/night/one" in (folder / MEMORY).read_text()
        assert len(Ledger(folder / MEMORY).entries(kind="video")) == 2
        assert catalog.run(asked).segments == {"edited": 0, "reused": 2 * SEGMENTS, "quarantined": 0}


def test_a_video_in_a_bucket_is_no_fault_of_the_plan(
    cluster: None, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its length is known once it was fetched; until then it is not counted, and teaches later plans nothing."""
    for name, value in {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "words", "REGION": "eu-central-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    manifest = write_catalog(tmp_path, clip, ["one", "two"], uri=lambda id: f"s3://films/{id}.mp4")
    with running_moto("films") as server:
        monkeypatch.setenv("MEMORY_V2V_S3_ENDPOINT", server)
        upload(clip, "s3://films/one.mp4")
        asked = request(manifest, weights="rehearsal:0.03")
        before = catalog.plan(asked)
        assert (before.unknown, before.segments, [one.id for one in before.faulty]) == (1, 0, ["two"])
        with pytest.raises(CatalogError):
            catalog.run(asked)
        after = catalog.plan(asked)
        assert (after.unknown, after.segments, after.done, after.measured) == (0, SEGMENTS, 1, False)
    assert Path(states_of(asked.out)["one"].output).name == "one_edit_v001.mp4"
    assert [turn.video for turn in Ledger(asked.out / "one" / MEMORY).turns()] == ["one.mp4"], "as it is called there"
    monkeypatch.setattr("storage.object_store.RETRIES", 0)
    silent = catalog.plan(asked)
    assert (silent.unknown, silent.faulty) == (2, [])


@pytest.mark.parametrize(
    ("trouble", "attempts"),
    [
        ("error", 3),
        pytest.param("death", 2, marks=pytest.mark.slow),  # tests/flows/test_edit.py has a dead Editor replaced
        pytest.param("memory", 3, marks=pytest.mark.slow),
        pytest.param("hang", 2, marks=pytest.mark.slow),
    ],
)
def test_a_segment_that_never_works_is_quarantined_and_the_night_goes_on(
    cluster: None, clip: Path, tmp_path: Path, trouble: str, attempts: int
) -> None:
    prompts = {"bad": [{"prompt": f"make it night [{trouble}]", "seed": 3}], "good": [{"prompt": "make it night"}]}
    manifest = write_catalog(tmp_path, clip, list(prompts), turns=lambda id: prompts[id])
    patient = FaultPolicy(hang_seconds=1.0) if trouble == "hang" else FaultPolicy()
    with pytest.raises(CatalogError):
        catalog.run(request(manifest, faults=patient, editors=1, max_failed_fraction=0.4))
    record, states = last_run(tmp_path / "out"), states_of(tmp_path / "out")
    assert record.videos == {"done": 1, "partial": 1, "failed": 0, "skipped": 0}
    assert (states["bad"].quarantined, states["bad"].faults) == (SEGMENTS, attempts * SEGMENTS)
    assert states["bad"].error
    with pytest.raises(CatalogError):
        catalog.run(request(manifest, faults=patient, editors=1))
    assert states_of(tmp_path / "out")["bad"].faults == 0, "what is quarantined is not tried again"


def test_what_does_not_fit_is_edited_in_tiles(cluster: None, clip: Path, tmp_path: Path) -> None:
    """Want of memory is met once; the segments after it begin where that one got through, and the ledger says so."""
    manifest = write_catalog(tmp_path, clip, ["video"], turns=[{"prompt": "make it night [tight]"}])
    record = catalog.run(request(manifest, editors=1))
    assert record.segments == {"edited": SEGMENTS, "reused": 0, "quarantined": 0}
    assert states_of(tmp_path / "out")["video"].faults == 1
    notes = [entry.note for entry in Ledger(tmp_path / "out" / "video" / "memory").entries(kind="segment")]
    assert [json.loads(note) for note in notes] == [{"tile": 256}] * SEGMENTS


def test_what_is_in_quarantine_is_tried_again_when_asked(cluster: None, clip: Path, tmp_path: Path) -> None:
    """A video of which some segments fail keeps the others; each is tried, and committed, no more often than needed."""
    manifest = write_catalog(tmp_path, clip, ["video"], turns=[{"prompt": "make it night [error:50]", "seed": 1}])
    with pytest.raises(CatalogError):
        catalog.run(request(manifest, editors=1))
    state = states_of(tmp_path / "out")["video"]
    assert 0 < state.quarantined < SEGMENTS
    assert state.state == "partial"
    kept = segments_in(tmp_path / "out" / "video")
    assert len(kept) == SEGMENTS - state.quarantined
    with pytest.raises(CatalogError):
        catalog.retry(tmp_path / "out")
    assert states_of(tmp_path / "out")["video"].faults == 3 * state.quarantined
    assert segments_in(tmp_path / "out" / "video") == kept


def test_turns_follow_each_other_and_groups_share_a_memory(cluster: None, clip: Path, tmp_path: Path) -> None:
    turns = [{"prompt": "make it night"}, {"prompt": "add snow", "on": "last"}]
    manifest = write_catalog(tmp_path, clip, ["cut-a", "cut-b"], turns=turns, memory_scope="group:show")
    run_ffmpeg("-i", clip, "-vf", "hue=h=90", *X264, tmp_path / "cut-b.mp4")
    record = catalog.run(request(manifest))
    assert record.segments["edited"] == 4 * SEGMENTS
    rows = MemoryStore(tmp_path / "out" / "show" / "memory", 192).rows()
    assert {(row.session, row.turn) for row in rows} == {("show", number) for number in (1, 2, 3, 4)}
    by_id = {row.id: row for row in rows}
    recalled = {by_id[id].turn for row in rows if row.turn == 3 for id in row.recalled}
    assert 1 in recalled, "the second video recalls what was made of the first"
    turns_made = Ledger(tmp_path / "out" / "show" / "memory").turns("show")
    assert [turn.parent for turn in turns_made] == [0, 1, 0, 3]


def long_clip(folder: Path) -> Path:
    """A clip of 24 segments."""
    path = folder / "source.mp4"
    run_ffmpeg(*chart("64x64", frames=4 * 24 + 1), *X264, path)
    return path


def watch_editors(monkeypatch: pytest.MonkeyPatch, lost: int | None = None) -> list[EditorHandle]:
    """Editors in the order of their first segments; the one at place `lost` dies for good before its first."""
    edit, seen, lock = EditorHandle.edit, [], Lock()

    def watched(editor: EditorHandle, *given: Any) -> Any:
        with lock:
            is_new = editor not in seen
            if is_new:
                seen.append(editor)
            dies = is_new and len(seen) - 1 == lost
        if dies:
            editor._policy = FaultPolicy(load_seconds=1.0)
            end(editor.actor)
        return edit(editor, *given)

    monkeypatch.setattr(EditorHandle, "edit", watched)
    return seen


def test_segments_fan_out_by_anchors(cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a video edited by anchors, all others recall anchors alone; `auto` does so once an Editor is idle."""
    long, editors = long_clip(tmp_path), watch_editors(monkeypatch)
    for schedule, anchors in (("anchors:3", 3), ("anchors:23", 23), ("auto", None)):
        folder = tmp_path / schedule.replace(":", "-")
        folder.mkdir()
        manifest = write_catalog(folder, long, ["long"], schedule=schedule)
        editors.clear()
        assert catalog.run(request(manifest)).segments["edited"] == 24
        assert len(editors) == (1 if anchors == 23 else 2), "a fan of one segment needs no other Editor"
        rows = MemoryStore(folder / "out" / "long" / "memory", 192).rows()
        number = {row.id: row.segment for row in rows}
        recalled = {number[id] for row in rows for id in row.recalled}
        assert len(recalled) <= (anchors or 3)
        assert any(number[id] > row.segment for row in rows for id in row.recalled), "an anchor lies ahead"


def test_a_fan_goes_on_without_a_spare_editor_that_is_lost(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn's own Editor edits also what the other one had at hand."""
    editors = watch_editors(monkeypatch, lost=1)
    manifest = write_catalog(tmp_path, long_clip(tmp_path), ["long"], schedule="anchors:3")
    assert catalog.run(request(manifest)).segments == {"edited": 24, "reused": 0, "quarantined": 0}
    assert len(editors) == 2
    assert states_of(tmp_path / "out")["long"].faults == 1


def test_an_editor_that_is_lost_ends_no_night(
    cluster: None, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs the video at hand, until the same command is given again."""
    editors = watch_editors(monkeypatch, lost=0)
    asked = request(write_catalog(tmp_path, clip, ["one", "two", "three", "four"]))
    with pytest.raises(CatalogError, match="1 of 4 videos") as told:
        catalog.run(asked)
    assert told.value.record.segments == {"edited": 3 * SEGMENTS, "reused": 0, "quarantined": 0}
    assert len(editors) == 2
    (failed,) = (state for state in states_of(tmp_path / "out").values() if state.state == "failed")
    assert "an Editor did not come back" in failed.error
    again = catalog.run(asked)
    assert again.videos == {"done": 4, "partial": 0, "failed": 0, "skipped": 0}
    assert again.segments == {"edited": SEGMENTS, "reused": 3 * SEGMENTS, "quarantined": 0}


def test_a_full_disk_ends_the_night_and_the_same_command_goes_on(
    cluster: None, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(write_catalog(tmp_path, clip, ["one", "two", "three", "four"]))
    write, room = commit.write_segment, iter(range(5))

    def write_while_there_is_room(frames: Any, path: Path) -> None:
        if next(room, None) is None:
            raise RunError(f"{path}: could not be written (No space left on device)")
        write(frames, path)

    with monkeypatch.context() as patch:
        patch.setattr(commit, "write_segment", write_while_there_is_room)
        with pytest.raises(DiskFullError, match="the disk is full"):
            catalog.run(asked)
    assert {state.state for state in states_of(tmp_path / "out").values()} <= {"queued", "done"}, "none has failed"
    again = catalog.run(asked)
    assert again.videos == {"done": 4, "partial": 0, "failed": 0, "skipped": 0}
    assert again.segments == {"edited": 4 * SEGMENTS - 5, "reused": 5, "quarantined": 0}


def test_two_runs_at_once_never_do_the_same(joining: dict[str, str], clip: Path, tmp_path: Path) -> None:
    manifest = write_catalog(tmp_path, clip, [f"take-{number}" for number in range(6)])
    slow = request(manifest, weights="rehearsal:0.3")
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(run_apart, slow, joining)
        wait_for(lambda: catalog_is_held(slow.out))
        with held_up(slow.out), pytest.raises(StoreBusyError, match=r"process \d+ on .* runs this catalog since"):
            catalog.run(slow)
        done = first.result()
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["segments"] == {"edited": 6 * SEGMENTS, "reused": 0, "quarantined": 0}
    for number in range(6):
        assert len(segments_in(tmp_path / "out" / f"take-{number}")) == SEGMENTS


def catalog_is_held(out: Path) -> bool:
    """Whether a run goes on whose first segments are done."""
    held = (out / STATE / "request.json").is_file() and bool(catalog.holders(out / STATE))
    return held and any((out / f"take-{number}" / "memory" / "ledger.lance").is_dir() for number in range(6))


@contextmanager
def held_up(out: Path) -> Iterator[None]:
    """The run of a catalog stands still, and so does not come to its end meanwhile."""
    (holder,) = catalog.holders(out / STATE)
    os.kill(holder.process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(holder.process, signal.SIGCONT)


def command(wanted: CatalogRequest) -> list[str]:
    options = ["--out", str(wanted.out), "--weights", wanted.weights, "--editors", str(wanted.editors), "--json"]
    return [sys.executable, "-m", "flows.cli", "catalog", "run", str(wanted.manifest), *options]


def run_apart(wanted: CatalogRequest, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(wanted), capture_output=True, text=True, timeout=400, env=env)


@pytest.mark.slow
def test_cancelled_killed_and_run_again(joining: dict[str, str], clip: Path, tmp_path: Path) -> None:
    """A run that is ended, in whatever way, leaves no process; nothing that was committed is ever edited again."""
    manifest = write_catalog(tmp_path, clip, [f"take-{number}" for number in range(6)])
    slow = request(manifest, weights="rehearsal:0.3")
    kept: set[Entry] = set()
    for stop in (lambda _: catalog.cancel(slow.out), lambda run: os.kill(run.pid, signal.SIGKILL)):
        with (tmp_path / "log").open("wb") as log:
            run = subprocess.Popen(command(slow), stdout=log, stderr=subprocess.STDOUT)
        wait_for(lambda run=run, kept=kept: len(committed_in(slow.out) - kept) >= 3 or run.poll() is not None)
        family = psutil.Process(run.pid).children(recursive=True)
        stop(run)
        assert run.wait(timeout=120) in (143, -signal.SIGTERM, -signal.SIGKILL), (tmp_path / "log").read_text()
        assert psutil.wait_procs(family, timeout=60)[1] == []
        assert "Traceback" not in (tmp_path / "log").read_text()
        assert kept < committed_in(slow.out)
        kept = committed_in(slow.out)
        assert not [state for state in states_of(slow.out).values() if state.state == "editing"]
    record = json.loads(run_apart(slow, joining).stdout.splitlines()[-1])
    assert record["videos"]["done"] == 6
    assert record["segments"]["reused"] == len(kept)
    assert record["segments"]["edited"] == 6 * SEGMENTS - len(kept)
    assert len(committed_in(slow.out)) == 6 * SEGMENTS
    assert kept < committed_in(slow.out)


def committed_in(out: Path) -> set[Entry]:
    folders = [path for path in out.glob("take-*") if (path / "memory" / "ledger.lance").is_dir()]
    return {entry for folder in folders for entry in segments_in(folder)}


def test_a_plan_is_made_from_past_runs(cluster: None, clip: Path, tmp_path: Path) -> None:
    """Before any run it says that it guesses; then it knows the seconds, and the bytes, of a segment."""
    manifest = write_catalog(tmp_path, clip, ["one", "two", "three", "four"])
    asked = request(manifest, weights="rehearsal:0.07")
    before = catalog.plan(asked)
    assert (before.segments, before.left, before.measured) == (4 * SEGMENTS, 4 * SEGMENTS, False)
    assert not (tmp_path / "out").exists(), "planning writes nothing"
    catalog.run(asked)
    other = request(manifest, weights="rehearsal:0.07", out=tmp_path / "other")
    after = catalog.plan(other)
    assert after.measured
    most = 2 * last_run(tmp_path / "out").seconds / (4 * SEGMENTS)  # of two Editors, whatever the machine is busy with
    assert 0.07 <= after.rates.segment_seconds < most
    states = states_of(tmp_path / "out").values()
    held = sum(state.memory_bytes for state in states), sum(state.output_bytes for state in states)
    assert (after.memory_bytes + after.output_bytes, after.output_bytes) == pytest.approx(held, rel=0.01)
    together = write_catalog(tmp_path, clip, ["one", "two", "three", "four"], memory_scope="group:show")
    catalog.run(request(together, weights="rehearsal:0.07", out=tmp_path / "group"))
    shared = catalog.plan(other)
    assert shared.memory_bytes < 1.5 * after.memory_bytes, "videos of a group share a folder, which is counted once"


def edit_by_hand(folder: Path, film: Path, prompt: str, parent: int = 0) -> int:
    """A turn of the group `show` over a film, as a run that was killed afterwards leaves it; its number."""
    ledger = Ledger(folder / MEMORY)
    told = {"asked": prompt, "video": film.name, "source": hash_file(film), "parent": parent}
    number = enter_turn(ledger, "show", f"{prompt} {film} {parent}", **told)
    for segment in range(SEGMENTS):
        ledger.record(make_entry(make_row(segment, session="show", turn=number)))
    return number


def test_what_is_done_of_a_group_is_counted_by_video(clip: Path, tmp_path: Path) -> None:
    """And by what is asked now: another prompt is still to be done, and so is what edits its result."""
    turns = [{"prompt": "make it night"}, {"prompt": "add snow", "on": "last"}]
    ids = ["one", "two", "three"]
    asked = request(write_catalog(tmp_path, clip, ids, memory_scope="group:show", turns=turns))
    for id, hue in (("two", 90), ("three", 180)):
        run_ffmpeg("-y", "-i", clip, "-vf", f"hue=h={hue}", *X264, tmp_path / f"{id}.mp4")
    assert catalog.plan(asked).left == 6 * SEGMENTS
    number = edit_by_hand(asked.out / "show", tmp_path / "one.mp4", "make it night")
    assert [one.left for one in catalog.plan(asked).planned] == [SEGMENTS, 2 * SEGMENTS, 2 * SEGMENTS]
    edit_by_hand(asked.out / "show", tmp_path / "one.mp4", "add snow", number)
    planned = catalog.plan(asked)
    assert [one.left for one in planned.planned] == [0, 2 * SEGMENTS, 2 * SEGMENTS]
    assert planned.done == 1
    changed = [{"prompt": "make it day"}, turns[1]]
    asked.manifest.write_text(asked_for(ids, memory_scope="group:show", turns=changed))
    assert (catalog.plan(asked).done, catalog.plan(asked).left) == (0, 6 * SEGMENTS)


def test_videos_of_one_name_are_told_apart_where_their_content_is_known(clip: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = copy(clip, tmp_path / "a" / "film.mp4"), tmp_path / "b" / "film.mp4"
    run_ffmpeg("-i", clip, "-vf", "hue=h=90", *X264, second)
    manifest = tmp_path / "catalog.jsonl"
    manifest.write_text(asked_for(["a", "b"], memory_scope="group:show", uri=lambda id: f"{id}/film.mp4"))
    edit_by_hand(tmp_path / "out" / "show", first, "make it night")
    for film in (first, second):
        hash_source(film, user_folder("cache"))
    assert [one.left for one in catalog.plan(request(manifest)).planned] == [0, SEGMENTS]


def test_a_group_takes_as_long_as_its_videos_one_by_one(clip: Path, tmp_path: Path) -> None:
    took = {}
    for scope in ("video", "group:show"):
        manifest = write_catalog(tmp_path, clip, ["one", "two", "three", "four"], memory_scope=scope)
        planned = catalog.plan(request(manifest, weights="rehearsal:15", editors=4))
        rates = planned.rates
        took[scope] = planned.finish_seconds - rates.start_seconds - rates.end_seconds
    assert took["video"] == pytest.approx(SEGMENTS * 15, rel=0.1)
    assert took["group:show"] == pytest.approx(4 * SEGMENTS * 15, rel=0.1)


@pytest.mark.parametrize("damage", ["_versions", "data"])
def test_a_memory_that_is_damaged_is_the_affair_of_its_video(clip: Path, tmp_path: Path, damage: str) -> None:
    manifest = write_catalog(tmp_path, clip, ["one", "two"])
    memory = tmp_path / "out" / "one" / MEMORY
    Ledger(memory).record(make_entry(make_row(0)))
    for path in (memory / "ledger.lance" / damage).iterdir():
        path.unlink() if damage == "data" else path.write_bytes(b"not a manifest" * 40)
    planned = catalog.plan(request(manifest))
    assert [one.id for one in planned.faulty] == ["one"]
    assert str(memory) in planned.faulty[0].error
    assert planned.left == SEGMENTS


def test_a_video_that_is_skipped_is_neither_done_nor_counted(cluster: None, clip: Path, tmp_path: Path) -> None:
    ids = ["one", "two", "three"]
    asked = request(write_catalog(tmp_path, clip, ids, skip=lambda id: id == "two"))
    before = catalog.plan(asked)
    assert (before.done, before.skipped, before.left) == (0, 1, 2 * SEGMENTS)
    catalog.run(request(write_catalog(tmp_path, clip, ids)))
    record = catalog.run(request(write_catalog(tmp_path, clip, ids, skip=lambda id: id == "two")))
    assert record.videos == {"done": 2, "partial": 0, "failed": 0, "skipped": 1}
    assert record.segments == {"edited": 0, "reused": 2 * SEGMENTS, "quarantined": 0}


def test_what_failed_is_tried_again_whatever_shard_ran_last(cluster: None, clip: Path, tmp_path: Path) -> None:
    """And whatever became of lines of the manifest meanwhile."""
    ids = [f"take-{number}" for number in range(6)]
    manifest = write_catalog(tmp_path, clip, ids)
    shards = [[one.id for one in catalog.plan(request(manifest, shard=f"{n}/2")).planned] for n in (1, 2)]
    lost = [shards[0][0], shards[1][0]]
    for id in lost:
        (tmp_path / f"{id}.mp4").write_text("no video")
    for number in (1, 2):
        with pytest.raises(CatalogError) as told:
            catalog.run(request(manifest, shard=f"{number}/2"))
        assert sum(told.value.record.videos.values()) == len(shards[number - 1]), "of this shard, not of the other"
    write_catalog(tmp_path, clip, [id for id in ids if id != lost[1]])
    record = catalog.retry(tmp_path / "out")
    assert record is not None
    assert record.videos == {"done": 1, "partial": 0, "failed": 0, "skipped": 0}
    assert catalog.retry(tmp_path / "out") is None, "what is left is not in the manifest"


def test_shards_share_out_all_videos_and_keep_groups_together(clip: Path, tmp_path: Path, cluster: None) -> None:
    ids = [f"take-{number:02d}" for number in range(24)]
    manifest = write_catalog(tmp_path, clip, ids, memory_scope=lambda id: "group:a" if id < "take-06" else "video")
    parts = [[one.id for one in catalog.plan(request(manifest, shard=f"{n}/3")).planned] for n in (1, 2, 3)]
    assert sorted(id for part in parts for id in part) == ids
    assert sum("take-00" in part for part in parts) == 1
    assert next(part for part in parts if "take-00" in part)[:6] == ids[:6]
    with pytest.raises(RequestError, match="--shard 4/3"):
        catalog.plan(request(manifest, shard="4/3"))


def test_the_report_tells_why(cluster: None, clip: Path, tmp_path: Path) -> None:
    manifest = write_catalog(tmp_path, clip, ["good", "bad"], tags=["s2"])
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(CatalogError):
        catalog.run(request(manifest))
    record, states, text = catalog.report(tmp_path / "out")
    assert isinstance(record, RunRecord)
    assert {state.tags for state in states} == {"s2"}
    assert "bad (failed)" in text
    with pytest.raises(RequestError, match="no catalog was run there"):
        catalog.report(tmp_path)


def test_a_folder_that_was_moved_is_where_it_is(cluster: None, clip: Path, tmp_path: Path) -> None:
    """What is lost is made there again, and results are told as they lie."""
    manifest, moved = write_catalog(tmp_path, clip, ["good", "bad"]), tmp_path / "moved"
    film = (tmp_path / "bad.mp4").read_bytes()
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(CatalogError):
        catalog.run(request(manifest))
    (tmp_path / "out").rename(moved)
    (tmp_path / "bad.mp4").write_bytes(film)
    record = catalog.retry(moved)
    assert record is not None
    assert record.videos["done"] == 1
    outputs = [Path(state.output) for state in catalog.status(moved)[1]]
    assert sorted(output.relative_to(moved).parts[0] for output in outputs) == ["bad", "good"]
    assert all(output.is_file() for output in outputs)
    assert not (tmp_path / "out").exists()


def test_a_lock_says_who_holds_it(tmp_path: Path) -> None:
    with RunLock(tmp_path, None, "", lambda: "film"):
        with pytest.raises(StoreBusyError, match=f"process {os.getpid()} on .*at hand: film"):
            RunLock(tmp_path, None, "", lambda: "film").__enter__()
        with pytest.raises(StoreBusyError, match=f"process {os.getpid()} on"):
            RunLock(tmp_path, "1/2", "", lambda: "").__enter__()
    with RunLock(tmp_path, "1/2", "", lambda: ""), RunLock(tmp_path, "2/2", "", lambda: ""):
        assert len(catalog.holders(tmp_path)) == 2
        with pytest.raises(StoreBusyError, match=f"process {os.getpid()} on"):
            RunLock(tmp_path, None, "", lambda: "").__enter__()
    assert catalog.holders(tmp_path) == []


def test_a_folder_that_cannot_be_locked_is_told_in_one_line(tmp_path: Path) -> None:
    holder_path(lock_path(tmp_path, None)).mkdir()
    for _ in range(2):  # and nothing stays locked
        with pytest.raises(StoreError, match="cannot be locked"):
            RunLock(tmp_path, None, "", lambda: "").__enter__()


def test_whether_another_users_run_goes_on_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(0o755)
    lock = lock_path(folder, None)
    lock.touch(0o644)
    descriptor = os.open(folder, os.O_RDONLY)
    theirs = Path(f"/proc/self/fd/{descriptor}/{lock.name}")
    try:
        with as_nobody():
            assert not is_held(theirs)
        with FileLock(lock), as_nobody():
            assert is_held(theirs)
    finally:
        os.close(descriptor)


def test_what_runs_on_other_machines_does_not_keep_what_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / STATE).mkdir()
    (tmp_path / STATE / "request.json").touch()
    here = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    running = [Holder(here.pid, platform.node(), "", ""), Holder(7, "elsewhere", "", "")]
    monkeypatch.setattr(catalog, "holders", lambda _: running if here.poll() is None else running[1:])
    assert catalog.cancel(tmp_path) == running[:1]
    assert here.wait() == -signal.SIGTERM
    assert "process 7 on elsewhere runs it; cancel it there" in capsys.readouterr().err
    with pytest.raises(RequestError, match="process 7 on elsewhere"):
        catalog.cancel(tmp_path)
