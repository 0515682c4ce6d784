"""The page that `serve` starts lets nobody in who does not know the password: asked over sockets, as an attacker would.

Other servers of a run bind to loopback too; that is read from the system for all processes of the command. What the
server does by itself is waited for: it marks a killed run, and tells of failures.
"""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from flows.automations import FAILED_RUNS, SILENT_RUNS
from flows.deployments import read_deployments
from flows.serve import _password
from tests.waiting import wait_for

LOOPBACK = ("127.0.0.1", "::1")
PATIENCE = 400.0  # seconds, of a busy machine
NIGHT = ("--nightly", "catalog.jsonl", "--out", "edited", "--at", "7:05", "--timezone", "Asia/Tokyo")


@dataclass(frozen=True)
class Served:
    """A running `memory-v2v serve`."""

    process: psutil.Process
    port: int
    login: str


@pytest.fixture(scope="module")
def alerts() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A web address, and what was posted to it."""
    told: list[dict[str, str]] = []

    class Listening(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listening)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/secret", told
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, alerts: tuple[str, list[dict[str, str]]]) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("home")
    line = {"video_id": "one", "uri": "one.mp4", "turns": [{"prompt": "make it night"}]}
    (home / "catalog.jsonl").write_text(json.dumps(line))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {**ours, "XDG_DATA_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    command = [sys.executable, "-m", "flows.cli", "serve", "--port", str(port), "--alert", alerts[0], "--json", *NIGHT]
    with subprocess.Popen(
        command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
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
    connection = HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
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
    sockets = []
    for process in family:
        with suppress(psutil.NoSuchProcess):
            sockets += [one for one in process.net_connections("inet") if one.status == "LISTEN"]
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
    connection = HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
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
        address = f"ws://127.0.0.1:{served.port}/api/{path}"
        async with connect(address, subprotocols=protocols or None, open_timeout=PATIENCE) as page:
            await page.send(json.dumps({"type": "auth", "token": login}))
            return json.loads(await asyncio.wait_for(page.recv(), PATIENCE)).get("type") == "auth_success"
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


KILLED = """
import time
from prefect import flow
@flow(name="edit-video", flow_run_name="fell <silent>")
def silent():
    print("started", flush=True)
    time.sleep(600)
silent()
"""


def in_process(served: Served, code: str) -> "subprocess.Popen[str]":
    """Python that talks to the server, in a process of its own: Prefect reads its settings once."""
    address = f"http://127.0.0.1:{served.port}/api"
    environment = {**os.environ, "PREFECT_API_URL": address, "PREFECT_API_AUTH_STRING": served.login}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)


@contextmanager
def page_of(served: Served) -> Iterator[httpx.Client]:
    """The server as its page talks to it."""
    user, _, password = served.login.partition(":")
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}/api", auth=(user, password), timeout=PATIENCE) as page:
        token = page.get("/csrf-token", params={"client": "test"}).json()["token"]
        page.headers.update({"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "test"})
        yield page


def names(page: httpx.Client, what: str) -> list[str]:
    return sorted(one["name"] for one in page.post(f"/{what}/filter", json={}).json())


def test_all_that_can_be_run_is_on_the_page(served: Served) -> None:
    expected = sorted(deployment.name for deployment in read_deployments(None))
    with page_of(served) as page:
        wait_for(lambda: len(names(page, "deployments")) >= len(expected))
        assert names(page, "deployments") == expected


def test_the_catalog_is_due_every_day_until_it_is_not_asked_for(served: Served) -> None:
    due = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "sort": "EXPECTED_START_TIME_ASC"}
    with page_of(served) as page:
        runs = wait_for(lambda: page.post("/flow_runs/filter", json=due).json())
        days = [datetime.fromisoformat(run["expected_start_time"]).astimezone(ZoneInfo("Asia/Tokyo")) for run in runs]
        assert {(day.hour, day.minute) for day in days} == {(7, 5)}
        assert all(after - before == timedelta(days=1) for before, after in pairwise(days))
        request = runs[0]["parameters"]["request"]
        assert {Path(request["manifest"]).name, Path(request["out"]).name} == {"catalog.jsonl", "edited"}
        assert Path(request["manifest"]).is_file()
        forget = "from flows.deployments import *; forget_hours(read_deployments(None))"
        assert in_process(served, forget).wait(PATIENCE) == 0
        assert page.post("/flow_runs/filter", json=due).json() == []
        assert not any(one["schedules"] for one in page.post("/deployments/filter", json={}).json())


def test_a_run_that_fails_is_told(served: Served, alerts: tuple[str, list[dict[str, str]]]) -> None:
    missing = {"manifest": "/missing.yaml", "config": "/missing.yaml", "out": "/missing/<out>"}
    with page_of(served) as page:
        place = "/deployments/name/train-model/train-model"
        deployment = wait_for(lambda: page.get(place).json().get("id"))
        run = page.post(f"/deployments/{deployment}/create_flow_run", json={"parameters": missing}).json()
    told = wait_for(lambda: [one for one in alerts[1] if one["flow"] == "train-model"])
    assert (told[0]["flow_run"], told[0]["state"]) == ("train <out>", "Failed")
    assert "/missing.yaml: no such file" in told[0]["message"]
    assert told[0]["link"] == f"http://127.0.0.1:{served.port}/runs/flow-run/{run['id']}"
    assert told[0]["text"].startswith("train-model: train &lt;out> is Failed\n")
    assert told[0]["text"].endswith(told[0]["link"])


def test_a_killed_run_is_marked_and_told(served: Served, alerts: tuple[str, list[dict[str, str]]]) -> None:
    """It may not have given a sign of life yet. Installed twice, both automations are there once."""
    renew = f"install_automations(['edit-video'], Alert({alerts[0]!r}, True), silence_seconds=20)"
    code = f"from flows.automations import Alert, install_automations\n{renew}\n{renew}"
    assert in_process(served, code).wait(PATIENCE) == 0
    with page_of(served) as page:
        assert names(page, "automations") == sorted([SILENT_RUNS, FAILED_RUNS])
        with in_process(served, KILLED) as run:
            assert run.stdout is not None
            assert run.stdout.readline() == "started\n"
            run.kill()
        told = wait_for(lambda: [one for one in alerts[1] if one["flow"] == "edit-video"])
        assert (told[0]["flow_run"], told[0]["state"]) == ("fell <silent>", "Crashed")
        assert told[0]["message"].startswith("no sign of life for 20 s")
        runs = page.post("/flow_runs/filter", json={"flows": {"name": {"any_": ["edit-video"]}}}).json()
        assert [one["state"]["name"] for one in runs] == ["Crashed"]


def test_without_an_alert_nobody_is_told_any_more(served: Served) -> None:
    install = "from flows.automations import install_automations; install_automations(['edit-video'], None)"
    assert in_process(served, install).wait(PATIENCE) == 0
    with page_of(served) as page:
        assert names(page, "automations") == [SILENT_RUNS]


def test_a_port_that_is_taken_and_a_server_that_is_away_are_one_line(tmp_path: Path) -> None:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {**ours, "XDG_DATA_HOME": str(tmp_path), "PREFECT_API_URL": "http://127.0.0.1:1/api"}
    command = [sys.executable, "-m", "flows.cli", "serve"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, told in ((["--port", port], f"port {port} is taken"), (["--join"], "no Prefect server lets us in")):
            done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, timeout=PATIENCE)
            assert done.returncode == 1
            assert told in done.stderr.strip().splitlines()[-1]
            assert "Traceback" not in done.stderr


def test_serve_ends_with_its_server(served: Served) -> None:
    """The last test here: it takes the server away, which nobody could be served without."""
    server = next(one for one in served.process.children() if "server" in one.cmdline())
    server.kill()
    assert served.process.wait(timeout=PATIENCE) == 1
