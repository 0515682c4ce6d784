"""What marks where a video may change: a rectangle, a picture, or a video of as many frames. White may change.

Masks come from anybody, and are opened behind the same locks as videos. Knows nothing of edits nor of soft edges.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from model.errors import RequestError, VideoError
from model.region import marks_anything
from model.types import Span
from storage.colour import SCALER
from storage.content_id import hash_source, identify
from storage.decoding import decode_raw
from storage.picture import FORMATS, is_picture, read_picture
from storage.probe import VideoInfo, probe
from storage.rectangle import read_rectangle

Grey = UInt8[np.ndarray, "row column"]
SHAPE_SLACK = 0.02  # by which a mask's shape may differ from the video's


@dataclass(frozen=True)
class Mask:
    """A mask for one video; `id` names what it marks. Either a `still` of the video's size, or a `video`."""

    id: str
    still: Grey | None = None
    video: VideoInfo | None = None

    def read(self, like: VideoInfo) -> Iterator[Grey]:
        """The mask of each frame of `like`, at its full size; a still is one array again and again.

        Raises:
            VideoError: a frame does not decode.
        """
        if self.still is not None:
            yield from repeat(self.still, like.frames)
        elif self.video is not None:
            yield from _read(self.video, like.height, like.width)

    def require_marks(self) -> None:
        """Decode the whole mask.

        Raises:
            VideoError: a frame does not decode.
            RequestError: it marks nothing in any frame.
        """
        if self.video is not None:
            marked = [marks_anything(frame) for frame in _read(self.video, self.video.height, self.video.width)]
            _require(any(marked), self.video.path)


def find_mask(text: str, info: VideoInfo, cache: Path) -> Mask:
    """The mask that a user names for a video: `X,Y,W,H` in pixels or percent of its upright picture, or a file.

    Raises:
        RequestError: the rectangle leaves the picture, or the mask marks nothing, has another shape or other frames.
        VideoError: the file is missing, unreadable, or neither a picture nor a video of an accepted kind.
    """
    if sides := read_rectangle(text, info.width, info.height):
        return _rectangle(sides, info)
    path = Path(text)
    try:
        return _still(path, info, cache) if is_picture(path) else _moving(path, info, cache)
    except VideoError as fault:
        wanted = f"expected X,Y,W,H, a picture ({', '.join(FORMATS)}), or a video of {info.frames} frames"
        raise VideoError(f"--mask {fault}; {wanted}") from None


def _rectangle(sides: tuple[int, int, int, int], info: VideoInfo) -> Mask:
    left, top, right, bottom = sides
    still = np.zeros((info.height, info.width), np.uint8)
    still[top:bottom, left:right] = 255
    return Mask(identify({"rectangle": sides}), still)


def _still(path: Path, info: VideoInfo, cache: Path) -> Mask:
    grey = cv2.cvtColor(read_picture(path), cv2.COLOR_RGB2GRAY)
    _require(marks_anything(grey), path)
    _require_shape(path, grey.shape[1], grey.shape[0], info)
    smaller = grey.shape[0] > info.height
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return Mask(hash_source(path, cache), cv2.resize(grey, (info.width, info.height), interpolation=how))


def _moving(path: Path, info: VideoInfo, cache: Path) -> Mask:
    mask = probe(path)
    if mask.frames != info.frames:
        raise RequestError(f"--mask {path}: has {mask.frames} frames, {info.path.name} has {info.frames}")
    _require_shape(path, mask.width, mask.height, info)
    return Mask(hash_source(path, cache), video=mask)


def _require(marked: bool, path: Path) -> None:
    if not marked:
        raise RequestError(f"--mask {path}: marks nothing: it is black; what may change must be white")


def _require_shape(path: Path, width: int, height: int, info: VideoInfo) -> None:
    shown = info.width * info.sample_aspect / info.height
    if all(abs(width / height / shape - 1) > SHAPE_SLACK for shape in (info.width / info.height, shown)):
        size = f"{info.width}x{info.height}"
        raise RequestError(f"--mask {path}: is {width}x{height}, which is not the shape of the video ({size})")


def _read(mask: VideoInfo, height: int, width: int) -> Iterator[Grey]:
    filters = [f"scale={width}:{height}:{SCALER}:in_range={mask.colour.range or 'tv'}:out_range=pc", "format=gray"]
    with closing(decode_raw(mask, Span(0, mask.frames), filters, "gray", height * width)) as frames:
        for frame in frames:
            yield frame.reshape(height, width)
