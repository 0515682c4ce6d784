"""Colours survive the way in and out, whatever the tags."""

from pathlib import Path

import numpy as np
import pytest

from model.types import Span
from storage.encoding import Codec
from storage.geometry import fit, whole
from storage.planes import layout_of, read_planes
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


@pytest.mark.parametrize("transfer", ["bt2020-10", "bt709"])
def test_wide_gamut_that_is_not_hdr_keeps_its_brightness(transfer: str, tmp_path: Path) -> None:
    """A grey is the same grey in every gamut; tone mapping would halve it."""
    path, grey = tmp_path / "wide.mkv", 192
    convert = f"zscale=tin=bt709:min=bt709:pin=bt709:rin=tv:t={transfer}:m=bt2020nc:p=bt2020:r=tv,format=yuv420p10le"
    tell = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc:range=tv"
    source = ("-f", "lavfi", "-i", f"color=c=0x{3 * f'{grey:02x}'}:size=64x48:rate=25,trim=end_frame=3")
    run_ffmpeg(*source, "-vf", f"{convert},{tell}", "-c:v", "ffv1", path)
    info = probe(path)
    assert info.hdr
    assert not info.colour.is_brighter
    rgb = next(read_frames(info, Span(0, 1), whole(info), tone_map=True))
    assert np.abs(rgb / 257 - grey).max() <= 2
    layout = layout_of(info)
    luma = next(read_planes(info, Span(0, 1), layout, tone_map=True))[0]
    assert np.abs(luma - layout.from_rgb(rgb)[..., 0] * layout.peak).max() <= 4  # of 1023
