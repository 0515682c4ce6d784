"""Masks of every kind mark what they show, and those that cannot be are refused in one line."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.errors import InputError, RequestError
from storage.mask import Mask, find_mask
from storage.probe import VideoInfo, probe
from storage.rectangle import mask_file
from tests.clips import run_ffmpeg

FRAMES, SIZE = 6, (96, 64)


def clip(path: Path, picture: str, frames: int = FRAMES, size: tuple[int, int] = SIZE) -> Path:
    """A clip drawn by one of ffmpeg's sources."""
    source = f"{picture}{':' if '=' in picture else '='}size={size[0]}x{size[1]}:rate=25,trim=end_frame={frames}"
    run_ffmpeg("-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-c:v", "libx264", path)
    return path


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return probe(clip(tmp_path_factory.mktemp("video") / "film.mp4", "testsrc2"))


def marked(mask: Mask, info: VideoInfo) -> np.ndarray:
    frames = np.stack(list(mask.read(info)))
    assert frames.shape == (FRAMES, info.height, info.width)
    return frames > 127


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("10,20,30,40", (10, 20, 40, 60)),
        (" 25%, 50% ,50%,50%", (24, 32, 72, 64)),
        ("0,0,100%,100%", (0, 0, 96, 64)),
        ("12.5%,0,10,100%", (12, 0, 22, 64)),
    ],
)
def test_rectangles(text: str, box: tuple[int, int, int, int], info: VideoInfo, tmp_path: Path) -> None:
    left, top, right, bottom = box
    wanted = np.zeros((FRAMES, 64, 96), bool)
    wanted[:, top:bottom, left:right] = True
    assert np.array_equal(marked(find_mask(text, info, tmp_path), info), wanted)


def write_still(path: Path, size: tuple[int, int] = SIZE, value: int = 255) -> Path:
    picture = np.zeros((size[1], size[0]), np.uint8)
    picture[:, : size[0] // 2] = value
    Image.fromarray(picture).save(path)
    return path


@pytest.mark.parametrize("name", ["m.png", "m.jpg", "m.webp", "m.bmp", "mask.of.no.kind.png"])
@pytest.mark.parametrize("factor", [1, 3])
def test_stills_of_any_size(name: str, factor: int, info: VideoInfo, tmp_path: Path) -> None:
    mask = find_mask(str(write_still(tmp_path / name, (96 * factor, 64 * factor))), info, tmp_path)
    found = marked(mask, info)
    assert found[:, :, :44].all()
    assert not found[:, :, 52:].any()


def test_videos_mark_each_frame(info: VideoInfo, tmp_path: Path) -> None:
    """White comes in the last three frames only."""
    path = clip(tmp_path / "mask.mp4", "color=white", size=(48, 32))
    late = tmp_path / "late.mkv"
    run_ffmpeg("-i", path, "-vf", "drawbox=color=black:t=fill:enable='lt(n,3)'", "-c:v", "libx264", late)
    mask = find_mask(str(late), info, tmp_path)
    mask.require_marks()
    found = marked(mask, info)
    assert not found[:3].any()
    assert found[3:].all()


def test_a_mask_is_named_by_what_it_marks(info: VideoInfo, tmp_path: Path) -> None:
    half, other = write_still(tmp_path / "a.png"), write_still(tmp_path / "b.png")
    names = {text: find_mask(text, info, tmp_path).id for text in (str(half), str(other), "0,0,48,64", "0,0,50%,100%")}
    assert names[str(half)] == names[str(other)]
    assert names["0,0,48,64"] == names["0,0,50%,100%"]
    write_still(half, value=200)
    assert find_mask(str(half), info, tmp_path).id != names[str(other)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("90,0,10,10", "leaves the picture of 96x64"),
        ("0,60%,10%,41%", "leaves the picture"),
        ("5,5,0,10", "marks nothing"),
        ("1,2,3", "does not exist; expected X,Y,W,H, a picture"),
        ("-1,0,5,5", "does not exist"),
        ("black.png", "marks nothing: it is black"),
        ("square.png", "is 64x64, which is not the shape of the video (96x64)"),
        ("short.mp4", "has 5 frames, film.mp4 has 6"),
        ("text.png", "not a video of an accepted kind"),
        ("torn.png", "is a damaged picture"),
        ("empty.png", "is empty"),
        (".", "is a folder"),
    ],
)
def test_what_cannot_be_a_mask_is_one_line(
    text: str, said: str, info: VideoInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_still(Path("black.png"), value=9)
    write_still(Path("square.png"), (64, 64))
    Path("torn.png").write_bytes(write_still(Path("whole.png")).read_bytes()[:60])
    Path("text.png").write_text("no picture")
    Path("empty.png").touch()
    clip(Path("short.mp4"), "testsrc2", 5)
    with pytest.raises(InputError, match=r"^--mask ") as caught:
        find_mask(text, info, tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_video_that_marks_nothing_is_refused_when_it_is_decoded(info: VideoInfo, tmp_path: Path) -> None:
    mask = find_mask(str(clip(tmp_path / "black.mp4", "color=black")), info, tmp_path)
    with pytest.raises(RequestError, match="marks nothing"):
        mask.require_marks()


def test_anamorphic_videos_take_masks_of_either_shape(info: VideoInfo, tmp_path: Path) -> None:
    wide = VideoInfo(**{**vars(info), "sample_aspect": Fraction(2)})
    for size in (SIZE, (192, 64)):
        assert find_mask(str(write_still(tmp_path / "m.png", size)), wide, tmp_path).still is not None


def test_paths_are_relative_to_a_folder() -> None:
    assert mask_file("10%,0,5,5", Path("/catalog")) is None
    assert mask_file("masks/a.png", Path("/catalog")) == Path("/catalog/masks/a.png")
    assert mask_file("/b.png", Path("/catalog")) == Path("/b.png")
