"""The locks on every command line, and processes that flood, hang, fail or are no longer wanted."""

import os
import stat
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import ffmpeg
import pytest

from storage import ffmpeg as running
from storage.ffmpeg import FfmpegError, Pipe, compile_command, find_ffmpeg, has_filter, open_source, version
from tests.clips import make_clip
from tests.waiting import wait_for


def fake_ffmpeg(folder: Path, program: str) -> Path:
    path = folder / "ffmpeg"
    path.write_text(f"#!{sys.executable}\n{program}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_environment_comes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, on_path = tmp_path / "named", tmp_path / "path"
    for folder in (named, on_path):
        folder.mkdir()
        fake_ffmpeg(folder, "")
    monkeypatch.setenv("PATH", str(on_path))
    monkeypatch.delenv("MEMORY_V2V_FFMPEG", raising=False)
    assert find_ffmpeg() == on_path / "ffmpeg"
    monkeypatch.setenv("MEMORY_V2V_FFMPEG", str(named / "ffmpeg"))
    assert find_ffmpeg() == named / "ffmpeg"
    monkeypatch.setenv("MEMORY_V2V_FFMPEG", str(tmp_path / "gone"))
    with pytest.raises(FfmpegError, match=r"names .*gone, which is no program"):
        find_ffmpeg()


def test_without_any_on_the_path_the_bundled_one_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MEMORY_V2V_FFMPEG", raising=False)
    assert find_ffmpeg().is_file()


def test_version_and_filters_are_known() -> None:
    assert version()[0].isdigit()
    assert has_filter("scale")
    assert not has_filter("no_such_filter")


def test_every_command_is_locked() -> None:
    source = open_source(Path("-x.mp4"))
    command = compile_command(ffmpeg.output(source, "pipe:1", format="rawvideo"), "-copyts")
    given = dict(pairwise(command))
    assert given["-i"] == f"file:{Path.cwd()}/-x.mp4"
    assert given["-protocol_whitelist"] == "file"
    assert set(given["-format_whitelist"].split(",")) == {"mov", "matroska", "avi", "mpegts", "mpeg", "mxf"}
    assert not {"magicyuv", "flic", "gif", "rawvideo"} & set(given["-codec_whitelist"].split(","))
    assert {"-nostdin", "-xerror", "-max_alloc", "-max_pixels", "-max_streams", "-copyts"} <= set(command)
    assert command.index("-protocol_whitelist") < command.index("-i")


def test_a_flood_of_complaints_blocks_nothing(tmp_path: Path) -> None:
    program = "import sys\nfor i in range(20000): print('x' * 100, file=sys.stderr)\nsys.stdout.write('done')"
    with Pipe([str(fake_ffmpeg(tmp_path, program))]) as pipe:
        buffer = bytearray(10)
        assert pipe.read_into(memoryview(buffer)) == 4
        pipe.finish()
    assert bytes(buffer[:4]) == b"done"


def test_a_failure_is_told_in_its_own_words(tmp_path: Path) -> None:
    program = "import sys\nprint('[h264 @ 0x5] [error] no such luck', file=sys.stderr)\nsys.exit(3)"
    with (
        Pipe([str(fake_ffmpeg(tmp_path, program))]) as pipe,
        pytest.raises(FfmpegError, match=r"^no such luck$"),
    ):
        pipe.finish()


@pytest.mark.parametrize("feeds", [False, True])
def test_a_process_that_hangs_and_ignores_signals_is_killed(
    feeds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "GRACE_SECONDS", 0.2)
    ready = tmp_path / "ready"
    program = (
        f"import pathlib, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(ready)!r}).touch()\ntime.sleep(600)"
    )
    with Pipe([str(fake_ffmpeg(tmp_path, program))], feeds=feeds, stall_seconds=0.5) as pipe:
        while feeds and not ready.exists():
            time.sleep(0.01)
        move = pipe.write if feeds else pipe.read_into
        with pytest.raises(FfmpegError, match="made no progress"):
            move(memoryview(bytearray(10_000_000)))
        assert not pipe.is_running


def test_an_encoder_that_dies_early_is_noticed(tmp_path: Path) -> None:
    program = "import sys\nprint('disk is full', file=sys.stderr)\nsys.exit(1)"
    with (
        Pipe([str(fake_ffmpeg(tmp_path, program))], feeds=True) as pipe,
        pytest.raises(FfmpegError, match="disk is full"),
    ):
        pipe.write(memoryview(bytes(10_000_000)))


def test_what_works_in_silence_has_its_time_until_the_first_byte(tmp_path: Path) -> None:
    """And no longer: what stands still after it is stopped."""
    program = "import time\ntime.sleep(2)\nprint('a', end='', flush=True)\ntime.sleep(600)"
    command, one = [str(fake_ffmpeg(tmp_path, program))], memoryview(bytearray(1))
    with Pipe(command, stall_seconds=0.5) as pipe, pytest.raises(FfmpegError, match="no progress"):
        pipe.read_into(one)
    with Pipe(command, stall_seconds=0.5, silent_seconds=400.0) as pipe:
        assert pipe.read_into(one) == 1
        with pytest.raises(FfmpegError, match="no progress"):
            pipe.read_into(one)


def test_leaving_the_block_ends_the_process(tmp_path: Path) -> None:
    with Pipe([str(fake_ffmpeg(tmp_path, "import time\ntime.sleep(600)"))]) as pipe:
        assert pipe.is_running
    assert not pipe.is_running


def test_no_secret_reaches_the_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with Pipe([str(fake_ffmpeg(tmp_path, "import os\nprint(sorted(os.environ))"))]) as pipe:
        buffer = bytearray(4000)
        count = pipe.read_into(memoryview(buffer))
    assert b"PATH" in buffer[:count]
    assert b"AWS" not in buffer[:count]


def once_limited(name: str, most: int) -> str:
    """Code that waits, a minute at most, for the limit that is set from outside."""
    code = "import resource, time\nend = time.monotonic() + 60\n"
    return (
        code + f"while resource.getrlimit(resource.{name})[0] != {most} and time.monotonic() < end: time.sleep(.01)\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit another process")
def test_a_decoder_cannot_write_files(tmp_path: Path) -> None:
    stolen = tmp_path / "stolen"
    program = (
        f"import pathlib\n{once_limited('RLIMIT_FSIZE', 0)}"
        f"try: pathlib.Path({str(stolen)!r}).write_text('x' * 10)\nexcept OSError: print('refused')"
    )
    with Pipe(
        [str(fake_ffmpeg(tmp_path, f"import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n{program}"))]
    ) as pipe:
        buffer = bytearray(7)
        pipe.read_into(memoryview(buffer))
    assert bytes(buffer) == b"refused"
    assert stolen.stat().st_size == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit another process")
@pytest.mark.parametrize(("limit", "outcome"), [(2**29, b"refused"), (running.MAX_DECODER_BYTES, b"granted")])
def test_a_decoder_cannot_take_all_memory(
    limit: int, outcome: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "MAX_DECODER_BYTES", limit)
    program = (
        f"import mmap\n{once_limited('RLIMIT_AS', limit)}"
        "try: print('granted' if mmap.mmap(-1, 2**30) else '')\nexcept OSError: print('refused')"
    )
    with Pipe([str(fake_ffmpeg(tmp_path, program))]) as pipe:
        buffer = bytearray(7)
        pipe.read_into(memoryview(buffer))
    assert bytes(buffer) == outcome


READER = """
import sys
from pathlib import Path
from model.types import Span
from storage import decoding
from storage.geometry import fit
from storage.probe import probe
from storage.video import read_frames

class NotedPipe(decoding.Pipe):
    def __enter__(self):
        print(self._process.pid, flush=True)
        return self

decoding.Pipe = NotedPipe
info = probe(Path(sys.argv[1]))
frames = read_frames(info, Span(0, info.frames), fit(info, 720, 1280))
next(frames)
sys.stdin.read()
"""


def test_the_decoder_ends_when_its_reader_is_killed(clips: Path) -> None:
    command = [sys.executable, "-c", READER, str(make_clip("plain", clips))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        decoder = int(reader.stdout.readline())
        os.kill(decoder, 0)
        reader.kill()
    wait_for(lambda: has_ended(decoder))


def has_ended(process: int) -> bool:
    """Whether a process that is not our child is gone, or a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
