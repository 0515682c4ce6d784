"""The page that `serve` starts lets nobody in who does not know the password: asked over sockets, as an attacker would.

Other servers of a run bind to loopback too; that is read from the system for all processes of the command.
"""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from flows.serve import _password

LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class Served:
    """A running `memory-v2v serve`."""

    process: psutil.Process
    port: int
    login: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("home")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {**ours, "XDG_DATA_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    command = [sys.executable, "-m", "flows.cli", "serve", "--port", str(port), "--json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        assert run.stdout is not None
        told = json.loads(run.stdout.readline())
        process = psutil.Process(run.pid)
        family = [process, *process.children(recursive=True)]
        try:
            yield Served(process, port, told["login"])
        finally:
            run.terminate()
            _, alive = psutil.wait_procs(family, timeout=20)
            for one in alive:
                one.kill()


def ask(served: Served, method: str = "POST", login: str | None = None, **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers of one request for the flows: all of them by POST, one by GET."""
    connection = HTTPConnection("127.0.0.1", served.port, timeout=30)
    if login is not None:
        headers["Authorization"] = "Basic " + b64encode(login.encode()).decode()
    try:
        place = "/api/flows/filter" if method == "POST" else "/api/flows/name/edit-video"
        connection.request(method, place, "{}", {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def test_every_socket_is_bound_to_this_machine(served: Served) -> None:
    family = [served.process, *served.process.children(recursive=True)]
    sockets = [one for process in family for one in process.net_connections("inet") if one.status == "LISTEN"]
    assert served.port in {one.laddr.port for one in sockets}
    assert {one.laddr.ip for one in sockets} <= set(LOOPBACK)


@pytest.mark.parametrize("login", [None, "", "operator:", "operator:wrong", ":", "memory-v2v:"])
def test_requests_without_the_password_are_refused(login: str | None, served: Served) -> None:
    assert ask(served, "GET", login)[0] == 401
    assert ask(served, "POST", login)[0] in (401, 403)


def test_what_the_password_opens_needs_a_token_of_the_page_too(served: Served) -> None:
    """The control of the test above, and the lock against other pages in the same browser."""
    assert ask(served, "GET", served.login)[0] in (200, 404)
    assert ask(served, login=served.login)[0] == 403
    connection = HTTPConnection("127.0.0.1", served.port, timeout=30)
    headers = {"Authorization": "Basic " + b64encode(served.login.encode()).decode()}
    connection.request("GET", "/api/csrf-token?client=test", headers=headers)
    token = json.loads(connection.getresponse().read())["token"]
    connection.close()
    known = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "test"}
    assert ask(served, login=served.login, **known)[0] == 200


def test_pages_from_elsewhere_are_not_told_anything(served: Served) -> None:
    asked = {"Access-Control-Request-Method": "POST"}
    for origin, allowed in (("https://evil.test", None), (page := f"http://127.0.0.1:{served.port}", page)):
        _, headers = ask(served, "OPTIONS", Origin=origin, **asked)
        assert headers.get("access-control-allow-origin") == allowed


@pytest.mark.parametrize("path", ["events/in", "events/out", "logs/out"])
def test_web_sockets_without_the_password_are_refused(path: str, served: Served) -> None:
    for protocols in ([], [Subprotocol("prefect")]):
        for word in (None, "operator:wrong"):
            assert not asyncio.run(admitted(served, path, protocols, word)), (protocols, word)
    assert asyncio.run(admitted(served, path, [Subprotocol("prefect")], served.login)), "the control"


async def admitted(served: Served, path: str, protocols: list[Subprotocol], login: str | None) -> bool:
    """Whether a web socket is told that its password is right."""
    try:
        async with connect(f"ws://127.0.0.1:{served.port}/api/{path}", subprotocols=protocols or None) as page:
            await page.send(json.dumps({"type": "auth", "token": login}))
            return json.loads(await asyncio.wait_for(page.recv(), 20)).get("type") == "auth_success"
    except (ConnectionClosed, InvalidStatus):
        return False


def test_the_password_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path = tmp_path / "memory-v2v" / "serve-password"
    path.parent.mkdir()
    path.touch(mode=0o644)  # left empty by a start that was killed
    assert len(_password()) >= 32
    assert _password() == path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
