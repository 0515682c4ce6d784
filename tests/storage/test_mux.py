"""Which container holds what."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.errors import RequestError
from storage.mux import choose_suffix
from storage.probe import AudioInfo, VideoInfo, probe
from tests.clips import make_clip


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
    ],
)
def test_the_suffix_fits_codec_and_sound(
    codec: str, sound: tuple[str, ...], wanted: str, given: str, clips: Path
) -> None:
    assert choose_suffix(with_sound(clips, *sound), codec, wanted) == given


def test_a_pair_that_no_container_holds_is_refused(clips: Path) -> None:
    with pytest.raises(RequestError, match=r"no container holds dnxhr together with its sound \(vorbis\)"):
        choose_suffix(with_sound(clips, "vorbis"), "dnxhr", ".mov")
