"""The review page: one HTML file that shows a finished turn, from disk, without a network.

Source and result play in step; below them every segment with what it recalled, what it cost, and where the cuts are.
The page is told everything: it reads no video and no store. Whatever a user wrote is escaped, and the page's content
policy allows its own script and style only, by their hashes.
"""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path, PurePath
from urllib.parse import quote

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from model.types import Recall, Segment, Shot, Span
from storage.durable import publish

THUMBNAIL_SIZE = (176, 128)  # pixels at most, width and height; some 4 kB each, so 2,000 segments stay below 40 MB
THUMBNAIL_QUALITY = 70
ZERO = "00:00:00:00"


@dataclass(frozen=True)
class ReviewVideos:
    """The two videos that play in step: paths relative to the page, of files a browser can play (H.264 in MP4).

    Frame `n` of either is source frame `n`, shown at `n / rate` seconds; where the rate varies, at `times[n]` seconds,
    and `rate` is the mean. `timecode` is that of the first frame, `HH:MM:SS:FF`, or `HH:MM:SS;FF` for drop-frame; None
    counts from zero.
    """

    source: PurePath
    result: PurePath
    frames: int
    rate: Fraction
    timecode: str | None = None
    times: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for path in (self.source, self.result):
            assert not path.is_absolute(), f"the page can be moved only if {path} is relative to it"
        assert len(self.times) in (0, self.frames), f"{len(self.times)} times for {self.frames} frames"

    @property
    def seconds(self) -> float:
        return float(self.frames / self.rate)


@dataclass(frozen=True)
class ReviewSegment:
    """One segment as it is shown. `source` and `edited` are JPEG thumbnails; `seconds` is 0 where it was reused."""

    id: str
    segment: Segment
    source: bytes
    edited: bytes
    recalled: tuple[Recall, ...]
    seconds: float
    reused: bool


@dataclass(frozen=True)
class EarlierMemory:
    """A memory of an earlier turn of the session that some segment recalled; `edited` is its JPEG thumbnail."""

    id: str
    turn: int
    span: Span
    instruction: str
    edited: bytes


@dataclass(frozen=True)
class Turn:
    """What was asked for, and what it took. `seconds` is the wall clock of the whole run."""

    title: str
    instruction: str
    number: int
    seconds: float
    finished: datetime


@dataclass(frozen=True)
class Review:
    """Everything the page shows. `conversions` are sentences: what was changed on the way besides the edit itself.
    `camera` is an SVG of the camera path, where there is one.

    Every memory recalled is one of `segments` or of `earlier`.
    """

    turn: Turn
    videos: ReviewVideos
    shots: tuple[Shot, ...]
    segments: tuple[ReviewSegment, ...]
    earlier: tuple[EarlierMemory, ...] = ()
    conversions: tuple[str, ...] = ()
    settings: Mapping[str, str] | None = None
    camera: str | None = None

    def __post_init__(self) -> None:
        unknown = {memory.id for one in self.segments for memory in one.recalled} - self.names.keys()
        assert not unknown, f"recalled, but neither of this turn nor given as earlier: {sorted(unknown)}"

    @cached_property
    def names(self) -> dict[str, str]:
        """What each memory is called on the page, by its id."""
        here = {one.id: f"segment {one.segment.index + 1}" for one in self.segments}
        return {one.id: f"turn {one.turn}, frame {one.span.start}" for one in self.earlier} | here

    @property
    def edited(self) -> int:
        """Segments edited in this run; the others were found committed."""
        return sum(not one.reused for one in self.segments)

    @property
    def editing_seconds(self) -> float:
        """Seconds the model worked."""
        return sum((one.seconds for one in self.segments), 0.0)


def thumbnail(frame: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """A small JPEG of a frame, for the page."""
    image = Image.fromarray(frame)
    image.thumbnail(THUMBNAIL_SIZE, Image.Resampling.BOX, reducing_gap=None)
    packed = BytesIO()
    image.save(packed, "JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return packed.getvalue()


def write_review(review: Review, path: Path) -> Path:
    """Write the page to `path`, whole or not at all, piece by piece: it is never held in memory."""
    page = _ENVIRONMENT.get_template("review.html.j2").stream(
        review=review,
        state=_state(review),
        script_hash=_hash_of("review.js"),
        style_hash=_hash_of("review.css"),
    )
    page.enable_buffering(50)
    unfinished = path.with_name(f"{path.name}.partial")
    try:
        with unfinished.open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(page)
        publish(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _state(review: Review) -> dict[str, object]:
    """What the page's script needs to know."""
    videos = review.videos
    return {
        "frames": videos.frames,
        "rate": [videos.rate.numerator, videos.rate.denominator],
        "timecode": videos.timecode or ZERO,
        "times": [round(seconds, 6) for seconds in videos.times],
        "spans": [[one.segment.span.start, one.segment.span.stop] for one in review.segments],
    }


def _hash_of(name: str) -> str:
    """The hash by which the content policy lets a script or a style in, as `sha256-...`."""
    text = _ENVIRONMENT.get_template(name).render()
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()


def data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _svg_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _link(path: PurePath) -> str:
    """A relative link that no name can turn into another kind of address."""
    return "./" + quote(os.fsencode(path.as_posix()))


def _element_id(memory: str) -> str:
    """The id, within the page, of the card of a memory."""
    return "m-" + sha256(memory.encode()).hexdigest()[:12]


def _duration(seconds: float) -> str:
    """`0.42 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {"data_uri": data_uri, "svg_uri": _svg_uri, "link": _link, "element_id": _element_id, "duration": _duration}
    )
    return environment


_ENVIRONMENT = _environment()
