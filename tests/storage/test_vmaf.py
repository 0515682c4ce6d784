"""VMAF through ffmpeg: the number that ffmpeg itself tells, and frames paired by number."""

import json
import subprocess
from pathlib import Path

import pytest

from model.errors import RunError
from model.metrics.score import NotMeasured, Score
from storage.ffmpeg import find_ffmpeg, has_filter
from storage.probe import probe
from storage.vmaf import vmaf

pytestmark = pytest.mark.skipif(not has_filter("libvmaf"), reason="this ffmpeg has no libvmaf")


def make(path: Path, *filters: str, frames: int = 12, size: str = "192x128") -> Path:
    chain = ",".join(filters) or "null"
    command = [find_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", f"testsrc2=s={size}:r=25", "-vf", chain]
    subprocess.run([*command, "-frames:v", str(frames), "-c:v", "ffv1", "-pix_fmt", "yuv420p", path], check=True)
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vmaf")
    return {
        "source": make(folder / "source.mkv"),
        "blurred": make(folder / "blurred.mkv", "gblur=2"),
        "late": make(folder / "late.mkv", "gblur=2", "setpts=PTS+3/TB"),
        "short": make(folder / "short.mkv", frames=9),
        "small": make(folder / "small.mkv", size="160x128"),
    }


def test_it_is_ffmpegs_own_number(clips: dict[str, Path], tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    graph = f"libvmaf=model=version=vmaf_v0.6.1:log_fmt=json:log_path={log}"
    command = [find_ffmpeg(), "-v", "error", "-i", clips["blurred"], "-i", clips["source"], "-lavfi", graph]
    subprocess.run([*command, "-f", "null", "-"], check=True)
    expected = json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"]
    found = vmaf(probe(clips["source"]), probe(clips["blurred"]))
    assert isinstance(found, Score)
    assert found.value == pytest.approx(expected, abs=1e-3)
    assert found.cases == 12
    same = vmaf(probe(clips["source"]), probe(clips["source"]))
    assert isinstance(same, Score)
    assert same.value > 95 > found.value


def test_frames_are_paired_by_number(clips: dict[str, Path]) -> None:
    source = probe(clips["source"])
    assert vmaf(source, probe(clips["late"])) == vmaf(source, probe(clips["blurred"]))


@pytest.mark.parametrize(("other", "told"), [("short", "9 frames of 192x128"), ("small", "12 frames of 160x128")])
def test_what_cannot_be_compared_is_refused(clips: dict[str, Path], other: str, told: str) -> None:
    with pytest.raises(RunError, match=told):
        vmaf(probe(clips["source"]), probe(clips[other]))


def test_without_libvmaf_there_is_a_reason(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.vmaf.has_filter", lambda name: False)
    source = probe(clips["source"])
    found = vmaf(source, source)
    assert isinstance(found, NotMeasured)
    assert "libvmaf" in found.reason
