"""The review page: one HTML file that shows a finished turn, from disk, without a network.

Source and result play in step; below them every segment with what it recalled, what it cost, and where the cuts are.
The page is told everything: it reads no video and no store. What it may do is said in `storage/page.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from itertools import groupby
from pathlib import Path, PurePath

from model.types import Merge, Recall, Segment, Shot, Span
from storage.durable import whole_file
from storage.ledger import Entry
from storage.page import write_page
from storage.store import find_finished, review_folder, review_path

POSTER = "poster.jpg"  # a small picture of the result, in the folder of its page


@dataclass(frozen=True)
class ReviewVideos:
    """The two videos that play in step: paths relative to the page, of files a browser can play (H.264 in MP4).

    Frame `n` of either is source frame `n`, shown at `n / rate` seconds; where the rate varies, at `times[n]` seconds,
    and `rate` is the mean. `timecode` is that of the first frame, `HH:MM:SS:FF`, or `HH:MM:SS;FF` for drop-frame; None
    counts from zero, or where no timecode counts such frames, tells the time. `sound` is whether the result has any.
    """

    source: PurePath
    result: PurePath
    frames: int
    rate: Fraction
    timecode: str | None = None
    times: tuple[float, ...] = ()
    sound: bool = True

    def __post_init__(self) -> None:
        for path in (self.source, self.result):
            assert not path.is_absolute(), f"the page can be moved only if {path} is relative to it"
        assert len(self.times) in (0, self.frames), f"{len(self.times)} times for {self.frames} frames"

    @property
    def seconds(self) -> float:
        return float(self.frames / self.rate)


@dataclass(frozen=True)
class ReviewSegment:
    """One segment as it is shown. `source` and `edited` are JPEG thumbnails; `seconds` is 0 where it was reused.

    `merges` are None where nobody kept them.
    """

    id: str
    segment: Segment
    source: bytes
    edited: bytes
    recalled: tuple[Recall, ...]
    seconds: float
    reused: bool
    merges: tuple[Merge, ...] | None

    @property
    def merged(self) -> dict[str, tuple[Merge, ...]]:
        """The merges by the id of the memory."""
        found = groupby(sorted(self.merges or (), key=lambda one: (one.memory, one.block)), lambda one: one.memory)
        return {self.recalled[memory].id: tuple(merges) for memory, merges in found}


@dataclass(frozen=True)
class ShownScores:
    """What was measured of the segment `index`: numbers by name, each worse the higher it is.

    `bounds` are the highest that pass, of those that have one; `flags` are sentences on what a person should look at.
    """

    index: int
    scores: Mapping[str, float]
    bounds: Mapping[str, float]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """One score along the video, as an SVG draws it: frames to the right, from 0 at `top` to 1 at the ground.

    `within` and `beyond` are paths of bars, of segments whose score is within its bound and beyond it; `limit` is where
    the bound is.
    """

    name: str
    worst: float
    bound: float | None
    limit: float | None
    within: str
    beyond: str


@dataclass(frozen=True)
class Replay:
    """The command that makes a turn again, and the settings of it that no option of the command names."""

    command: str
    unsaid: tuple[str, ...] = ()


@dataclass(frozen=True)
class EarlierMemory:
    """A memory of an earlier turn of the session, or an attempt of this one that was replaced, which some segment
    recalled; `edited` is its JPEG thumbnail."""

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
    `camera` is an SVG of the camera path, where there is one. `scores` may be of some segments, or of none.

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
    scores: tuple[ShownScores, ...] = ()
    replay: Replay | None = None

    def __post_init__(self) -> None:
        unknown = {memory.id for one in self.segments for memory in one.recalled} - self.names.keys()
        assert not unknown, f"recalled, but neither of this turn nor given as earlier: {sorted(unknown)}"

    @cached_property
    def names(self) -> dict[str, str]:
        """What each memory is called on the page, by its id; attempts of this turn that were replaced as such."""
        here = {one.id: f"segment {one.segment.index}" for one in self.segments}
        turns = {one.id: "replaced" if one.turn == self.turn.number else f"turn {one.turn}" for one in self.earlier}
        return {one.id: f"{turns[one.id]}, frame {one.span.start}" for one in self.earlier} | here

    @cached_property
    def scores_of(self) -> dict[int, ShownScores]:
        """Scores by the index of the segment."""
        return {one.index: one for one in self.scores}

    @property
    def flagged(self) -> list[int]:
        """Which of `segments` a person should look at."""
        flags = {one.index for one in self.scores if one.flags}
        return [at for at, one in enumerate(self.segments) if one.segment.index in flags]

    @cached_property
    def curves(self) -> tuple[Curve, ...]:
        """Every score that was measured, along the video."""
        names = dict.fromkeys(name for one in self.scores for name in one.scores)
        return tuple(_curve(self, name) for name in names)

    @property
    def edited(self) -> int:
        """Segments edited in this run; the others were found committed."""
        return sum(not one.reused for one in self.segments)

    @property
    def editing_seconds(self) -> float:
        """Seconds the model worked."""
        return sum((one.seconds for one in self.segments), 0.0)


def find_shown(folder: Path, id: str) -> Entry | None:
    """The ledger's entry of a finished video, if its file is whole and its page is there; else None."""
    done = find_finished(folder, id)
    return done if done and review_path(folder / done.path).is_file() else None


def write_poster(jpeg: bytes, video: Path) -> None:
    """Keep a picture of an edited video for the page of its catalog."""
    with whole_file(review_folder(video) / POSTER) as unfinished:
        unfinished.write_bytes(jpeg)


def write_review(review: Review, path: Path) -> Path:
    """Write the page to `path`, whole or not at all."""
    return write_page("review", path, review=review, state=_state(review))


def _state(review: Review) -> dict[str, object]:
    """What the page's script needs to know."""
    videos = review.videos
    return {
        "frames": videos.frames,
        "rate": [videos.rate.numerator, videos.rate.denominator],
        "timecode": videos.timecode,
        "times": [round(seconds, 6) for seconds in videos.times],
        "spans": [[one.segment.span.start, one.segment.span.stop] for one in review.segments],
        "flagged": review.flagged,
    }


def _curve(review: Review, name: str) -> Curve:
    """One bar a segment, up to where the next one begins."""
    measured = [one for one in review.scores if name in one.scores]
    bound = next((one.bounds[name] for one in measured if name in one.bounds), None)
    worst = max(one.scores[name] for one in measured)
    top = max(worst, 1.25 * (bound or 0.0)) or 1.0
    paths: dict[bool, list[str]] = {False: [], True: []}
    for index, start, stop in _columns(review):
        score = review.scores_of[index].scores.get(name) if index in review.scores_of else None
        if score is not None:
            beyond = score > review.scores_of[index].bounds.get(name, score)
            paths[beyond].append(f"M{start} 1V{1 - max(score, 0.0) / top:.3f}H{stop}V1z")
    limit = None if bound is None else round(1 - bound / top, 3)
    return Curve(name, worst, bound, limit, "".join(paths[False]), "".join(paths[True]))


def _columns(review: Review) -> Iterator[tuple[int, int, int]]:
    """Index, first frame and end of every segment, without what the next one shows too."""
    spans = [one.segment.span for one in review.segments]
    starts = [span.start for span in spans[1:]] + [review.videos.frames]
    for one, span, following in zip(review.segments, spans, starts, strict=True):
        yield one.segment.index, span.start, min(span.stop, following)
