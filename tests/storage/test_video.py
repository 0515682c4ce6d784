"""Reading is exact to the frame and writing changes nothing but the pictures, for every odd clip."""

import random
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from model.errors import RunError, VideoError
from model.types import Span
from storage import video
from storage.encoding import Codec, encoded_colour
from storage.geometry import Fit, fit
from storage.probe import VideoInfo, probe
from storage.video import read_frames, read_spans, read_thumbnails, write_video
from tests.clips import (
    ODD_CLIPS,
    TAGS,
    X264,
    chart,
    make_bad_input,
    make_clip,
    run_ffmpeg,
    sound_packets,
    write_cropped,
)

SDR_CLIPS = [kind for kind in ODD_CLIPS if kind != "hdr"]
REPACKED = ("transport_stream", "drop_frame")  # their packets are cut anew by every container
ADTS_HEADER = 7  # bytes in front of each AAC packet of a transport stream; no other container has them


def small_fit(info: VideoInfo) -> Fit:
    return fit(info, 64, 112)


def full_fit(info: VideoInfo) -> Fit:
    """A canvas of the picture's own size where that is even, so that the pictures survive."""
    size = [side + side % 2 for side in (info.height, info.width)]
    return fit(info, *size) if info.sample_aspect == 1 else fit(info, 2 * size[0], 2 * size[1])


def seconds(info: VideoInfo) -> list[Fraction]:
    return [stamp * info.time_base for stamp in info.pts]


def read_all(info: VideoInfo, canvas: Fit, *, tone_map: bool = False) -> np.ndarray:
    return np.stack(list(read_frames(info, Span(0, info.frames), canvas, tone_map=tone_map)))


def track_starts(path: Path) -> list[float]:
    """When the first packet of each sound track plays, in seconds; priming samples play before zero."""
    starts: dict[int, float] = {}
    with av.open(str(path)) as container:
        for packet in container.demux(*container.streams.audio) if container.streams.audio else ():
            if packet.pts is not None:
                starts.setdefault(packet.stream_index, float(packet.pts * packet.time_base))
    return [starts[index] for index in sorted(starts)]


@pytest.mark.parametrize("kind", SDR_CLIPS)
def test_random_spans_equal_the_full_decode(kind: str, clips: Path) -> None:
    info = probe(make_clip(kind, clips))
    canvas = small_fit(info)
    whole = read_all(info, canvas)
    assert len(whole) == info.frames
    chance = random.Random(kind)
    starts = [1, info.frames - 2, *(chance.randrange(info.frames - 1) for _ in range(2))]
    for start in starts:
        span = Span(start, min(info.frames, start + chance.randint(1, 9)))
        frames = np.stack(list(read_frames(info, span, canvas)))
        np.testing.assert_array_equal(frames, whole[span.start : span.stop], err_msg=f"{kind} {span}")


FIELDS = ("-flags", "+ilme+ildct", "-x264opts", "tff=1")


@pytest.mark.parametrize(
    ("change", "fields"),
    [("scale=160:90", ()), (TAGS.format("bt709", "tv"), ()), ("scale=320:96", FIELDS)],
    ids=["size", "tags", "size, interlaced"],
)
def test_a_stream_that_changes_on_the_way_is_counted_on(change: str, fields: tuple[str, ...], tmp_path: Path) -> None:
    """ffmpeg would build its filters anew, count from zero again, and lose a frame between two fields."""
    parts = [tmp_path / "first.264", tmp_path / "then.264"]
    run_ffmpeg(*chart(frames=20), *X264, "-bf", "0", *fields, parts[0])
    run_ffmpeg(
        *chart(frames=40),
        "-vf",
        f"trim=start_frame=20,setpts=PTS-STARTPTS,{change}",
        *X264,
        "-bf",
        "0",
        *fields,
        parts[1],
    )
    whole = tmp_path / "whole.264"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    run_ffmpeg("-fflags", "+genpts", "-r", "25", "-i", whole, "-c", "copy", tmp_path / "whole.ts")
    info = probe(tmp_path / "whole.ts")
    canvas = small_fit(info)
    frames = read_all(info, canvas)
    assert (len(frames), info.interlaced) == (40, "top first" if fields else None)
    for span in (Span(15, 25), Span(30, 35)):
        np.testing.assert_array_equal(np.stack(list(read_frames(info, span, canvas))), frames[span.start : span.stop])
    apart = np.abs(frames[1:].astype(int) - frames[:-1]).mean((1, 2, 3))
    assert apart[19] < 2 * apart[10:19].max(), "the picture goes on where the stream changes"


@pytest.mark.parametrize("kind", SDR_CLIPS)
def test_identity_round_trip_keeps_everything_but_the_codec(kind: str, clips: Path, tmp_path: Path) -> None:
    source = probe(make_clip(kind, clips))
    canvas = full_fit(source)
    result = probe(write_video(read_frames(source, Span(0, source.frames), canvas), source, canvas, tmp_path / "a.mp4"))

    assert result.frames == source.frames == sum(1 for _ in read_thumbnails(result))
    assert seconds(result) == seconds(source)
    assert (result.rate, result.variable_rate) == (source.rate, source.variable_rate)
    assert abs(result.seconds - source.seconds) <= 2 / source.rate
    assert (result.width, result.height, result.sample_aspect) == (source.width, source.height, source.sample_aspect)
    assert (result.rotation, result.interlaced, result.timecode) == (0, None, source.timecode)
    assert result.bit_depth == source.bit_depth
    assert result.colour == source.colour
    assert [vars(a) | {"index": 0} for a in result.audio] == [vars(a) | {"index": 0} for a in source.audio]
    assert [p.name for p in tmp_path.iterdir()] == [result.path.name]
    difference = read_all(result, canvas).astype(int) - read_all(source, canvas)
    assert np.abs(difference).mean() < (4 if source.bit_depth == 8 else 1000)
    if kind not in REPACKED:
        assert sound_packets(result.path) == sound_packets(source.path)
    for copied, original in zip(track_starts(result.path), track_starts(source.path), strict=True):
        assert copied == pytest.approx(original, abs=1 / 44100)


def test_pcm_sound_is_copied_to_the_byte(clips: Path, tmp_path: Path) -> None:
    source = probe(make_clip("drop_frame", clips))
    canvas = small_fit(source)
    path = write_video(read_frames(source, Span(0, source.frames), canvas), source, canvas, tmp_path / "a.mp4")
    assert path.suffix == ".mov"
    assert joined_sound(path, 0) == joined_sound(source.path, 0)


def test_transport_stream_sound_loses_only_its_transport_headers(clips: Path, tmp_path: Path) -> None:
    source = probe(make_clip("transport_stream", clips))
    canvas = small_fit(source)
    path = write_video(read_frames(source, Span(0, source.frames), canvas), source, canvas, tmp_path / "a.mp4")
    assert joined_sound(path, 0) == joined_sound(source.path, ADTS_HEADER)


def joined_sound(path: Path, header: int) -> bytes:
    with av.open(str(path)) as container:
        return b"".join(bytes(packet)[header:] for packet in container.demux(audio=0))


def test_real_footage_is_read_to_the_frame(bikes: Path) -> None:
    info = probe(bikes)
    canvas = small_fit(info)
    whole = read_all(info, canvas)
    chance = random.Random(5)
    for start in (chance.randrange(info.frames - 8) for _ in range(8)):
        frames = np.stack(list(read_frames(info, Span(start, start + 8), canvas)))
        np.testing.assert_array_equal(frames, whole[start : start + 8])


def test_real_footage_round_trip(footage: Path, tmp_path: Path) -> None:
    for name in ("bikes.mp4", "bigbuckbunny.mp4"):
        source = probe(footage / name)
        canvas = fit(source, 128, 224)
        path = write_video(read_frames(source, Span(0, source.frames), canvas), source, canvas, tmp_path / name)
        result = probe(path)
        assert (result.width, result.height, seconds(result)) == (source.width, source.height, seconds(source))
        assert sound_packets(path) == sound_packets(source.path)


CODECS: list[tuple[str, Codec, str]] = [
    ("ntsc", "prores", ".mov"),
    ("drop_frame", "prores", ".mov"),
    ("ten_bit", "dnxhr", ".mov"),
    ("plain", "dnxhr", ".mov"),
    ("vfr", "ffv1", ".mkv"),
    ("ten_bit", "ffv1", ".mkv"),
    ("vp8_vorbis", "ffv1", ".mkv"),
]


@pytest.mark.parametrize(("kind", "codec", "suffix"), CODECS)
def test_codecs_keep_times_size_tags_and_pictures(
    kind: str, codec: Codec, suffix: str, clips: Path, tmp_path: Path
) -> None:
    source = probe(make_clip(kind, clips))
    canvas = full_fit(source)
    path = write_video(read_all(source, canvas), source, canvas, tmp_path / "a.mp4", codec)
    result = probe(path)
    assert path.suffix == suffix
    assert seconds(result) == seconds(source)
    assert (result.width, result.height, result.timecode) == (source.width, source.height, source.timecode)
    assert result.colour == encoded_colour(source, codec) or source.colour.range is None
    difference = unit(read_all(result, canvas)) - unit(read_all(source, canvas))
    assert np.abs(difference).mean() < 3 / 255


def unit(frames: np.ndarray) -> np.ndarray:
    return frames / np.float32(np.iinfo(frames.dtype).max)


def test_spans_from_one_pass_equal_single_reads(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe(make_clip("vfr", clips))
    canvas = small_fit(info)
    whole = read_all(info, canvas)
    spans = [Span(2, 11), Span(7, 16), Span(16, 17), Span(30, 39), Span(35, 46)]
    for longest_skip in (300, 5):
        monkeypatch.setattr(video, "LONGEST_SKIP", longest_skip)
        for span, frames in zip(spans, read_spans(info, spans, canvas), strict=True):
            np.testing.assert_array_equal(frames, whole[span.start : span.stop])


def test_padding_repeats_the_edges(clips: Path) -> None:
    info = probe(make_clip("portrait", clips))
    canvas = fit(info, 64, 160)
    frame = next(read_frames(info, Span(0, 1), canvas))
    box = canvas.inner
    assert frame.shape == (160, 64, 3)
    assert box.y > 0
    np.testing.assert_array_equal(frame[: box.y], np.broadcast_to(frame[box.y], frame[: box.y].shape))


def test_rotated_clip_is_read_upright(clips: Path) -> None:
    plain, turned = probe(make_clip("plain", clips)), probe(make_clip("rotated_90", clips))
    upright = read_all(turned, fit(turned, 320, 180))
    lying = read_all(plain, fit(plain, 180, 320))
    assert np.abs(np.rot90(lying, axes=(1, 2)).astype(int) - upright).mean() < 2


def test_a_crop_that_a_container_asks_for_is_left_out(clips: Path, tmp_path: Path) -> None:
    """Size and pictures are those that are stored, whatever this ffmpeg makes of `clap`."""
    plain = make_clip("silent", clips)
    cropped = probe(write_cropped(plain, tmp_path / "cropped.mp4"))
    canvas = full_fit(cropped)
    np.testing.assert_array_equal(read_all(cropped, canvas), read_all(probe(plain), canvas))


def test_deep_sources_keep_more_than_eight_bits(clips: Path) -> None:
    info = probe(make_clip("ten_bit", clips))
    frame = next(read_frames(info, Span(0, 1), full_fit(info)))
    assert frame.dtype == np.uint16
    assert len(np.unique(frame)) > 256


def test_hdr_is_refused_or_tone_mapped(clips: Path, tmp_path: Path) -> None:
    info = probe(make_clip("hdr", clips))
    canvas = full_fit(info)
    with pytest.raises(VideoError, match=r"hdr\.mp4: is HDR or wide gamut \(smpte2084\); ask for tone mapping"):
        read_frames(info, Span(0, 2), canvas)
    frames = read_all(info, canvas, tone_map=True)
    assert 0.1 < frames.mean() / 65535 < 0.9
    result = probe(write_video(frames, info, canvas, tmp_path / "sdr.mp4"))
    assert not result.hdr
    assert vars(result.colour) == {"primaries": "bt709", "transfer": "bt709", "matrix": "bt709", "range": "tv"}


def test_tone_mapping_needs_its_filters(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe(make_clip("hdr", clips))
    monkeypatch.setattr(video, "TONE_MAP_FILTERS", ("zscale", "no_such_filter"))
    with pytest.raises(VideoError, match="lacks no_such_filter"):
        read_frames(info, Span(0, 2), full_fit(info), tone_map=True)


def test_thumbnails_prove_that_every_frame_decodes(clips: Path) -> None:
    info = probe(make_bad_input("scrambled", clips))
    with pytest.raises(VideoError, match=r"scrambled\.mp4: is damaged"):
        list(read_thumbnails(info))
    with pytest.raises(VideoError, match="damaged"):
        list(read_frames(info, Span(0, info.frames), small_fit(info)))
    good = probe(make_clip("plain", clips))
    thumbnails = list(read_thumbnails(good))
    assert {thumbnail.shape for thumbnail in thumbnails} == {(36, 64, 3)}
    assert len(thumbnails) == good.frames


@pytest.mark.parametrize("surplus", [-1, 1])
def test_another_number_of_frames_than_planned_is_refused(surplus: int, clips: Path) -> None:
    info = probe(make_clip("plain", clips))
    frames = info.frames + surplus
    wrong = VideoInfo(**{**vars(info), "frames": frames, "pts": tuple(range(frames))})
    with pytest.raises(VideoError, match="is damaged"):
        list(read_thumbnails(wrong))


@pytest.mark.parametrize("fault", ["short", "long", "error", "none"])
def test_nothing_is_left_of_a_failed_write(fault: str, clips: Path, tmp_path: Path) -> None:
    info = probe(make_clip("plain", clips))
    canvas = small_fit(info)
    frames = list(read_frames(info, Span(0, info.frames), canvas))

    def failing() -> Iterator[np.ndarray]:
        yield from frames[:5]
        raise ArithmeticError("the model failed")

    given = {"short": frames[:-1], "long": [*frames, frames[0]], "error": failing(), "none": []}[fault]
    with pytest.raises(ArithmeticError if fault == "error" else RunError):
        write_video(given, info, canvas, tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_older_result(clips: Path, tmp_path: Path) -> None:
    info = probe(make_clip("silent", clips))
    canvas = small_fit(info)
    path = write_video(read_frames(info, Span(0, info.frames), canvas), info, canvas, tmp_path / "a.mp4")
    before = path.read_bytes()
    with pytest.raises(RunError, match="2 frames were given"):
        write_video(read_frames(info, Span(0, 2), canvas), info, canvas, path)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_told(clips: Path, tmp_path: Path) -> None:
    info = probe(make_clip("silent", clips))
    canvas = small_fit(info)
    with pytest.raises(RunError, match="could not be encoded"):
        write_video(read_frames(info, Span(0, info.frames), canvas), info, canvas, tmp_path / "gone" / "a.mp4")


def test_writing_is_reproducible(clips: Path, tmp_path: Path) -> None:
    info = probe(make_clip("plain", clips))
    canvas = small_fit(info)
    first, second = (
        write_video(read_frames(info, Span(0, info.frames), canvas), info, canvas, tmp_path / name)
        for name in ("a.mp4", "b.mp4")
    )
    assert first.read_bytes() == second.read_bytes()


def test_titles_and_comments_are_not_handed_on(clips: Path, tmp_path: Path) -> None:
    marked, markup = tmp_path / "marked.mp4", "<script>alert(1)</script>"
    tags = [word for tag in ("title", "comment", "artist") for word in ("-metadata", f"{tag}={markup}")]
    run_ffmpeg("-i", make_clip("plain", clips), "-c", "copy", *tags, "-metadata:s:a:0", f"title={markup}", marked)
    assert markup.encode() in marked.read_bytes()
    info = probe(marked)
    canvas = small_fit(info)
    path = write_video(read_frames(info, Span(0, info.frames), canvas), info, canvas, tmp_path / "out.mp4")
    assert b"<script>" not in path.read_bytes()


@pytest.mark.parametrize(
    "name", ["-x.mp4", "a%03d.mp4", "concat:a.mp4", 'it\'s a "film" né 映画.mp4', "pipe:1.mp4", "new\nline.mp4"]
)
def test_names_are_only_names(name: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(make_clip("silent", clips).read_bytes())
    info = probe(Path(name))
    canvas = small_fit(info)
    (tmp_path / "out").mkdir()
    path = write_video(read_frames(info, Span(0, info.frames), canvas), info, canvas, Path("out", name))
    assert [p.name for p in (tmp_path / "out").iterdir()] == [path.name] == [name]
    assert sum(1 for _ in read_thumbnails(probe(path))) == info.frames


def test_reading_ten_times_as_much_takes_no_more_memory(clips: Path, tmp_path: Path) -> None:
    short, long = tmp_path / "short.mp4", tmp_path / "long.mp4"
    run_ffmpeg("-i", make_clip("silent", clips), "-c", "copy", short)
    run_ffmpeg("-stream_loop", "9", "-i", short, "-c", "copy", long)
    short_peak, long_peak = (peak_of_reading(probe(path)) for path in (short, long))
    assert long_peak < 1.1 * short_peak


def peak_of_reading(info: VideoInfo) -> int:
    canvas = fit(info, 180, 320)
    spans = [Span(start, min(start + 12, info.frames)) for start in range(0, info.frames, 8)]
    tracemalloc.start()
    try:
        count = sum(len(frames) for frames in read_spans(info, spans, canvas))
        assert count >= info.frames
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_closing_the_reader_ends_the_decoder(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from storage import decoding

    started: list[decoding.Pipe] = []

    class NotedPipe(decoding.Pipe):
        def __enter__(self) -> "NotedPipe":
            started.append(self)
            return self

    monkeypatch.setattr(decoding, "Pipe", NotedPipe)
    info = probe(make_clip("plain", clips))
    with closing(read_frames(info, Span(0, info.frames), full_fit(info))) as frames:
        next(frames)
        assert started[0].is_running
    assert not started[0].is_running
