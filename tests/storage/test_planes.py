"""Planes keep every code value that nobody touches."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from model.types import Span
from storage.geometry import whole
from storage.planes import layout_of, read_planes
from storage.probe import probe
from storage.video import read_frames, write_planes
from tests.clips import HDR10, chart, make_clip, run_ffmpeg

FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le"]


def make(folder: Path, pixels: str, size: str = "96x64") -> Path:
    path = folder / f"{pixels}.mkv"
    run_ffmpeg(*chart(size, frames=3), "-pix_fmt", pixels, "-c:v", "ffv1", path)
    return path


def stored(path: Path) -> tuple[str, bytes]:
    """The pixel format of a file, and all bytes of its frames as they are decoded."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    rows = (np.frombuffer(plane, np.uint8).reshape(plane.height, -1) for frame in frames for plane in frame.planes)
    depth = max(component.bits for component in frames[0].format.components)
    widths = (plane.width * (2 if depth > 8 else 1) for frame in frames for plane in frame.planes)
    return frames[0].format.name, b"".join(row[:, :width].tobytes() for row, width in zip(rows, widths, strict=True))


@pytest.mark.parametrize("size", ["96x64", "97x65"])
@pytest.mark.parametrize("pixels", FORMATS)
def test_what_is_read_and_written_is_the_source_to_the_bit(pixels: str, size: str, tmp_path: Path) -> None:
    info = probe(make(tmp_path, pixels, size))
    layout = layout_of(info)
    assert layout.pixels == info.pixels == pixels
    frames = read_planes(info, Span(0, 3), layout, tone_map=False)
    assert stored(write_planes(frames, info, layout, tmp_path / "out.mkv", "ffv1")) == stored(info.path)


@pytest.mark.parametrize("kind", ["rotated_90", "interlaced", "hdr", "odd_size", "anamorphic", "full_range"])
def test_odd_clips_have_planes_of_their_upright_size(kind: str, tmp_path: Path) -> None:
    info = probe(make_clip(kind, tmp_path))
    layout = layout_of(info)
    frames = list(read_planes(info, Span(0, 4), layout, tone_map=True))
    assert len(frames) == 4
    assert [plane.shape for plane in frames[0]] == list(layout.shapes)
    assert layout.shapes[0] == (info.height, info.width)
    assert all(not np.array_equal(before[0], after[0]) for before, after in pairwise(frames))


@pytest.mark.parametrize("kind", ["plain", "bt601", "full_range", "ten_bit", "hdr"])
def test_rgb_becomes_the_planes_that_it_came_from(kind: str, tmp_path: Path) -> None:
    """Up to rounding, and to colours that RGB does not have."""
    info = probe(make_clip(kind, tmp_path))
    layout = layout_of(info)
    rgb = next(read_frames(info, Span(0, 1), whole(info), tone_map=True))
    planes = next(read_planes(info, Span(0, 1), layout, tone_map=True))
    luma = layout.from_rgb(rgb)[..., 0] * 255
    assert np.median(np.abs(luma - planes[0] * (255 / layout.peak))) < 0.6
    grey = np.full((1, 1, 3), np.iinfo(rgb.dtype).max, rgb.dtype)
    white = layout.levels[0][1]
    neutral = 2 ** (layout.bits - 1) / layout.peak
    np.testing.assert_allclose(layout.from_rgb(grey)[0, 0], [white, neutral, neutral], atol=1e-6)


def test_hdr_of_odd_size_is_tone_mapped(tmp_path: Path) -> None:
    path = tmp_path / "odd.mkv"
    tell = "setsar=1,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
    run_ffmpeg(*chart("96x64", frames=3), "-vf", f"{HDR10[0]},scale=65:47,{tell}", "-c:v", "ffv1", path)
    info = probe(path)
    layout = layout_of(info)
    assert (info.width, info.height, info.pixels, info.hdr) == (65, 47, "yuv420p10le", True)
    rgb = list(read_frames(info, Span(0, 3), whole(info), tone_map=True))
    planes = list(read_planes(info, Span(0, 3), layout, tone_map=True))
    assert {frame.shape for frame in rgb} == {(47, 65, 3)}
    assert all([plane.shape for plane in frame] == list(layout.shapes) for frame in planes)
