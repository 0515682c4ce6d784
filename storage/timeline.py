"""A finished edit as edit lists: an OpenTimelineIO timeline, a CMX3600 EDL, a Final Cut Pro 7 XML.

One video track whose clips are the edited segments, as parts of one media file that lies beside the lists, and a red
marker for every cut and every flag. Record and source timecode both begin with that of the media, so that the two are
the same everywhere.

OTIO's adapters write the two older formats; what they leave out is made up for here. An EDL's record timecode begins at
zero unless a gap leads there, and at 29.97 frames a second always is drop-frame unless it is counted at 30. In an XML
the markers of clips are not counted from the media's first frame, so there they are the sequence's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import opentimelineio as otio
from opentimelineio.opentime import RationalTime, TimeRange, from_timecode

OURS = "memory_v2v"  # the name of our metadata
MOST_EVENTS = 999  # of an EDL, by its definition
NEAR = Fraction(1, 50)  # how far a mean rate may be from one that has a timecode
DROPPING = (30000 / 1001, 60000 / 1001)  # the rates at which timecode may leave numbers out
COLOUR = {"alpha": "0", "red": "255", "green": "0", "blue": "0"}


@dataclass(frozen=True)
class Part:
    """A clip: frames `start` to `stop` of the media, counted from 0, with whatever else is told of it (JSON)."""

    name: str
    start: int
    stop: int
    told: Mapping[str, Any]


@dataclass(frozen=True)
class Mark:
    """A red marker at a frame of the media, counted from 0."""

    name: str
    frame: int
    told: Mapping[str, Any]


@dataclass(frozen=True)
class EditList:
    """A finished edit: `parts` follow one another from frame 0 to the last; `media` is a file beside the lists."""

    name: str
    media: str
    rate: Fraction
    timecode: str | None
    parts: tuple[Part, ...]
    marks: tuple[Mark, ...]
    told: Mapping[str, Any]

    def __post_init__(self) -> None:
        assert self.parts[0].start == 0, f"{self.name} begins at frame {self.parts[0].start}"
        assert all(a.stop == b.start for a, b in pairwise(self.parts)), "parts leave gaps"

    @property
    def frames(self) -> int:
        return self.parts[-1].stop

    @property
    def timecode_rate(self) -> float | None:
        """The rate at which SMPTE timecode counts these frames; None where no such rate is near."""
        nearest = RationalTime.nearest_smpte_timecode_rate(float(self.rate))
        if self.drop_frame:
            nearest = min(DROPPING, key=lambda rate: abs(rate - self.rate))
        return nearest if abs(nearest - self.rate) <= NEAR * self.rate else None

    @property
    def drop_frame(self) -> bool:
        return self.timecode is not None and self.timecode[-3] in ";."

    @property
    def first_frame(self) -> int:
        """The number of the first frame by its timecode; 0 where there is none, or no rate to count it at."""
        if self.timecode is None or self.timecode_rate is None:
            return 0
        return round(from_timecode(self.timecode.replace(".", ";"), self.timecode_rate).value)

    @property
    def reel(self) -> str:
        """Eight capital letters and digits, which is all that an EDL has room for."""
        return "".join(letter for letter in self.name.upper() if letter.isascii() and letter.isalnum())[:8] or "AX"


def write_edit_lists(edit: EditList, folder: Path) -> tuple[Path, ...]:
    """Write `<name>.otio`, and `.edl` and `.xml` where timecode can count the frames; returns the paths."""
    texts = {".otio": otio.adapters.write_to_string(_timeline(edit, float(edit.rate)), "otio_json")}
    if edit.timecode_rate is not None:
        texts |= {".edl": _edl(edit, edit.timecode_rate), ".xml": _xml(edit, edit.timecode_rate)}
    for suffix, text in texts.items():
        (folder / f"{edit.name}{suffix}").write_text(text, encoding="utf-8")
    return tuple(folder / f"{edit.name}{suffix}" for suffix in texts)


def limits(edit: EditList) -> tuple[str, ...]:
    """What the lists cannot tell of this edit, as sentences."""
    said = []
    if edit.timecode_rate is None:
        said.append(f"No timecode counts {float(edit.rate):g} frames a second: there is no EDL and no XML.")
    elif edit.timecode_rate != float(edit.rate):
        said.append(f"EDL and XML count frames at {edit.timecode_rate:g} a second, the mean is {float(edit.rate):g}.")
    if len(edit.parts) > MOST_EVENTS and edit.timecode_rate is not None:
        said.append(f"The EDL has {len(edit.parts)} events; some systems read no more than {MOST_EVENTS}.")
    return tuple(said)


def _timeline(edit: EditList, rate: float) -> otio.schema.Timeline:
    """The edit at a rate; markers belong to clips, at times of the media."""
    begin = RationalTime(edit.first_frame, rate)
    timeline = otio.schema.Timeline(edit.name, global_start_time=begin, metadata={OURS: dict(edit.told)})
    track = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    timeline.tracks.append(track)
    for part in edit.parts:
        clip = otio.schema.Clip(
            name=part.name,
            media_reference=_media(edit, rate),
            source_range=_range(edit, part.start, part.stop, rate),
            metadata={OURS: dict(part.told), "cmx_3600": {"reel": edit.reel}},
        )
        here = [mark for mark in edit.marks if part.start <= mark.frame < part.stop]
        clip.markers.extend(_markers(here, edit.first_frame, rate))
        track.append(clip)
    return timeline


def _media(edit: EditList, rate: float) -> otio.schema.ExternalReference:
    whole = _range(edit, 0, edit.frames, rate)
    reference = otio.schema.ExternalReference(target_url=edit.media, available_range=whole)
    reference.name = edit.media
    return reference


def _range(edit: EditList, start: int, stop: int, rate: float) -> TimeRange:
    return TimeRange(RationalTime(edit.first_frame + start, rate), RationalTime(stop - start, rate))


def _markers(marks: Iterable[Mark], first_frame: int, rate: float) -> list[otio.schema.Marker]:
    return [
        otio.schema.Marker(
            name=mark.name,
            marked_range=TimeRange(RationalTime(first_frame + mark.frame, rate), RationalTime(1, rate)),
            color=otio.schema.MarkerColor.RED,
            metadata={OURS: dict(mark.told)},
        )
        for mark in marks
    ]


def _edl(edit: EditList, rate: float) -> str:
    """The adapter's text, with a gap up to the first timecode, and the line that says how timecode counts."""
    counted = rate if edit.drop_frame else float(ceil(rate))
    timeline = _timeline(edit, counted)
    if edit.first_frame:
        lead = TimeRange(RationalTime(0, counted), RationalTime(edit.first_frame, counted))
        timeline.tracks[0].insert(0, otio.schema.Gap(source_range=lead))
    text = otio.adapters.write_to_string(timeline, "cmx_3600", rate=counted)
    title, rest = text.split("\n", 1)
    return f"{title}\nFCM: {'DROP FRAME' if edit.drop_frame else 'NON-DROP FRAME'}\n{rest}"


def _xml(edit: EditList, rate: float) -> str:
    """The adapter's text, told how timecode counts, with all markers on the sequence."""
    timeline = _timeline(edit, rate)
    timecode = {"timecode": {"displayformat": "DF" if edit.drop_frame else "NDF"}}
    timeline.metadata["fcp_xml"] = timecode
    for clip in timeline.find_clips():
        clip.media_reference.metadata["fcp_xml"] = timecode
        clip.markers.clear()
    for marker in _markers(edit.marks, 0, rate):
        marker.metadata["fcp_xml"] = {"comment": marker.name, "color": COLOUR}
        timeline.tracks.markers.append(marker)
    return otio.adapters.write_to_string(timeline, "fcp_xml")
