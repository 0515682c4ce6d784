"""Editors start anew when it is time, and are given up when they do not come back; the Embedder has its threads."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest
import ray
import torch
from transformers import Dinov2Config, Dinov2Model

from model.backbones.tiny import build_tiny_lucy_edit
from model.config import EditConfig, FaultPolicy, SpeedConfig
from model.errors import LostActorError, LostEditorError, RequestError, WeightsError
from model.rehearsal import write_rehearsal
from tasks.actors.editor import EditJob, Editor
from tasks.editor_handle import EditorHandle, SegmentError, is_due
from tasks.pool import EditorPool, descriptor_of, require_room, start_editors, start_embedder
from tests.waiting import end, wait_for


@pytest.fixture
def weights(tmp_path: Path) -> str:
    write_rehearsal(tmp_path / "rehearsal", 0.01)
    return str(tmp_path / "rehearsal")


def edit_once(editor: EditorHandle) -> int:
    """Edit a segment; returns the Editor's process."""
    job = EditJob("make it night", 5, 1, (), None, EditConfig())
    frames = ray.put(np.zeros((5, 64, 64, 3), np.uint8))
    pixels, _, seconds, merged = editor.edit(frames, job, [], lambda share: None)
    assert pixels.shape == (5, 64, 64, 3)
    assert seconds > 0
    assert not merged, "a rehearsal merges nothing"
    return ray.get(editor.actor.load.remote())


def answer_on(actor: Any, times: int) -> None:
    """Ask an actor again and again: one that was killed may answer once more before it is gone."""
    for _ in range(times):
        ray.get(actor.load.remote(), timeout=60)
        time.sleep(1)


def processes(pool: EditorPool, leases: int) -> list[int]:
    found = []
    for _ in range(leases):
        with pool.lease() as editor:
            found.append(edit_once(editor))
    pool.close()
    return found


def test_an_editor_stays_as_long_as_it_may(cluster: None, weights: str) -> None:
    assert len(set(processes(start_editors(weights, "float32", "cpu"), 3))) == 1


def test_a_speed_that_a_machine_has_not_is_told_when_it_loads(cluster: None, tmp_path: Path) -> None:
    folder = build_tiny_lucy_edit(tmp_path)
    pool = start_editors(str(folder), "float32", "cpu", speed=SpeedConfig(attention="sage"))
    with pytest.raises(RequestError) as told, pool.lease():
        pass
    assert str(told.value).startswith("attention 'sage': does not work here"), "no traceback is in its words"
    assert "\n" not in str(told.value)
    pool.close()


def test_a_rehearsal_has_more_editors_than_cores(cluster: None, weights: str) -> None:
    count = int(ray.cluster_resources()["CPU"]) + 2
    pool = start_editors(weights, "float32", "cpu", count, FaultPolicy(load_seconds=400))
    with ExitStack() as leases:
        at_work = {edit_once(leases.enter_context(pool.lease())) for _ in range(count)}
    pool.close()
    assert len(at_work) == count


def test_a_long_segment_is_looked_at_less_and_less_often(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rehearsal(tmp_path / "slow", 3.0)
    job, frames = EditJob("make it night", 5, 1, (), None, EditConfig()), ray.put(np.zeros((5, 64, 64, 3), np.uint8))
    shares: list[float] = []
    pauses: list[float] = []
    wait = ray.wait

    def watched(*given: Any, timeout: float, **options: Any) -> Any:
        pauses.append(timeout)
        return wait(*given, timeout=timeout, **options)

    monkeypatch.setattr(ray, "wait", watched)
    pool = start_editors(str(tmp_path / "slow"), "float32", "cpu")
    with pool.lease() as editor:
        editor.edit(frames, job, [], shares.append)
    pool.close()
    assert shares
    assert shares == sorted(shares)
    assert pauses == [min(0.5 * 2**number, 2.0) for number in range(len(pauses))]
    assert len(shares) < len(pauses)


def test_an_editor_starts_anew_after_so_many_segments(cluster: None, weights: str) -> None:
    policy = FaultPolicy(recycle_after=2)
    first, second, third = processes(start_editors(weights, "float32", "cpu", policy=policy), 3)
    assert first == second != third


def test_an_editor_that_grows_is_due(cluster: None, weights: str) -> None:
    policy = FaultPolicy(growth=1.5, recycle_after=10)
    assert [is_due(9, growth, policy) for growth in (1.0, 1.5, 1.51)] == [False, False, True]
    pool = start_editors(weights, "float32", "cpu")
    with pool.lease() as editor:
        edit_once(editor)
        segments, held = ray.get(editor.actor.condition.remote())
    assert segments == 1
    assert held > 10**6, "a process holds more than that"
    pool.close()


def test_an_editor_that_does_not_come_back_is_given_up(cluster: None, weights: str) -> None:
    with start_editors(weights, "float32", "cpu").lease() as editor:
        gone = editor.actor
    end(gone)
    pool = EditorPool(lambda: gone, 1, FaultPolicy(load_seconds=0.5))
    for _ in range(2):
        with pytest.raises(LostActorError, match="no Editor is left"), pool.lease():
            pass


def test_an_editor_that_dies_as_it_makes_room_fails_the_attempt(cluster: None, weights: str) -> None:
    pool = start_editors(weights, "float32", "cpu")
    with pool.lease() as editor:
        end(editor.actor)
        with pytest.raises(SegmentError, match="the model's process died") as told:
            editor.offload()
    assert told.value.kind == "death"
    pool.close()


def test_one_of_two_that_is_lost_at_work_is_not_leased_again(cluster: None, weights: str) -> None:
    pool, impatient = start_editors(weights, "float32", "cpu", 2), FaultPolicy(load_seconds=2)
    with pool.lease() as first, pool.lease() as second:
        pass
    with pool.lease() as lost:
        lost._policy = impatient  # only now, as the first start may take as long as it likes
        end(lost.actor)
        with pytest.raises(LostEditorError):
            lost.load()
    (left,) = {first, second} - {lost}
    for _ in range(3):
        with pool.lease() as editor:
            assert editor is left
    left._policy = impatient
    end(left.actor)
    with pytest.raises(LostActorError, match="no Editor is left"), pool.lease():
        pass


def test_an_editor_whose_model_is_gone_goes_back_and_tells_the_next(cluster: None, weights: str) -> None:
    """Whoever waited for it would wait for ever."""
    pool = start_editors(weights, "float32", "cpu")
    with pool.lease() as editor:
        rmtree(weights)
        editor.restart()
        with pytest.raises(LostEditorError, match=f"does not load any more: .*{weights}"):
            editor.load()
    for _ in range(2):
        with (
            pytest.raises(LostActorError, match=f"no Editor is left .*does not load any more: .*{weights}"),
            pool.lease(),
        ):
            pass
    pool.close()


def test_a_model_that_never_loaded_is_the_affair_of_all(cluster: None, tmp_path: Path) -> None:
    """It is wrong, not an Editor: who mends it need not wait for all of them to be lost."""
    folder = build_tiny_lucy_edit(tmp_path)
    rmtree(folder / "transformer")
    pool = start_editors(str(folder), "float32", "cpu")
    for _ in range(2):
        with pytest.raises(WeightsError), pool.lease():
            pass
    pool.close()


def test_one_of_two_whose_model_does_not_load_any_more_is_lost(
    cluster: None, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where its card has no room left. The others go on, and whoever waits is told."""
    pool = start_editors(weights, "float32", "cpu", 2)
    with pool.lease() as lost, pool.lease() as left:
        edit_once(left)
        rmtree(weights)
        lost.restart()

    def is_given_up() -> bool:
        with pool.lease() as editor:
            assert editor is left
            edit_once(editor)
        return lost.is_lost

    wait_for(is_given_up)
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("an Editor does not load any more: ")
    assert told.endswith("; 1 of 2 are left")
    pool.close()


def test_an_editor_that_made_room_starts_anew(cluster: None, weights: str) -> None:
    """Its weights would come and go at every step of all videos that follow."""
    pool = start_editors(weights, "float32", "cpu")
    with pool.lease() as editor:
        first = edit_once(editor)
        editor.offload()
    with pool.lease() as editor:
        second = edit_once(editor)
    assert processes(pool, 1) == [second] != [first], "once is enough"


def spoil(actor: Any) -> None:
    """From now on the process cannot even say what it holds."""
    object.__setattr__(actor._model.result(), "held_bytes", lambda: 1 / 0)


def test_an_editor_that_cannot_tell_how_it_is_starts_anew(cluster: None, weights: str) -> None:
    pool = start_editors(weights, "float32", "cpu")
    with pool.lease() as editor:
        first = edit_once(editor)
        ray.get(editor.actor.__ray_call__.remote(spoil))
    assert processes(pool, 1) != [first]


def test_more_editors_than_there_is_room_for_are_refused(cluster: None, tmp_path: Path) -> None:
    folder, cores = build_tiny_lucy_edit(tmp_path), int(ray.cluster_resources()["CPU"])
    with pytest.raises(RequestError, match=f"editors {cores + 1}: this machine has room for {cores}, one CPU each"):
        start_editors(str(folder), "float32", "cpu", cores + 1)
    with pytest.raises(RequestError, match=r"editors 1: this machine has room for 0, one GPU each.*--device cpu"):
        start_editors(str(folder), "float32", "cuda", 1)
    write_rehearsal(tmp_path / "rehearsal", 0.0)
    require_room(str(tmp_path / "rehearsal"), "cuda", cores + 1)


def test_a_spare_editor_that_is_not_there_yet_stays_for_others(
    cluster: None, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = int(ray.cluster_resources()["CPU"])
    needs = [cores + 1, 0, 0]  # Ray has no room for the first
    pool = EditorPool(lambda: Editor.options(num_cpus=needs.pop(0)).remote(weights, "float32", "cpu"), 3, FaultPolicy())
    with pool.lease(), pool.lease():  # the other two are loaded, however long that takes
        pass
    monkeypatch.setattr("tasks.pool.SPARE_SECONDS", 1.0)
    for _ in range(2):
        with pool.lease(), pool.lease_spare() as spare:
            assert spare is not None, "it stands in nobody's way"
            with pool.lease_spare() as absent:
                assert absent is None
        assert pool.spare == 3, "it stays for others"
    pool.close()


def test_who_asks_for_a_spare_editor_never_waits(cluster: None, weights: str) -> None:
    """Two videos that fan out at once would else wait for each other for ever."""
    pool = start_editors(weights, "float32", "cpu", count=2)
    with pool.lease(), pool.lease_spare() as spare:
        assert spare is not None
        assert pool.leased == 1, "a spare one is nobody's own"
        with pool.lease_spare() as none_left:
            assert none_left is None
    assert pool.leased == 0
    pool.expected = lambda: 2
    with pool.lease_spare() as needed:
        assert needed is None, "two videos are about to need both"
    pool.close()


def test_the_end_of_a_run_is_no_fault_of_a_segment(cluster: None, tmp_path: Path) -> None:
    write_rehearsal(tmp_path / "slow", 60.0)
    pool = start_editors(str(tmp_path / "slow"), "float32", "cpu")
    with pool.lease() as editor, ThreadPoolExecutor(1) as thread:
        editing = thread.submit(edit_once, editor)
        wait_for(lambda: editing.done() or ray.get(editor.actor.progress.remote()) != (0, 0))
        pool.close()
        with pytest.raises(LostActorError, match="the run was ended"):
            editing.result()


def test_time_at_work_and_waits_are_counted(cluster: None, weights: str) -> None:
    pool = start_editors(weights, "float32", "cpu")
    with pool.lease() as editor:
        for _ in range(4):
            edit_once(editor)
    usage = pool.usage
    assert (usage.segments, len(usage.waits)) == (4, 3)
    assert usage.first is not None
    assert usage.last is not None
    assert usage.busy + sum(usage.waits) == pytest.approx(usage.last - usage.first, rel=0.01)
    assert usage.utilisation(1) == pytest.approx(usage.busy / (usage.last - usage.first))
    pool.close()


def test_editors_that_rest_hold_nothing(cluster: None, weights: str) -> None:
    """Two runs on one GPU would else wait for each other: one for the folder, one for the Editor."""
    pool = start_editors(weights, "float32", "cpu")
    with pool.lease() as editor:
        first, actor = edit_once(editor), editor.actor
    with pool.resting(), pytest.raises(ray.exceptions.RayActorError):
        answer_on(actor, 60)
    assert processes(pool, 1) != [first]


def save_dinov2(folder: Path) -> None:
    tiny = Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=56, mlp_ratio=1)
    Dinov2Model(tiny).save_pretrained(folder)


def test_the_embedder_takes_the_cores_that_gpus_leave_idle(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_dinov2(tmp_path)
    threads, cores = [], len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for device in ("cpu", "cuda"):
        embedder = start_embedder(str(tmp_path), device)
        descriptor_of(embedder)
        threads.append(ray.get(embedder.__ray_call__.remote(lambda actor: torch.get_num_threads())))
        ray.kill(embedder)
    assert threads == [1, min(3, cores)], "torch takes no more than there are"


def test_the_embedder_takes_no_core_that_it_is_not_bound_to(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may run elsewhere than the driver, or in a container with a part of the machine."""
    save_dinov2(tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    embedder = start_embedder(str(tmp_path), "cuda")
    ray.get(embedder.__ray_call__.remote(lambda _: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})))
    descriptor_of(embedder)
    assert ray.get(embedder.__ray_call__.remote(lambda _: os.environ["OMP_NUM_THREADS"])) == "1"
    ray.kill(embedder)
