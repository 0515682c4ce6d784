"""Colours survive the way in and out, whatever the tags."""

from pathlib import Path

import numpy as np
import pytest

from model.types import Span
from storage.encoding import Codec
from storage.geometry import fit
from storage.probe import probe
from storage.video import read_frames, write_video
from tests.clips import run_ffmpeg

CHART = np.array(
    [[16, 128, 235], [200, 40, 40], [40, 180, 60], [30, 60, 200], [128, 128, 128], [250, 245, 10]], np.uint8
)
TAGS = {
    "hd": ("bt709", "tv"),
    "sd": ("smpte170m", "tv"),
    "pal": ("bt470bg", "tv"),
    "full": ("bt709", "pc"),
    "untagged": (None, None),
}


def make_chart(folder: Path, tags: str) -> Path:
    """A lossless clip of flat patches, 64 pixels wide each, with a matrix and a range."""
    matrix, told_range = TAGS[tags]
    raw = folder / "chart.rgb"
    patches = np.repeat(np.repeat(CHART[None], 64, axis=1), 128, axis=0)
    raw.write_bytes(np.stack([patches] * 3).tobytes())
    path = folder / f"{tags}.mp4"
    convert = f"scale=in_range=pc:out_color_matrix={matrix or 'smpte170m'}:out_range={told_range or 'tv'}"
    tell = f"setparams=colorspace={matrix or 'unknown'}:range={told_range or 'unknown'}"
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{64 * len(CHART)}x128", "-i", raw)
    run_ffmpeg(*source, "-vf", f"{convert},format=yuv444p,{tell}", "-c:v", "libx264", "-qp", "0", path)
    return path


def patch_colours(path: Path) -> np.ndarray:
    info = probe(path)
    frame = next(read_frames(info, Span(0, 1), fit(info, info.height, info.width)))
    scale = 257 if frame.dtype == np.uint16 else 1
    return frame[64, 32::64].astype(int) // scale


@pytest.mark.parametrize("tags", TAGS)
def test_tagged_colours_are_read_as_meant(tags: str, tmp_path: Path) -> None:
    assert np.abs(patch_colours(make_chart(tmp_path, tags)) - CHART).max() <= 2


@pytest.mark.parametrize("tags", TAGS)
@pytest.mark.parametrize("codec", ["h264", "prores", "dnxhr", "ffv1"])
def test_a_flat_chart_survives_the_round_trip(tags: str, codec: Codec, tmp_path: Path) -> None:
    info = probe(make_chart(tmp_path, tags))
    canvas = fit(info, info.height, info.width)
    path = write_video(read_frames(info, Span(0, info.frames), canvas), info, canvas, tmp_path / "out.mp4", codec)
    assert np.abs(patch_colours(path) - patch_colours(info.path)).max() <= 2
    if codec == "h264":
        assert probe(path).colour == info.colour
