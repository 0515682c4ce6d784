"""Files that try to open other files get nowhere, neither with PyAV nor with ffmpeg itself."""

import http.server
import os
import random
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import ffmpeg
import psutil
import pytest

from model.errors import VideoError
from storage.ffmpeg import SOURCE_OPTIONS, compile_command, open_source
from storage.probe import probe
from storage.source_file import open_container
from storage.video import read_thumbnails
from tests.clips import chart, make_clip, run_ffmpeg, write_ffconcat, write_growing, write_playlist
from tests.waiting import names_of


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A loopback web server that notes what it is asked for."""
    asked: list[str] = []

    class Noting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Noting)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/canary.ts", asked
    server.shutdown()
    server.server_close()
    thread.join()


def decode_with_ffmpeg(path: Path) -> subprocess.CompletedProcess[bytes]:
    command = compile_command(ffmpeg.output(open_source(path), "pipe:1", format="rawvideo", pix_fmt="rgb24"))
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat", "list.txt"])
@pytest.mark.parametrize("write", [write_playlist, write_ffconcat])
def test_a_playlist_reads_no_other_file(
    name: str, write: Callable[[Path, Path], None], clips: Path, tmp_path: Path
) -> None:
    path = tmp_path / name
    write(path, make_clip("transport_stream", clips))
    with pytest.raises(VideoError, match="not a video of an accepted kind"):
        probe(path)
    refused = decode_with_ffmpeg(path)
    assert refused.returncode != 0
    assert refused.stdout == b""


def test_without_the_locks_the_playlist_would_play(clips: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.ffconcat"
    write_ffconcat(path, make_clip("transport_stream", clips))
    target = tmp_path / "played.avi"
    run_ffmpeg("-safe", "0", "-f", "concat", "-i", path, "-frames:v", "1", target)
    assert target.stat().st_size > 0


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
def test_no_request_leaves_the_machine(name: str, listener: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = listener
    path = tmp_path / name
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n")
    with pytest.raises(VideoError):
        probe(path)
    assert decode_with_ffmpeg(path).returncode != 0
    assert asked == []


def test_without_the_locks_the_request_would_leave(listener: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = listener
    path = tmp_path / "list.m3u8"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n")
    with pytest.raises(AssertionError):
        run_ffmpeg("-protocol_whitelist", "file,http,tcp", "-i", path, tmp_path / "played.avi")
    assert asked


def test_pictures_that_grow_on_the_way_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe(write_growing(tmp_path, tmp_path / "grows.mkv"))
    assert (info.width, info.frames) == (320, 14)
    with pytest.raises(VideoError, match=r"grows\.mkv: is damaged"):
        list(read_thumbnails(info))
    monkeypatch.setitem(SOURCE_OPTIONS, "max_pixels", 2**30)  # the control: without the bound they are decoded
    assert len(list(read_thumbnails(info))) == 14


@pytest.mark.parametrize(
    ("codec", "suffix"), [("magicyuv", ".avi"), ("magicyuv", ".mkv"), ("huffyuv", ".avi"), ("flashsv", ".mkv")]
)
def test_codecs_off_the_list_are_refused_by_name(codec: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip{suffix}"
    run_ffmpeg(*chart("64x64", frames=3), "-c:v", codec, path)
    with pytest.raises(VideoError, match=f"codec {codec} is not accepted"):
        probe(path)
    assert decode_with_ffmpeg(path).stdout == b""


def test_flic_animations_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "flic.mp4"
    header = bytearray(128)
    header[0:12] = (
        (1000).to_bytes(4, "little") + b"\x12\xaf" + (2).to_bytes(2, "little") + (64).to_bytes(2, "little") * 2
    )
    header[12:14] = (8).to_bytes(2, "little")
    path.write_bytes(bytes(header) + bytes(1000))
    with pytest.raises(VideoError, match="not a video of an accepted kind"):
        probe(path)


def test_names_with_patterns_and_protocols_open_the_file_of_that_name(clips: Path, tmp_path: Path) -> None:
    for name in ("-x.mp4", "a%03d.mp4", "concat:a.mp4", "http:a.mp4", "pipe:0.mp4", 'it\'s "é 映画".mp4'):
        path = tmp_path / name
        path.write_bytes(make_clip("silent", clips).read_bytes())
        with open_container(path) as container:
            assert isinstance(container.streams.video[0], av.VideoStream)
        assert decode_with_ffmpeg(path).returncode == 0


def test_a_name_that_is_no_text_is_refused(clips: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.write_bytes(make_clip("silent", clips).read_bytes())
    with pytest.raises(VideoError, match="a name that is not UTF-8"):
        probe(path)


def test_too_many_streams_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "many.mkv"
    maps = [word for _ in range(40) for word in ("-map", "0:v")]
    run_ffmpeg(*chart("32x32", frames=2), *maps, "-c:v", "mjpeg", path)
    with pytest.raises(VideoError, match="more than 32 streams"):
        probe(path)


@pytest.mark.parametrize("kind", ["plain", "ntsc_mkv", "vp9_opus", "transport_stream", "avi", "fragmented"])
def test_mutated_clips_are_read_or_refused(kind: str, clips: Path, tmp_path: Path) -> None:
    good = make_clip(kind, clips).read_bytes()
    chance = random.Random(kind)
    outcomes = {read_or_refuse(mutate(good, chance), tmp_path / f"{number}.bin") for number in range(12)}
    assert outcomes <= {"read", "refused"}
    assert_nothing_is_left(tmp_path, 12)


@pytest.mark.parametrize("kind", ["plain", "fragmented"])
def test_clips_cut_at_any_box_are_read_or_refused(kind: str, clips: Path, tmp_path: Path) -> None:
    good = make_clip(kind, clips).read_bytes()
    ends = sorted({end + more for end in boxes(good) for more in (0, 9) if 0 < end + more < len(good)})
    assert len(ends) >= 15
    outcomes = [read_or_refuse(good[:end], tmp_path / f"{end}.mp4") for end in ends]
    assert set(outcomes) == {"read", "refused"}  # where sound alone is cut off, the pictures are whole
    assert_nothing_is_left(tmp_path, len(ends))


def boxes(content: bytes, start: int = 0, stop: int | None = None) -> list[int]:
    """Where the boxes of an MP4 begin, down to those of a track."""
    places = []
    stop = len(content) if stop is None else stop
    while start + 8 <= stop:
        size, name = struct.unpack_from(">I4s", content, start)
        places.append(start)
        if name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"):
            places += boxes(content, start + 8, start + size)
        start += max(8, size)
    return places


def assert_nothing_is_left(folder: Path, files: int) -> None:
    """Neither a process nor a file."""
    programs = names_of(psutil.Process().children(recursive=True))
    assert not {name for name in programs if "ffmpeg" in name}
    assert len(list(folder.iterdir())) == files


def mutate(good: bytes, chance: random.Random) -> bytes:
    """Overwrite some bytes, mostly near the beginning, and sometimes cut the end off."""
    content = bytearray(good)
    for _ in range(chance.choice((1, 5, 50))):
        content[chance.randrange(chance.choice((len(content), 2000)))] = chance.randrange(256)
    return bytes(content[: chance.choice((len(content), len(content), chance.randrange(1, len(content))))])


def read_or_refuse(content: bytes, path: Path) -> str:
    """What becomes of reading all of it: one of two words, or another fault."""
    path.write_bytes(content)
    try:
        info = probe(path)
        assert sum(1 for _ in read_thumbnails(info)) == info.frames
    except VideoError as error:
        return "refused" if str(error).startswith(f"{path}: ") else str(error)
    return "read"


def test_titles_in_other_encodings_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "latin.mkv"
    run_ffmpeg(*chart("64x64", frames=3), "-c:v", "ffv1", "-metadata", "title=caf\u00e9", path)
    path.write_bytes(path.read_bytes().replace("caf\u00e9".encode(), b"caf\xe9\xe9"))
    assert probe(path).frames == 3
