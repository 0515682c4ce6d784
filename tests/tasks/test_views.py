"""The name of a turn follows from all that decides its pixels, and from nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.environment import user_folder
from flows.request import build_view_request
from model.camera.fov import video_fov
from model.config import ViewRequest
from model.errors import RequestError
from model.types import Segment, Span
from storage.ledger import TurnPlace
from storage.views import ViewStore
from tasks.ingest import VideoPlan
from tasks.prefetch import FetchedSegment
from tasks.views import ORIGIN, ViewCall, ViewTurn, describe_call, recall_views
from tasks.weights import NOVEL_VIEWS, locate_weights
from tests.clips import make_clip
from tests.storage.memories import keys_of, make_latents
from tests.storage.test_views import LENS, make_view

PLACE = TurnPlace(1, dict(enumerate(keys_of("holiday"))))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("views")


def describe(home: Path, *cameras: str, top_k: int = 5, **options: object) -> ViewCall:
    fixed = {"video": make_clip("silent", home), "cameras": cameras, "out": home / "out", "weights": "untrained"}
    choices = {"window": {}, "retrieval": {"top_k": top_k}, "sampling": {}}
    request: ViewRequest = build_view_request({**fixed, **options}, choices)
    weights = locate_weights("untrained", user_folder("cache"), NOVEL_VIEWS)
    return describe_call(request, weights, "cpu", home / "cache")


def names(call: ViewCall) -> list[str]:
    return [call.turn(camera, call.video).fingerprint for camera in call.cameras]


def test_a_turn_has_one_name_whatever_stands_beside_it(home: Path) -> None:
    both, one = describe(home, "pan-left", "arc-right"), describe(home, "arc-right", wait=0.0, out=home / "elsewhere")
    assert both.session == one.session
    assert names(both)[1] == names(one)[0] != names(both)[0]


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"instruction": "snow"}, {"fov": 60.0}, {"recall": "none"}, {"top_k": 2}, {"session": "s"}]
)
def test_what_decides_pixels_decides_the_name(change: dict[str, object], home: Path) -> None:
    assert names(describe(home, "pan-left", **change)) != names(describe(home, "pan-left"))  # type: ignore[arg-type]


def test_in_a_chain_the_source_decides_the_name(home: Path) -> None:
    call = describe(home, "pan-left", session="s", chain=True)
    again = call.turn(call.cameras[0], replace(call.video, id="the result of another turn"))
    assert again.fingerprint != names(call)[0] == names(describe(home, "pan-left", session="s"))[0]
    assert again.video_id == call.video.id != again.source_id


def test_a_mistake_in_any_camera_is_told_before_anything_is_made(home: Path) -> None:
    with pytest.raises(RequestError, match="pan-sideways"):
        describe(home, "pan-left", "pan-sideways")
    assert not (home / "out").exists()


def test_a_short_segment_sees_its_part_and_is_told_its_cameras(home: Path, tmp_path: Path) -> None:
    call = describe(home, "pan-right")
    work, store = call.turn(call.cameras[0], call.video), ViewStore(tmp_path)
    segment = Segment(3, 0, Span(53, 60), 9)
    turn = ViewTurn(VideoPlan(work, (), (segment,)), PLACE, store)
    prepared = turn.prepare(FetchedSegment(segment, None, turn.look(segment, None, range(3))), [], range(3), None)
    path, whole = prepared.job.trajectory, work.path.poses
    assert path is not None
    np.testing.assert_array_equal(path.poses, np.concatenate([whole[53:60], whole[[59, 59]]]))
    assert prepared.row.recalled == ()


def test_rows_on_their_way_count_as_if_they_had_arrived(home: Path, tmp_path: Path) -> None:
    call = describe(home, "pan-right", session="holiday", top_k=3)
    work = call.turn(call.cameras[0], call.video)
    mine = [replace(make_view(number, video=call.video.id), model=call.model_id) for number in range(4)]
    other_shot = replace(make_view(4, turn=0, video=call.video.id, shot=1), model=call.model_id)
    other_model = make_view(3, turn=0, video=call.video.id)
    segment = Segment(4, 0, Span(36, 45), 9)
    ids = []
    for stored in (0, 2, 4):
        store = ViewStore(tmp_path / str(stored))
        for row in [*mine[:stored], other_shot, other_model]:
            store.remember(row, *make_latents(row.segment))
        turn = ViewTurn(VideoPlan(work, (), (segment,)), PLACE, store)
        fetched = FetchedSegment(segment, None, turn.look(segment, None, range(4)))
        ids.append(turn.prepare(fetched, [*mine, other_model], range(4), None).row.recalled)
    assert ids[0] == ids[1] == ids[2]
    assert len(ids[0]) == 3
    assert {other_shot.id, other_model.id}.isdisjoint(ids[0])


def test_of_equal_views_the_same_moment_goes_first_then_the_latest(home: Path) -> None:
    request = describe(home, "pan-left", top_k=3).request
    row = make_view(1, turn=9)
    same = {"trajectory": row.trajectory, "seen": row.seen}
    known = [replace(make_view(segment, turn=turn), **same) for turn in (1, 2) for segment in (0, 1)]
    target = video_fov(row.cameras, LENS, ORIGIN)
    for order in (known, known[::-1]):
        made = [one.id for one in recall_views(order, row.start, target, request.retrieval, request.recall, row.seed)]
        assert made == [known[3].id, known[1].id, known[2].id]
