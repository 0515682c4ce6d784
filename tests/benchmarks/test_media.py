"""From file to file: the same pictures as one ffmpeg makes, at not much more than its cost."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.media import Clip, generate, measure
from model.types import Span
from storage.geometry import whole
from storage.video import read_frames

CLIP = Clip(640, 360, 48)


@pytest.mark.parametrize("way", ["rgb", "planes", "model"])
def test_a_file_costs_about_what_ffmpeg_alone_asks_for_it(way: str) -> None:
    figures = measure(CLIP, [way], repetitions=3)[way]
    assert figures["same_pictures"]
    assert figures["processor"]["low"] < 1.5
    assert figures["ratio"]["high"] > 0.5


def test_deep_pictures_are_the_same_too() -> None:
    assert measure(Clip(320, 180, 12, "yuv420p10le"), ["rgb"], repetitions=1)["rgb"]["same_pictures"]


def test_frames_that_need_no_padding_are_handed_on_as_they_came(tmp_path: Path) -> None:
    info = generate(Clip(64, 48, 3), tmp_path / "clip.mp4")
    for frame in read_frames(info, Span(0, 3), whole(info)):
        assert isinstance(frame.base, np.ndarray), "a copy has no base"
