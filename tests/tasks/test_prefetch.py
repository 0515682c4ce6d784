"""Segments arrive in order, looked at; faults and early leaving end the reading thread."""

import threading
from pathlib import Path

import numpy as np
import pytest
import ray

from flows.environment import user_folder
from flows.request import build_request
from model.descriptor import ThumbnailDescriptor
from model.errors import VideoError
from model.segments import plan_segments
from model.shots import shots_from_cuts
from model.types import Segment
from storage.video import read_frames
from tasks.pool import start_embedder
from tasks.prefetch import prefetch
from tasks.weights import locate_weights
from tasks.work import Work, describe_work
from tests.clips import make_bad_input, make_clip


def work_on(video: Path) -> Work:
    nothing = {"window": {}, "retrieval": {}, "sampling": {}}
    fixed = {"video": video, "instruction": "x", "out": video.parent / "out", "weights": "untrained"}
    request, cache = build_request(fixed, nothing), video.parent / "cache"
    return describe_work(request, locate_weights("untrained", user_folder("cache")), "thumbnail", "cpu", cache)


def segments_of(work: Work) -> list[Segment]:
    return plan_segments(shots_from_cuts([25], work.info.frames), 17, 8)


def reading() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def see_nothing(segment: Segment, frames: object) -> None:
    return None


def test_each_segment_comes_with_its_frames_and_what_was_seen(cluster: None, tmp_path: Path) -> None:
    work = work_on(make_clip("silent", tmp_path))
    asked: list[int] = []
    embedder = start_embedder("thumbnail")

    def look(segment: Segment, frames: object) -> np.ndarray:
        asked.append(segment.index)
        return ray.get(embedder.describe.remote(frames))

    fetched = list(prefetch(work, segments_of(work), look))
    assert [one.segment for one in fetched] == segments_of(work)
    assert asked == [one.segment.index for one in fetched]
    for one in fetched:
        frames = np.stack(list(read_frames(work.info, one.segment.span, work.fit)))
        np.testing.assert_array_equal(ray.get(one.frames), frames)
        np.testing.assert_array_equal(one.looked, ThumbnailDescriptor().describe(frames))
    assert reading() == []


def test_leaving_early_stops_the_reading(cluster: None, tmp_path: Path) -> None:
    work = work_on(make_clip("silent", tmp_path))
    segments = prefetch(work, segments_of(work), see_nothing)
    next(segments)
    assert len(reading()) == 1
    segments.close()
    assert reading() == []


def test_a_fault_of_the_reading_is_raised_to_the_reader(cluster: None, tmp_path: Path) -> None:
    work = work_on(make_bad_input("scrambled", tmp_path))
    with pytest.raises(VideoError, match="damaged"):
        list(prefetch(work, segments_of(work), see_nothing))
    assert reading() == []


def test_a_fault_of_the_search_is_raised_to_the_reader(cluster: None, tmp_path: Path) -> None:
    work = work_on(make_clip("silent", tmp_path))

    def fail(segment: Segment, frames: object) -> None:
        raise ArithmeticError(f"segment {segment.index}")

    with pytest.raises(ArithmeticError, match="segment 0"):
        next(prefetch(work, segments_of(work), fail))
