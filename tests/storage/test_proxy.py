"""Small copies: the frames of the video, from zero, with the sound that they can have."""

from pathlib import Path

import pytest

from storage.probe import probe
from storage.proxy import plays_in_browsers, write_proxy
from tests.clips import FRAMES, make_clip


@pytest.mark.parametrize("kind", ["start_offset_mp4", "transport_stream", "vfr"])
def test_a_copy_begins_at_zero_and_keeps_its_pace(kind: str, tmp_path: Path) -> None:
    video = probe(make_clip(kind, tmp_path))
    copy = write_proxy(video, tmp_path / "copy.mp4", sound=True)
    assert copy.pts[0] == 0
    assert plays_in_browsers(copy)
    times = [[(stamp - one.pts[0]) * one.time_base for stamp in one.pts] for one in (video, copy)]
    assert times[1] == pytest.approx(times[0], abs=1e-3)


def test_a_video_that_begins_later_needs_a_copy(tmp_path: Path) -> None:
    assert plays_in_browsers(probe(make_clip("plain", tmp_path)))
    assert not plays_in_browsers(probe(make_clip("start_offset_mp4", tmp_path)))


def test_sound_goes_with_it_where_it_can(tmp_path: Path) -> None:
    video = probe(make_clip("plain", tmp_path))
    assert [len(write_proxy(video, tmp_path / f"{sound}.mp4", sound=sound).audio) for sound in (False, True)] == [0, 1]
    assert video.frames == FRAMES
    pcm = probe(make_clip("drop_frame", tmp_path))
    assert pcm.audio
    assert write_proxy(pcm, tmp_path / "pcm.mp4", sound=True).audio == (), "MP4 does not hold it"
