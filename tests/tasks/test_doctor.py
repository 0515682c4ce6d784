"""What is missing is found, and each finding that is not good says what to do."""

import os
import socket
from pathlib import Path

import pytest
import torch

from tasks import doctor, weights
from tasks.doctor import Finding, examine, is_known_faulty


def found(name: str, weights: str = "untrained", out: Path = Path("out"), cache: Path | None = None) -> Finding:
    return next(one for one in examine(weights, out, cache or Path("/nowhere")) if one.name == name)


def test_whatever_is_not_good_says_what_to_do(tmp_path: Path) -> None:
    findings = examine(str(tmp_path / "absent"), tmp_path, tmp_path)
    assert {one.name for one in findings} >= {"python", "ffmpeg", "pyav", "gpu", "weights", "disk", "port 4200"}
    for one in findings:
        assert (one.fix == "") is (one.state == "ok"), one
        assert "\n" not in one.detail + one.fix


def test_missing_ffmpeg_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMORY_V2V_FFMPEG", "no-such-program")
    finding = found("ffmpeg", str(tmp_path), tmp_path, tmp_path)
    assert finding.state == "missing"
    assert "no-such-program" in finding.detail


def test_an_ffmpeg_that_does_not_run_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMORY_V2V_FFMPEG", "false")
    finding = found("ffmpeg", str(tmp_path), tmp_path, tmp_path)
    assert finding.state == "missing"
    assert "false does not run" in finding.detail


def test_a_model_of_the_hub_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def download(name: str, *, offline: bool) -> Path:
        asked.append(offline)
        return tmp_path

    monkeypatch.setattr(weights, "_download", download)
    assert found("weights", "owner/name", tmp_path, tmp_path).state == "ok"
    assert asked == [True]


def test_an_output_folder_below_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = found("disk", str(tmp_path), tmp_path / "file" / "out", tmp_path)
    assert finding.state == "missing"
    assert "is a file" in finding.detail


def test_a_small_disk_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_GB", 10**9)
    assert found("disk", str(tmp_path), tmp_path / "not" / "yet", tmp_path).state == "note"
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(doctor, "PORTS", {port: "a test"})
        assert found(f"port {port}", str(tmp_path), tmp_path, tmp_path).state == "note"
    assert found(f"port {port}", str(tmp_path), tmp_path, tmp_path).state == "ok"


def test_whether_torch_can_use_the_gpu_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card that the driver lists may be of no use to the build of torch that is here."""
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'a card, 24564 MiB'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    finding = found("gpu", str(tmp_path), tmp_path, tmp_path)
    assert finding.state == ("ok" if torch.cuda.is_available() else "note")
    assert finding.detail.startswith(f"a card, 24564 MiB; torch {torch.__version__} can")


def test_old_libraries_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, state in (("8.1.2", "note"), ("8.1.3", "ok"), ("9.0.1", "note"), ("9.0.2", "ok")):
        monkeypatch.setattr(doctor.av, "ffmpeg_version_info", version)
        monkeypatch.setattr(doctor, "version", lambda told=version: told)
        for name in ("pyav", "ffmpeg"):
            assert found(name, str(tmp_path), tmp_path, tmp_path).state == state


@pytest.mark.parametrize(
    ("told", "faulty"),
    [
        ("5.1.9-0+deb12u1", True),
        ("7.0.2-static", True),
        ("8.1.2", True),
        ("n8.1.3", False),
        ("8.2", False),
        ("9.0", True),
        ("9.0.2-17-g2a571b6068-20260930", False),
        ("9.1", False),
        ("10.0", False),
        ("N-118193-g5f38c82", True),
        ("unknown", True),
    ],
)
def test_versions_are_read_as_they_are_told(told: str, faulty: bool) -> None:
    assert is_known_faulty(told) is faulty
