"""Whether the segments of an edited video agree, and whether anything was edited at all. Numpy half: no torch.

The claim (paper sections 1 and 4): memory keeps what earlier edits invented. Where the truth is known it is countable:
a region has one colour in all segments or it has not. Agreement alone proves nothing, for a model that does nothing
agrees with itself; so every measure of it stands beside the share of regions that were really repainted, and of things
that should have been left alone and were not.

A measure takes one edited video and returns a `Tally`: a sum over so many cases, of which videos may have none.
Intervals come from drawing videos, not segments, since those of a video depend on each other.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.metrics.regions import Colour, colour_distance, decibels, saturation

HUE_TOLERANCE = 30.0  # degrees: half of the way between neighbouring named colours
VISIBLE = 0.6  # of the most that is seen of a region in any segment
CHANGED = 0.15  # distance of mean colours beyond which something was repainted, or wrongly touched
SATURATED = 0.4  # of a repainted region; paints have 0.85
RESAMPLES = 2000


@dataclass(frozen=True)
class RegionView:
    """The mean colour of the region that is edited, in one segment: before, as edited, and in the true edit.

    `hue` is that of `after`, in degrees.
    """

    before: Colour
    after: Colour
    truth: Colour
    hue: float

    @property
    def repainted(self) -> bool:
        """Whether it is paint now and was not before; half of the true change is enough where that is small."""
        needed = min(CHANGED, colour_distance(self.before, self.truth) / 2)
        return colour_distance(self.before, self.after) > needed and saturation(self.after) > SATURATED


@dataclass(frozen=True)
class SegmentView:
    """What was seen of one edited segment.

    `shown` is how much of the region was in view, in parts of the most in any segment; `region` is None where that is
    nothing. `moved` are the distances by which the mean colours of other visible things moved; `error` and
    `codec_error` mean squared errors outside all things, after the edit and after the codec alone. `strayed` is how far
    the patch moved that moved farthest, where nothing was to be edited; None elsewhere.
    """

    shown: float
    region: RegionView | None
    moved: tuple[float, ...]
    error: float
    codec_error: float
    seconds: float
    flops: int
    strayed: float | None = None

    @property
    def visible(self) -> RegionView | None:
        """The region, if enough of it is in view."""
        return self.region if self.shown >= VISIBLE else None


@dataclass(frozen=True)
class VideoView:
    """All segments of one edited video. `named` is the hue that the instruction asks for; None where it is open."""

    id: str
    named: float | None
    segments: tuple[SegmentView, ...]

    @property
    def visible(self) -> list[RegionView]:
        return [segment.visible for segment in self.segments if segment.visible is not None]


@dataclass(frozen=True)
class Tally:
    """A sum over so many cases."""

    total: float = 0.0
    cases: int = 0


@dataclass(frozen=True)
class Figure:
    """A mean with its 95 % interval, over `n` videos that had a case; None where no video had one."""

    value: float | None
    low: float | None
    high: float | None
    n: int


Figures = Mapping[str, Mapping[str, Figure]]
"""By method and measure."""


def hue_distance(one: float, other: float) -> float:
    """Degrees between two hues, the short way round: 0 to 180."""
    return abs((one - other + 180) % 360 - 180)


def agreement(video: VideoView) -> Tally:
    """Visible segments with the hue of the first visible one, which is not counted."""
    return _share(_same(each, video.visible[0].hue) for each in video.visible[1:])


def agreement_after_gap(video: VideoView) -> Tally:
    """The same of the first visible segment after a whole segment out of view, if its reference was really repainted.

    Of open instructions alone: where the text names the colour there is nothing to remember.
    """
    seen = video.visible
    if video.named is not None or not seen or not seen[0].repainted:
        return Tally()
    return _share(_same(each, seen[0].hue) for each in _returns(video.segments))


def edit_rate(video: VideoView) -> Tally:
    """Visible segments in which the region was really repainted."""
    return _share(each.repainted for each in video.visible)


def wrongly_changed(video: VideoView) -> Tally:
    """Other visible things that were touched."""
    return _share(moved > CHANGED for segment in video.segments for moved in segment.moved)


def smeared(video: VideoView) -> Tally:
    """Segments with nothing of the region in view in which something was painted all the same."""
    return _share(each.strayed > CHANGED for each in video.segments if each.strayed is not None)


def instruction_followed(video: VideoView) -> Tally:
    """Visible segments that were repainted, and in the colour named; of instructions that name one."""
    if video.named is None:
        return Tally()
    return _share(each.repainted and _same(each, video.named) for each in video.visible)


def psnr_outside(video: VideoView) -> Tally:
    """Decibels against the source outside all things."""
    return Tally(decibels(float(np.mean([segment.error for segment in video.segments]))), 1)


def psnr_codec(video: VideoView) -> Tally:
    """Decibels that the codec alone would leave there."""
    return Tally(decibels(float(np.mean([segment.codec_error for segment in video.segments]))), 1)


def seconds_per_segment(video: VideoView) -> Tally:
    """Time of an edit."""
    return Tally(sum(segment.seconds for segment in video.segments), len(video.segments))


def gigaflops_per_segment(video: VideoView) -> Tally:
    """Work of an edit, in 10^9 floating point operations."""
    return Tally(sum(segment.flops for segment in video.segments) / 1e9, len(video.segments))


MEASURES: Mapping[str, Callable[[VideoView], Tally]] = {
    measure.__name__: measure
    for measure in (
        agreement,
        agreement_after_gap,
        edit_rate,
        wrongly_changed,
        smeared,
        instruction_followed,
        psnr_outside,
        psnr_codec,
        seconds_per_segment,
        gigaflops_per_segment,
    )
}


def summarise(tallies: Sequence[Tally], groups: Sequence[str], seed: int = 0, tail: float = 0.025) -> Figure:
    """The mean over all cases, and its interval: means over videos drawn with replacement, but for `tail` at each end.

    Tallies of one group belong to one video and are drawn together, such as those of one video under several models.
    """
    members = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    table = np.zeros((len(members), 2))
    for tally, group in zip(tallies, groups, strict=True):
        table[members[group]] += tally.total, tally.cases
    table = table[table[:, 1] > 0]
    if not len(table):
        return Figure(None, None, None, 0)
    drawn = np.random.default_rng(seed).integers(len(table), size=(RESAMPLES, len(table)))
    totals = table[drawn].sum(axis=1)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [tail, 1 - tail])
    return Figure(float(table[:, 0].sum() / table[:, 1].sum()), float(low), float(high), len(table))


def _returns(segments: Sequence[SegmentView]) -> list[RegionView]:
    """The region where it is visible again after at least one segment in which nothing of it was in view."""
    found: list[RegionView] = []
    known = gone = False
    for segment in segments:
        gone = gone or (known and segment.shown == 0)
        if segment.visible is not None:
            found += [segment.visible] if gone else []
            known, gone = True, False
    return found


def _same(region: RegionView, hue: float) -> bool:
    return hue_distance(region.hue, hue) <= HUE_TOLERANCE


def _share(answers: Iterable[bool]) -> Tally:
    given = list(answers)
    return Tally(float(sum(given)), len(given))
