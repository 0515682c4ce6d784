"""Defaults for other people's software: ours where nothing is set, never over what is."""

import os
from pathlib import Path

import pytest

from flows.environment import prepare_environment, user_folder


def test_telemetry_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for name in ("PREFECT_SERVER_ANALYTICS_ENABLED", "DO_NOT_TRACK", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    prepare_environment()
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert Path(os.environ["PREFECT_HOME"]).is_dir()
    assert Path(os.environ["PREFECT_HOME"]).is_relative_to(tmp_path)


def test_user_folders_follow_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_folder("cache") == tmp_path / "memory-v2v"
    assert user_folder("data") == tmp_path / "home" / ".local/share/memory-v2v"
