"""The first frames of a clip of any size, as a training sample wants them: filled, cropped in the middle, upright."""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from model.errors import VideoError
from model.types import Span
from storage.datasets.pairs import Frames, Media, Pair
from storage.geometry import Box, Fit
from storage.picture import read_picture
from storage.probe import VideoInfo, probe
from storage.video import eight_bits, read_frames

SHORTEST = 5  # frames
STRIP, STRIP_HEIGHT = 8, 48  # pictures, and pixels
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def read_pair(pair: Pair, height: int, width: int, most: int) -> tuple[Frames, Frames]:
    """Frames of source and target: equally many, 4k+1 and at most `most`, and equally large.

    Raises:
        VideoError: one is damaged, of a kind that is refused, too short, or not of the other's orientation.
    """
    source, target = (_read_half(name, half, height, width, most) for name, half in _halves(pair))
    if source.shape[1:] != target.shape[1:]:
        raise VideoError(f"{pair.entry.id}: source and target are of different orientation; expected the same")
    length = (min(len(source), len(target)) - 1) // 4 * 4 + 1
    if length < SHORTEST:
        raise VideoError(f"{pair.entry.id}: {length} frames; expected at least {SHORTEST}")
    return source[:length], target[:length]


def draw_strip(pictures: tuple[Frames, Frames, Frames]) -> np.ndarray:
    """A row of small pictures: the source, the target, and every so often what follows it."""
    source, target, rest = pictures
    places = np.linspace(0, len(rest) - 1, STRIP - 2).astype(int) if len(rest) else []
    shown = [source[-1], target[-1], *(rest[place] for place in places)]
    width = round(STRIP_HEIGHT * source.shape[2] / source.shape[1])
    return np.concatenate([cv2.resize(each, (width, STRIP_HEIGHT), interpolation=cv2.INTER_AREA) for each in shown], 1)


def _halves(pair: Pair) -> Iterator[tuple[str, Media]]:
    yield "source", pair.source
    yield "target", pair.target


def _read_half(name: str, media: Media, height: int, width: int, most: int) -> Frames:
    """Says which half it was, where it has no name of its own."""
    try:
        return read_media(media, height, width, most)
    except VideoError as fault:
        raise VideoError(f"{name}: {fault}" if isinstance(media, Path) else f"{name}: {_nameless(fault)}") from None


def _nameless(fault: VideoError) -> str:
    """What a user is told of a member of an archive: the temporary file's name says nothing."""
    return str(fault).partition(": ")[2] or str(fault)


def read_media(media: Media, height: int, width: int, most: int) -> Frames:
    """At most `most` first frames, `height` x `width`; a portrait clip comes `width` x `height`.

    Raises:
        VideoError: it is damaged, or of a kind that is refused.
    """
    if isinstance(media, np.ndarray):
        return np.stack([_fill(frame, *_turned(frame.shape[:2], height, width)) for frame in media[:most]])
    if isinstance(media, Path):
        return _read_file(media, height, width, most)
    with tempfile.NamedTemporaryFile(prefix="memory-v2v-", suffix=".mp4") as file:
        file.write(media)
        file.flush()
        return _read_file(Path(file.name), height, width, most)


def _read_file(path: Path, height: int, width: int, most: int) -> Frames:
    if path.suffix.lower() in PICTURES:
        return _read_picture(path, height, width)
    info = probe(path)
    span = Span(0, min(most, info.frames))
    target = _turned((info.height, round(info.width * info.sample_aspect)), height, width)
    with closing(read_frames(info, span, _cover(info, *target))) as frames:
        return np.stack([_crop(eight_bits(frame), *target) for frame in islice(frames, most)])


def _read_picture(path: Path, height: int, width: int) -> Frames:
    picture = read_picture(path)
    return _fill(picture, *_turned(picture.shape[:2], height, width))[None]


def _turned(size: tuple[int, ...], height: int, width: int) -> tuple[int, int]:
    """The wanted size, swapped where the clip stands upright and the wanted size lies, or the other way round."""
    return (width, height) if (size[0] > size[1]) != (height > width) and height != width else (height, width)


def _cover(info: VideoInfo, height: int, width: int) -> Fit:
    """The smallest picture of the source's aspect that fills `height` x `width`."""
    aspect = float(info.width * info.sample_aspect / info.height)
    wide, tall = max(width, round(height * aspect)), max(height, round(width / aspect))
    wide, tall = wide + wide % 2, tall + tall % 2
    return Fit((info.width, info.height), Box(wide, tall, 0, 0), (wide, tall))


def _fill(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    scale = max(height / picture.shape[0], width / picture.shape[1])
    if scale != 1:
        size = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return _crop(picture, height, width)


def _crop(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]
