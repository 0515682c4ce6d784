"""Defaults for other people's software: ours where nothing is set, never over what is."""

import os
import pwd
import subprocess
import sys
from pathlib import Path
from urllib.request import proxy_bypass

import pytest

from flows.environment import LOGINS, PROXIES, RAY_ON_LOOPBACK, prepare_environment, user_folder
from model.errors import RequestError


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


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container whose user is a number that no file names."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_folder("cache") == tmp_path / "memory-v2v"
    with pytest.raises(RequestError, match="this user has no home; set XDG_DATA_HOME to a folder"):
        user_folder("data")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting of Prefect's, and a home of its own."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "prefect"
    home.mkdir()
    monkeypatch.setenv("PREFECT_HOME", str(home))
    return home


@pytest.mark.parametrize("variable", ["PREFECT_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"])
def test_a_home_that_cannot_be_written_is_told(bare: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    (bare / "file").touch()
    if variable == "XDG_DATA_HOME":
        monkeypatch.delenv("PREFECT_HOME")
    monkeypatch.setenv(variable, str(bare / "file" / "home"))
    with pytest.raises(RequestError, match=rf"cannot be made a folder .*set {variable} to"):
        prepare_environment()


def test_our_own_server_has_a_password(bare: Path) -> None:
    prepare_environment()
    login = os.environ["PREFECT_SERVER_API_AUTH_STRING"]
    assert len(login) > 32
    assert os.environ["PREFECT_API_AUTH_STRING"] == login
    assert os.environ["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1"
    prepare_environment()
    assert os.environ["PREFECT_SERVER_API_AUTH_STRING"] == login


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(("", "me:words"), "me:words"), (("me:words", ""), "me:words"), (("me:words", "me:others"), "me:words")],
)
def test_our_own_server_and_we_have_one_password(
    theirs: tuple[str, str], ours: str, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was set for another server, whose address is not set, would lock us out."""
    for name, value in zip(LOGINS, theirs, strict=True):
        monkeypatch.setenv(name, value)
    prepare_environment()
    assert [os.environ[name] for name in LOGINS] == [ours, ours]


@pytest.mark.parametrize("by", ["environment", "profile"])
def test_the_users_server_is_not_told_a_password_of_ours(by: str, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "environment":
        monkeypatch.setenv("PREFECT_API_URL", "http://prefect.test/api")
    else:
        (bare / "profiles.toml").write_text('[profiles.mine]\nPREFECT_API_URL = "http://prefect.test/api"\n')
    prepare_environment()
    assert not {"PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"} & set(os.environ)


def test_ray_of_our_own_stays_on_loopback_and_a_cluster_does_not(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, value = RAY_ON_LOOPBACK
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv(name, "to be restored")
    monkeypatch.delenv(name)
    with monkeypatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "ray.test:6379")
        prepare_environment()
        assert name not in os.environ
    prepare_environment()
    assert os.environ[name] == value


def test_a_ray_of_our_own_has_a_token_of_its_own(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is not kept in the home: that may be read-only, and others of ours would share it."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "to be restored")
    prepare_environment()
    assert os.environ["RAY_AUTH_TOKEN"] == "to be restored"
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    prepare_environment()
    assert "RAY_AUTH_TOKEN" not in os.environ, "it would not be that of the cluster"
    monkeypatch.delenv("RAY_ADDRESS")
    prepare_environment()
    assert "RAY_AUTH_TOKEN" not in os.environ, "theirs lies in a file"
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    prepare_environment()
    token = os.environ["RAY_AUTH_TOKEN"]
    assert len(token) == 64
    prepare_environment()
    assert os.environ["RAY_AUTH_TOKEN"] == token


def test_a_proxy_is_not_asked_for_this_machine(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *map(str.lower, PROXIES), "no_proxy"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("NO_PROXY", "corp.test")
    prepare_environment()
    assert (os.environ["NO_PROXY"], os.environ["no_proxy"]) == ("corp.test", "")
    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    for _ in range(2):
        prepare_environment()
        assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "corp.test,127.0.0.1,localhost"
    assert all(proxy_bypass(name) for name in ("127.0.0.1", "localhost", "corp.test"))
    assert not proxy_bypass("prefect.test")
    monkeypatch.setenv("NO_PROXY", "*")
    prepare_environment()
    assert proxy_bypass("prefect.test")


def test_programs_take_no_module_from_where_they_are_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text("print('planted')")
    command = [sys.executable, "-m", "planted"]
    prepare_environment()
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "No module named planted" in refused.stderr
    monkeypatch.delenv("PYTHONSAFEPATH")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout == "planted\n"
