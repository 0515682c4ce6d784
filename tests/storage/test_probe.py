"""What is told of each odd clip, and the one line with which each bad input is refused."""

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest

from model.errors import VideoError
from storage import packets, source_file
from storage import probe as probing
from storage.probe import probe
from storage.video import read_thumbnails
from tests.clips import BAD_INPUTS, FRAMES, X264, chart, make_bad_input, make_clip, run_ffmpeg
from tests.users import as_nobody


@pytest.mark.parametrize("kind", [kind for kind in BAD_INPUTS if kind not in ("scrambled", "unreadable")])
def test_bad_inputs_are_refused_in_one_line(kind: str, clips: Path) -> None:
    path = make_bad_input(kind, clips)
    with pytest.raises(VideoError) as refusal:
        probe(path)
    line = str(refusal.value)
    assert line.startswith(f"{path}: ")
    assert BAD_INPUTS[kind].fault in line
    assert "\n" not in line


def test_a_file_one_may_not_read_is_refused(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_bad_input("unreadable", clips)
    monkeypatch.chdir(path.parent)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        with as_nobody(), pytest.raises(VideoError, match=r"unreadable\.mp4: may not be read"):
            probe(Path(f"/proc/self/fd/{descriptor}/{path.name}"))
    finally:
        os.close(descriptor)


def test_devices_are_refused() -> None:
    with pytest.raises(VideoError, match="/dev/zero: is no regular file"):
        probe(Path("/dev/zero"))


def test_control_characters_in_names_are_shown_escaped(tmp_path: Path) -> None:
    with pytest.raises(VideoError) as refusal:
        probe(tmp_path / "two\nlines\x1b[31m.mp4")
    assert str(refusal.value).endswith(r"two\nlines\x1b[31m.mp4: does not exist")


def test_a_plain_clip_is_told_as_it_is(clips: Path) -> None:
    info = probe(make_clip("plain", clips))
    assert (info.frames, info.width, info.height, info.rate, info.codec) == (FRAMES, 320, 180, 25, "h264")
    assert (info.rotation, info.sample_aspect, info.bit_depth, info.interlaced) == (0, 1, 8, None)
    assert vars(info.colour) == {"primaries": "bt709", "transfer": "bt709", "matrix": "bt709", "range": "tv"}
    assert info.seconds == Fraction(FRAMES, 25)
    assert not info.variable_rate
    assert not info.hdr
    assert [(a.codec, a.channels, a.sample_rate) for a in info.audio] == [("aac", 2, 48000)]
    assert info.keyframes == (0, 12, 24, 36, 48)


FACTS: list[tuple[str, str, object]] = [
    ("vfr", "variable_rate", True),
    ("vfr", "frames", 46),
    ("vfr_mkv", "variable_rate", True),
    ("ntsc", "rate", Fraction(30000, 1001)),
    ("ntsc_mkv", "rate", Fraction(24000, 1001)),
    ("rotated_90", "width", 180),
    ("rotated_90", "rotation", 90),
    ("rotated_180", "width", 320),
    ("odd_size", "height", 239),
    ("anamorphic", "sample_aspect", Fraction(64, 45)),
    ("interlaced", "interlaced", "top first"),
    ("drop_frame", "timecode", "01:00:00;00"),
    ("long_subtitles", "frames", FRAMES),
    ("edit_list", "frames", 42),
    ("ten_bit", "bit_depth", 10),
    ("hdr", "hdr", True),
    ("silent", "audio", ()),
    ("transport_stream", "keyframes", ()),
    ("avi", "frames", FRAMES),
]


@pytest.mark.parametrize(("kind", "fact", "value"), FACTS)
def test_oddities_are_told(kind: str, fact: str, value: object, clips: Path) -> None:
    assert getattr(probe(make_clip(kind, clips)), fact) == value


def test_a_film_that_is_interlaced_behind_a_progressive_title_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "titled.mkv"
    parts = "[0]split[a][b];[a]setfield=prog[title];[b]setfield=tff[film];[title][film]concat"
    run_ffmpeg(*chart("64x48", frames=20), "-filter_complex", parts, "-c:v", "ffv1", "-g", "1", path)
    assert probe(path).interlaced == "top first"


@pytest.mark.parametrize(
    ("written", "rate", "kept"),
    [
        ("01:00:00;00", "30", "01:00:00;00"),
        ("01:00:00.02", "60", "01:00:00;02"),
        ("01:00:00;00", "25", None),
        ("01:00:00:29", "25", None),
        ("01:00:00:24", "25", "01:00:00:24"),
    ],
)
def test_a_timecode_that_cannot_count_the_frames_is_none(
    written: str, rate: str, kept: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.mkv"
    run_ffmpeg(*chart(rate=rate, frames=5), *X264, "-metadata", f"timecode={written}", path)
    assert probe(path).timecode == kept


def test_start_offsets_are_kept(clips: Path) -> None:
    for kind, offset in (("start_offset", Fraction(5)), ("start_offset_mp4", Fraction("5.012"))):
        info = probe(make_clip(kind, clips))
        assert abs(info.pts[0] * info.time_base - offset) <= info.time_base


def test_time_stamps_ascend_in_every_reordered_clip(clips: Path) -> None:
    for kind in ("plain", "open_gop", "avi", "program_stream", "vp9_opus", "edit_list"):
        pts = probe(make_clip(kind, clips)).pts
        assert list(pts) == sorted(set(pts))


def test_one_time_stamp_told_twice_costs_no_other(tmp_path: Path) -> None:
    """One frame has the time stamp of the one before, and the last ten have one between them."""
    path = tmp_path / "twice.mkv"
    twice = ("-bsf:v", "setts=ts='if(eq(N,20)+gte(N,50),PREV_OUTDTS,TS)'")
    run_ffmpeg(*chart(rate="60000/1001"), *X264, "-bf", "0", "-output_ts_offset", "5", *twice, path)
    info = probe(path)
    strays = [abs(stamp * info.time_base - 5 - number * Fraction(1001, 60000)) for number, stamp in enumerate(info.pts)]
    assert len(strays) == FRAMES
    assert max(strays) <= 2 * info.time_base


def test_a_recording_that_begins_on_an_open_gop_has_the_frames_that_decode(tmp_path: Path) -> None:
    """The first pictures of a cut recording lean on what was before it, and are not shown."""
    whole, cut = tmp_path / "whole.ts", tmp_path / "cut.ts"
    run_ffmpeg(*chart(), *X264, "-g", "12", "-bf", "3", "-x264-params", "open-gop=1:scenecut=0", whole)
    with av.open(str(whole)) as container:
        second = [packet.pos for packet in container.demux(video=0) if packet.is_keyframe][1]
    content, tables = whole.read_bytes(), 3 * 188
    cut.write_bytes(content[:tables] + content[second:])
    info = probe(cut)
    assert info.frames == len(list(read_thumbnails(info))) == FRAMES - 12
    assert not info.variable_rate


def test_recordings_that_were_joined_byte_by_byte_are_told(clips: Path, tmp_path: Path) -> None:
    path = tmp_path / "joined.ts"
    path.write_bytes(2 * make_clip("transport_stream", clips).read_bytes())
    with pytest.raises(VideoError, match="holds damaged packets: it was cut short, or files were joined"):
        probe(path)


def test_frames_that_an_avi_dropped_are_no_damage(tmp_path: Path) -> None:
    """They are packets without a byte, and counted."""
    path = tmp_path / "dropped.avi"
    dropped = ("-vf", "select='not(between(n,20,24))'", "-fps_mode", "passthrough", "-enc_time_base", "1/25")
    run_ffmpeg(*chart(), *dropped, "-c:v", "mpeg4", "-bf", "0", "-g", "12", path)
    info = probe(path)
    assert info.pts == (*range(20), *range(25, FRAMES))
    assert len(list(read_thumbnails(info))) == FRAMES - 5


def test_cover_art_is_no_video(clips: Path) -> None:
    info = probe(make_clip("cover_art", clips))
    assert (info.codec, info.width, info.frames) == ("h264", 320, FRAMES)


def test_sound_of_an_unknown_kind_is_counted_and_left_out(clips: Path, tmp_path: Path) -> None:
    path = tmp_path / "spatial.mp4"
    content = make_clip("plain", clips).read_bytes()
    path.write_bytes(content.replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz"))
    info = probe(path)
    assert (info.audio, info.unknown_audio, info.frames) == ((), 1, FRAMES)


def test_without_the_bounds_the_huge_picture_would_be_decoded(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_bad_input("huge", clips)
    bounds = [
        (source_file.SOURCE_OPTIONS, "max_pixels"),
        (vars(source_file), "MAX_PIXELS"),
        (vars(probing), "MAX_PIXELS"),
    ]
    for where, name in bounds:  # of the header, of the decoder, of the decoded picture
        with pytest.raises(VideoError):
            probe(path)
        monkeypatch.setitem(where, name, 2**30)
    assert probe(path).height == 4336


@pytest.mark.parametrize("aspect", [(60000, 1), (1, 5000)])
def test_pixels_of_an_absurd_shape_are_refused(aspect: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    run_ffmpeg(*chart("64x48", frames=3), "-vf", "setsar=2", "-c:v", "prores_ks", path)
    content = bytearray(path.read_bytes())
    place = content.index(b"pasp") + 4
    content[place : place + 8] = struct.pack(">II", *aspect)
    assert probe(path).sample_aspect == 2
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"64x48 with pixels of \d+:\d+ is out of bounds \(at most 8:1 as it is shown"):
        probe(path)


@pytest.mark.parametrize("kind", ["plain", "program_stream"])  # by its packets, and by decoding
def test_endless_videos_are_refused(kind: str, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for module in (probing, packets):
            patch.setattr(module, "MAX_FRAMES", FRAMES - 1)
        with pytest.raises(VideoError, match="more than 59 frames; cut it into parts"):
            probe(make_clip(kind, clips))
    monkeypatch.setattr(probing, "MAX_SECONDS", 2)
    with pytest.raises(VideoError, match="lasts 0 hours; at most 0 are accepted"):
        probe(make_clip(kind, clips))


def test_a_timecode_that_is_none_is_left_out(tmp_path: Path) -> None:
    for tag, told in (("01:00:00;00", "01:00:00;00"), ("<script>alert(1)</script>", None), ("01:00:00:00\n", None)):
        path = tmp_path / "tagged.mkv"
        run_ffmpeg(*chart("64x64", rate="30", frames=3), "-c:v", "ffv1", "-metadata", f"timecode={tag}", path)
        assert probe(path).timecode == told
