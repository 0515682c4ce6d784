"""Which container holds what."""

from dataclasses import replace
from pathlib import Path

import av
import pytest

from model.errors import RequestError, RunError
from model.types import Span
from storage.geometry import fit
from storage.mux import AUDIO_SUFFIXES, FORMATS, choose_suffix
from storage.probe import AudioInfo, VideoInfo, probe
from storage.video import read_frames, write_video
from tests.clips import chart, make_clip, run_ffmpeg, sound_packets, tone, write_sound_twice, write_without_sound


def with_sound(clips: Path, *codecs: str) -> VideoInfo:
    tracks = tuple(AudioInfo(index, codec, 2, 48000) for index, codec in enumerate(codecs, 1))
    return replace(probe(make_clip("silent", clips)), audio=tracks)


@pytest.mark.parametrize(
    ("codec", "sound", "wanted", "given"),
    [
        ("h264", (), ".mp4", ".mp4"),
        ("h264", (), ".mov", ".mov"),
        ("h264", (), ".webm", ".mp4"),
        ("h264", ("aac",), ".mkv", ".mkv"),
        ("h264", ("pcm_s24le",), ".mp4", ".mov"),
        ("h264", ("aac", "vorbis"), ".mp4", ".mkv"),
        ("prores", ("aac",), ".mp4", ".mov"),
        ("prores", ("flac",), ".mp4", ".mkv"),
        ("dnxhr", (), ".mp4", ".mov"),
        ("ffv1", ("dts",), ".mp4", ".mkv"),
        ("h264", ("pcm_mulaw",), ".mp4", ".mov"),
        ("h264", ("amr_nb", "aac"), ".mkv", ".mov"),
    ],
)
def test_the_suffix_fits_codec_and_sound(
    codec: str, sound: tuple[str, ...], wanted: str, given: str, clips: Path
) -> None:
    assert choose_suffix(with_sound(clips, *sound), codec, wanted) == given


def test_a_pair_that_no_container_holds_is_refused(clips: Path) -> None:
    named = r"no container holds dnxhr together with its sound \(track 1: vorbis\); choose h264 or prores or ffv1$"
    with pytest.raises(RequestError, match=named):
        choose_suffix(with_sound(clips, "vorbis"), "dnxhr", ".mov")


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_container_takes_the_sound_that_it_is_said_to_hold(suffix: str, tmp_path: Path) -> None:
    held = [codec for codec, suffixes in AUDIO_SUFFIXES.items() if suffix in suffixes]
    with av.open(str(tmp_path / f"a{suffix}"), "w", format=FORMATS[suffix]) as container:
        with pytest.raises(ValueError, match="does not support"):  # what `mux` would run into
            container.add_mux_stream("pcm_bluray")
        for codec in held:
            container.add_mux_stream(codec)
        assert len(container.streams) == len(held) > 0


@pytest.mark.parametrize("codec", ["pcm_bluray", "s302m", "aac_latm"])
def test_sound_that_no_container_holds_is_named_before_anything_is_edited(codec: str, clips: Path) -> None:
    named = rf"with its sound \(track 2: {codec}\); convert it first"
    with pytest.raises(RequestError, match=named):
        choose_suffix(with_sound(clips, "aac", codec), "h264", ".mp4")


@pytest.mark.parametrize(("sound", "rate"), [("pcm_mulaw", "8000"), ("pcm_alaw", "8000"), ("mp3", "11025")])
def test_sound_of_old_cameras_is_copied(sound: str, rate: str, tmp_path: Path) -> None:
    path = tmp_path / "camera.avi"
    encoder = {"mp3": "libmp3lame"}.get(sound, sound)
    run_ffmpeg(*chart("64x48", frames=25), *tone(1), "-c:v", "mpeg4", "-bf", "0", "-c:a", encoder, "-ar", rate, path)
    written = rewritten(path)
    assert written.suffix == ".mov"
    assert sound_packets(written)[0]
    assert [track.codec for track in probe(written).audio] == [sound]


def test_a_sound_track_without_any_sound_is_left_out(clips: Path, tmp_path: Path) -> None:
    path = write_without_sound(clips, tmp_path / "silent.ts")
    info = probe(path)
    assert (info.audio, info.unknown_audio) == ((), 1)
    assert sound_packets(rewritten(path)) == []


def test_sound_that_goes_back_in_time_is_refused_before_anything_is_edited(clips: Path, tmp_path: Path) -> None:
    info = probe(write_sound_twice(clips, tmp_path / "twice.ts"))
    with pytest.raises(RequestError, match=r"track 1: aac, whose time stamps go back\); convert it first"):
        choose_suffix(info, "h264", ".mp4")


def test_what_a_container_does_not_take_is_one_line(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(AUDIO_SUFFIXES, "vorbis", (".mov",))
    with pytest.raises(RunError, match=r"could not be written \('mov' format does not support") as caught:
        rewritten(make_clip("vp8_vorbis", clips), tmp_path)
    assert "\n" not in str(caught.value)


def rewritten(path: Path, folder: Path | None = None) -> Path:
    info = probe(path)
    canvas = fit(info, 32, 48)
    frames = read_frames(info, Span(0, info.frames), canvas)
    return write_video(frames, info, canvas, (folder or path.parent) / "written.mp4")
