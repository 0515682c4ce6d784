"""What must not change reaches the encoder as it was decoded; what may, is the edit."""

import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.config import OutputConfig
from model.types import Span
from storage.geometry import Fit, fit
from storage.mask import find_mask
from storage.planes import layout_of, read_planes
from storage.probe import VideoInfo, probe
from storage.video import read_frames
from tasks.finishing import Finished, Finishing, ahead
from tests.clips import chart, run_ffmpeg

FRAMES = 8
BOX = (48, 32, 144, 96)  # left, top, right, bottom
MASK = "25%,25%,50%,50%"


def source(folder: Path, pixels: str) -> VideoInfo:
    path = folder / "film.mkv"
    run_ffmpeg(*chart("192x128", frames=FRAMES), "-pix_fmt", pixels, "-c:v", "ffv1", path)
    return probe(path)


def planes_of(info: VideoInfo) -> list[tuple[np.ndarray, ...]]:
    return list(read_planes(info, Span(0, FRAMES), layout_of(info), tone_map=False))


def edited(info: VideoInfo, canvas: Fit, change: float | np.ndarray) -> Iterator[np.ndarray]:
    for frame in read_frames(info, Span(0, FRAMES), canvas):
        yield (frame * (1 - change)).astype(frame.dtype)


def finish(info: VideoInfo, folder: Path, change: float | np.ndarray, **settings: object) -> tuple[VideoInfo, Finished]:
    """The lossless result of an edit that darkens everything."""
    output = OutputConfig.model_validate({"codec": "ffv1", **settings})
    canvas = fit(info, 64, 96)
    mask = find_mask(output.region.mask, info, folder) if output.region.mask else None
    path, told = Finishing(info, canvas, output, mask).write(edited(info, canvas, change), {0}, folder / "out.mkv")
    return probe(path), told


@pytest.mark.parametrize("transfer", ["upscale", "guided"])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le", "yuv444p"])
def test_outside_the_mask_is_the_source_to_the_bit(pixels: str, transfer: str, tmp_path: Path) -> None:
    info = source(tmp_path, pixels)
    result, told = finish(info, tmp_path, 0.5, region={"mask": MASK, "feather": 4}, transfer=transfer)
    assert result.pixels == pixels
    left, top, right, bottom = BOX
    for before, after in zip(planes_of(info), planes_of(result), strict=True):
        for was, now in zip(before, after, strict=True):
            rows, columns = 128 // was.shape[0], 192 // was.shape[1]
            box = slice(top // rows, bottom // rows), slice(left // columns, right // columns)
            inside = now[box].astype(int)
            outside = np.ones(was.shape, bool)
            outside[box] = False
            assert np.array_equal(now[outside], was[outside])
            assert np.abs(inside - was[box]).mean() > 3
    assert told.kept == pytest.approx(FRAMES * [0.75], abs=0.02)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])
def test_an_edit_that_changes_nothing_keeps_every_pixel(pixels: str, tmp_path: Path) -> None:
    info = source(tmp_path, pixels)
    result, told = finish(info, tmp_path, 0.02, region={"keep_unchanged": True})
    assert told.kept == FRAMES * [1.0]
    for before, after in zip(planes_of(info), planes_of(result), strict=True):
        assert all(np.array_equal(was, now) for was, now in zip(before, after, strict=True))


def test_mask_and_change_both_limit(tmp_path: Path) -> None:
    """The edit leaves the right half as it is, and so half of what the mask lets change."""
    info = source(tmp_path, "yuv420p")
    left = 0.5 * (np.arange(96) < 48)[None, :, None]
    masked = finish(info, tmp_path, left, region={"mask": MASK})[1].kept
    both = finish(info, tmp_path, left, region={"mask": MASK, "keep_unchanged": True})[1].kept
    assert all(more > some + 0.05 for more, some in zip(both, masked, strict=True))


def test_guided_is_nearer_to_the_edit_at_full_size(tmp_path: Path) -> None:
    info = source(tmp_path, "yuv420p")
    black = 16 + 0.5 * (np.stack([frame[0] for frame in planes_of(info)]) - 16.0)
    errors = {}
    for transfer in ("upscale", "guided"):
        result, told = finish(info, tmp_path, 0.5, transfer=transfer)
        errors[transfer] = np.square(np.stack([frame[0] for frame in planes_of(result)]) - black).mean()
        assert len(told.unexplained) == FRAMES
    assert errors["guided"] < errors["upscale"] / 4  # 6 dB


@pytest.mark.parametrize("transfer", ["upscale", "guided"])
def test_no_more_frames_are_held_than_are_worked_on(transfer: str, tmp_path: Path) -> None:
    """A video of an hour would not fit: none of its frames is kept for a reader that never comes."""
    run_ffmpeg(*chart("32x32", frames=120), "-c:v", "ffv1", tmp_path / "film.mkv")
    info, held = probe(tmp_path / "film.mkv"), []
    canvas = fit(info, 32, 32)
    output = OutputConfig.model_validate({"codec": "ffv1", "region": {"keep_unchanged": True}, "transfer": transfer})
    finishing = Finishing(info, canvas, output, None)
    whole = Span(0, info.frames)
    seen, made = ([(frame.copy()) for frame in read_frames(info, whole, canvas)] for _ in range(2))
    watched = [weakref.ref(frame, lambda _: held.append(1)) for frame in seen]
    sources = read_planes(info, whole, layout_of(info), tone_map=False)
    for number, _ in enumerate(finishing._gathered(iter(made), _handed_on(seen), sources, {0})):
        assert number + 1 - len(held) < 64  # `tee` keeps up to 57
    assert len(watched) == number + 1


def _handed_on(frames: list[np.ndarray]) -> Iterator[np.ndarray]:
    """One after the other, keeping none."""
    frames.reverse()
    while frames:
        yield frames.pop()


def test_jobs_come_back_in_order() -> None:
    def work(number: int) -> int:
        time.sleep(0.01 * (number % 3))
        return number

    assert list(ahead(work, range(12), 4)) == list(range(12))


def test_a_job_that_fails_ends_all() -> None:
    def work(number: int) -> float:
        return 1 / (2 - number)

    with pytest.raises(ZeroDivisionError):
        list(ahead(work, range(12), 3))
