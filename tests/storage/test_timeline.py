"""Edit lists read back by OTIO's adapters say what was written: clips, cuts, markers, timecode."""

import re
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path

import opentimelineio as otio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentimelineio.opentime import RationalTime, from_timecode, to_timecode

from storage.timeline import EditList, Mark, Part, limits, write_edit_lists

NTSC = Fraction(30000, 1001)
KINDS = [
    (NTSC, "01:00:00;00"),
    (NTSC, "01:00:58;20"),
    (NTSC, "01:00:00:00"),
    (Fraction(30), "01:00:00;00"),
    (2 * NTSC, "09:59:59;40"),
    (Fraction(24000, 1001), "00:59:59:23"),
    (Fraction(25), "10:00:00:12"),
    (Fraction(50), "00:00:00:00"),
    (Fraction(24), None),
]
EVENT = re.compile(r"^\d{3}  (\w{8}) V     C        (\S+) (\S+) (\S+) (\S+)$", re.MULTILINE)
LOCATOR = re.compile(r"^\* LOC: (\S+) RED     (\S+)$", re.MULTILINE)


def make_edit(rate: Fraction, timecode: str | None, cuts: tuple[int, ...] = (0, 30, 90, 121)) -> EditList:
    parts = tuple(
        Part(f"s00_seg{index:04d}", start, stop, {"index": index, "seed": str(2**62), "asked": "Schnee, 雪"})
        for index, (start, stop) in enumerate(pairwise(cuts))
    )
    marks = (Mark("seam", parts[0].start, {"segment": 0}), Mark("cut", parts[-1].start, {"frame": parts[-1].start}))
    return EditList("clip_edit_v001", "clip_edit_v001.mov", rate, timecode, parts, marks, {"asked": "Schnee, 雪"})


def counted(edit: EditList) -> float:
    """The rate at which timecode counts its frames in text: the nominal one, unless it drops some."""
    return float(NTSC * round(edit.rate / NTSC)) if edit.drop_frame else float(ceil(edit.rate))


def timecode_of(edit: EditList, frame: int) -> str:
    rate = counted(edit)
    start = from_timecode(edit.timecode, rate).value if edit.timecode else 0
    return to_timecode(RationalTime(start + frame, rate), rate)


def clips_of(timeline: otio.schema.Timeline) -> list[tuple[str, int, int, int, int]]:
    """Name, source range and record range of each clip, in frames."""
    return [
        (
            clip.name,
            *(round(time.value) for time in (clip.source_range.start_time, clip.source_range.duration)),
            *(
                round(time.value)
                for time in (clip.range_in_parent().start_time, clip.range_in_parent().end_time_exclusive())
            ),
        )
        for clip in timeline.find_clips()
    ]


def written(edit: EditList) -> list[tuple[str, int, int, int, int]]:
    first = edit.first_frame
    return [(part.name, first + part.start, part.stop - part.start, part.start, part.stop) for part in edit.parts]


@pytest.mark.parametrize(("rate", "timecode"), KINDS)
def test_otio_keeps_everything(rate: Fraction, timecode: str | None, tmp_path: Path) -> None:
    edit = make_edit(rate, timecode)
    write_edit_lists(edit, tmp_path)
    read = otio.adapters.read_from_file(str(tmp_path / "clip_edit_v001.otio"))
    assert clips_of(read) == written(edit)
    assert read.global_start_time == RationalTime(edit.first_frame, float(rate))
    assert read.metadata["memory_v2v"]["asked"] == "Schnee, 雪"
    clips = list(read.find_clips())
    assert [dict(clip.metadata["memory_v2v"]) for clip in clips] == [dict(part.told) for part in edit.parts]
    assert {clip.media_reference.target_url for clip in clips} == {edit.media}
    markers = [(marker, clip) for clip in clips for marker in clip.markers]
    assert [(marker.name, marker.color) for marker, _ in markers] == [("seam", "RED"), ("cut", "RED")]
    for (marker, clip), mark in zip(markers, edit.marks, strict=True):
        at = clip.transformed_time(marker.marked_range.start_time, read.tracks[0])
        assert round(at.value) == mark.frame


@pytest.mark.parametrize(("rate", "timecode"), KINDS)
def test_an_edl_has_the_clips_and_the_record_timecode(rate: Fraction, timecode: str | None, tmp_path: Path) -> None:
    """Its limits: no metadata, names of markers in capitals, reels of eight letters, no rate."""
    edit = make_edit(rate, timecode)
    write_edit_lists(edit, tmp_path)
    text = (tmp_path / "clip_edit_v001.edl").read_text()
    read = otio.adapters.read_from_string(text, "cmx_3600", rate=counted(edit))
    assert clips_of(read) == written(edit)
    assert {clip.media_reference.target_url for clip in read.find_clips()} == {edit.media}
    spans = [tuple(timecode_of(edit, frame) for frame in (part.start, part.stop)) for part in edit.parts]
    assert EVENT.findall(text) == [("CLIPEDIT", *span, *span) for span in spans]
    assert LOCATOR.findall(text) == [(timecode_of(edit, mark.frame), mark.name.upper()) for mark in edit.marks]
    assert text.splitlines()[1] == f"FCM: {'DROP FRAME' if edit.drop_frame else 'NON-DROP FRAME'}"
    assert (";" in text) == edit.drop_frame
    markers = [marker for clip in read.find_clips() for marker in clip.markers]
    if not edit.drop_frame:  # the adapter passes over the locators of a drop-frame EDL
        assert [round(marker.marked_range.start_time.value) for marker in markers] == [
            edit.first_frame + mark.frame for mark in edit.marks
        ]


@pytest.mark.parametrize(("rate", "timecode"), KINDS)
def test_an_xml_has_the_clips_and_the_markers(rate: Fraction, timecode: str | None, tmp_path: Path) -> None:
    """Its limits: no metadata of ours, markers on the sequence."""
    edit = make_edit(rate, timecode)
    write_edit_lists(edit, tmp_path)
    text = (tmp_path / "clip_edit_v001.xml").read_text()
    read = otio.adapters.read_from_string(text, "fcp_xml")
    assert clips_of(read) == written(edit)
    assert round(read.global_start_time.value) == edit.first_frame
    assert read.global_start_time.rate == pytest.approx(edit.timecode_rate)
    markers = [(marker.name, round(marker.marked_range.start_time.value)) for marker in read.tracks.markers]
    assert markers == [(mark.name, mark.frame) for mark in edit.marks]
    assert text.count("<red>255</red>") == len(edit.marks)
    strings = set(re.findall(r"<string>(.*?)</string>", text))
    assert strings == {timecode_of(edit, 0)}
    assert set(re.findall(r"<displayformat>(.*?)<", text)) == {"DF" if edit.drop_frame else "NDF"}


@settings(max_examples=40)
@given(st.sampled_from(KINDS), st.sets(st.integers(1, 40_000), min_size=1, max_size=8))
def test_any_cuts_survive(kind: tuple[Fraction, str | None], cuts: set[int]) -> None:
    from storage.timeline import _edl, _xml

    edit = make_edit(*kind, (0, *sorted(cuts)))
    assert edit.timecode_rate is not None
    edl = otio.adapters.read_from_string(_edl(edit, edit.timecode_rate), "cmx_3600", rate=counted(edit))
    xml = otio.adapters.read_from_string(_xml(edit, edit.timecode_rate), "fcp_xml")
    assert clips_of(edl) == clips_of(xml) == written(edit)


def test_drop_frame_timecode_leaves_out_two_numbers_a_minute(tmp_path: Path) -> None:
    edit = make_edit(NTSC, "01:00:59;28", (0, 1, 2, 3))
    write_edit_lists(edit, tmp_path)
    starts = [event[3] for event in EVENT.findall((tmp_path / "clip_edit_v001.edl").read_text())]
    assert starts == ["01:00:59;28", "01:00:59;29", "01:01:00;02"]


def test_left_to_themselves_the_adapters_lose_the_timecode() -> None:
    """The controls: the day one of these fails, what we make up for is no longer needed."""
    from storage.timeline import _timeline

    edit = make_edit(NTSC, "01:00:00:00")
    text = otio.adapters.write_to_string(_timeline(edit, float(NTSC)), "cmx_3600")
    assert EVENT.findall(text)[0][3] == "00:00:00;00", "neither the first timecode, nor counted without drops"
    assert "FCM" not in text
    read = otio.adapters.read_from_string(otio.adapters.write_to_string(_timeline(edit, 30.0), "fcp_xml"), "fcp_xml")
    (marker, *_) = [marker for clip in read.find_clips() for marker in clip.markers]
    assert marker.marked_range.start_time.value == edit.first_frame, "not counted from the clip's media"


def test_a_mean_rate_is_rounded_to_one_that_has_a_timecode(tmp_path: Path) -> None:
    edit = make_edit(Fraction(298, 10), None)
    assert [path.suffix for path in write_edit_lists(edit, tmp_path)] == [".otio", ".edl", ".xml"]
    assert otio.adapters.read_from_file(str(tmp_path / "clip_edit_v001.otio")).tracks[0][0].duration().rate == 29.8
    assert limits(edit) == ("EDL and XML count frames at 29.97 a second, the mean is 29.8.",)


def test_a_rate_without_timecode_has_no_edl_and_says_so(tmp_path: Path) -> None:
    edit = make_edit(Fraction(15), "01:00:00:00")
    assert [path.suffix for path in write_edit_lists(edit, tmp_path)] == [".otio"]
    assert limits(edit) == ("No timecode counts 15 frames a second: there is no EDL and no XML.",)


def test_more_events_than_an_edl_may_have_are_told() -> None:
    edit = make_edit(Fraction(25), None, tuple(range(1001)))
    assert limits(edit) == ("The EDL has 1000 events; some systems read no more than 999.",)
    assert limits(make_edit(Fraction(25), None)) == ()
