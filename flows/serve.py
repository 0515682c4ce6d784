"""The Prefect page on this machine, with the flows ready to be run from it.

Bound to 127.0.0.1 and protected by a password made on first use: whoever can start a flow can read and write files as
the user who started this. What can be run stands in `prefect.yaml`, what the server does by itself in
flows/automations.py; both are installed anew at every start.
"""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from threading import Event, Thread

from flows.automations import Alert, install_automations
from flows.deployments import Nightly, describe_hours, forget_hours, read_deployments
from flows.environment import user_folder
from model.errors import RequestError, RunError

START_SECONDS, END_SECONDS = 120, 10


@dataclass(frozen=True)
class ServePlan:
    """What the operator asks for; `join` is to use the server at `PREFECT_API_URL` instead of starting one."""

    port: int = 4200
    join: bool = False
    alert: Alert | None = None
    nightly: Nightly | None = None


@dataclass(frozen=True)
class Served:
    """What is up: the page with its login (None where the server is another's), and what happens by itself."""

    page: str
    login: str | None
    alerts: str | None
    nightly: str | None

    def summary(self) -> str:
        """A few lines for a person."""
        login = self.login or "as its operator set it"
        alerts = self.alerts or "none; --alert URL tells you when a run fails"
        nightly = self.nightly or "nothing; --nightly MANIFEST runs a catalog every day"
        return f"page     {self.page}\nlogin    {login}\nalerts   {alerts}\nnightly  {nightly}\nstop     Ctrl-C"


def serve_flows(plan: ServePlan, announce: Callable[[Served], None]) -> None:
    """Start the server, or join one, register the flows, and run what is asked of them until interrupted.

    `announce` is told what is up, once it is.

    Raises:
        RequestError: there is no server to join.
        RunError: the server did not come up, most often because the port is taken, or the one to join lets nobody in.
    """
    with _join() if plan.join else _server(plan.port) as (page, login):
        from prefect import serve

        deployments = read_deployments(plan.nightly)
        forget_hours(deployments)
        install_automations([deployment.flow_name for deployment in deployments if deployment.flow_name], plan.alert)
        announce(Served(page, login, plan.alert and plan.alert.host, describe_hours(deployments)))
        serve(*deployments, limit=1, pause_on_shutdown=False, print_starting_message=False)


@contextmanager
def _join() -> Iterator[tuple[str, str | None]]:
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        raise RequestError("--join: no server is named; set PREFECT_API_URL, such as http://127.0.0.1:4200/api")
    from tasks.cluster import require_prefect

    require_prefect()
    yield os.environ.get("PREFECT_UI_URL") or address.removesuffix("/api"), None


@contextmanager
def _server(port: int) -> Iterator[tuple[str, str | None]]:
    """A server of our own, which ends with this process, in whatever way."""
    page = f"http://127.0.0.1:{port}"
    login = f"operator:{_password()}"
    os.environ |= {
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_API_AUTH_STRING": login,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": page,
        "PREFECT_SERVER_UI_API_URL": f"{page}/api",
        "PREFECT_API_URL": f"{page}/api",
        "PREFECT_UI_URL": page,
    }
    _require_free(port)
    from tasks.cluster import die_with_us

    command = [sys.executable, "-P", "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=sys.stderr, start_new_session=True)  # Ctrl-C ends us first, then it
    die_with_us([server.pid])
    ended = Event()
    try:
        _wait_for(port, server)
        Thread(target=_end_with, args=(server, ended), daemon=True).start()
        yield page, login
    finally:
        ended.set()
        server.terminate()
        try:
            server.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:  # a page that is open may hold it
            server.kill()
            server.wait()


def _end_with(server: "subprocess.Popen[bytes]", ended: Event) -> None:
    """End this process where its server ends before it: Prefect's runner would ask the dead one for ever."""
    server.wait()
    if not ended.is_set():
        print("memory-v2v: the Prefect server has ended; run serve again. Runs that were begun go on", file=sys.stderr)
        os._exit(1)


def _require_free(port: int) -> None:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as fault:
        raise RunError(f"port {port} is taken, perhaps by another 'serve'; choose another with --port") from fault


def _password() -> str:
    """The password, made where there is none yet or only an empty one; nobody but the user may read it."""
    path = user_folder("data") / "serve-password"
    if not (path.is_file() and path.read_text().strip()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(secrets.token_urlsafe(24))
    path.chmod(0o600)
    return path.read_text().strip()


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RunError(f"the Prefect server ended at once; is port {port} taken? Choose another with --port")
        connection = HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/api/health")
            if connection.getresponse().status < 500:
                return
        except OSError:
            pass  # it does not listen yet
        finally:
            connection.close()
        time.sleep(0.5)
    raise RunError(f"the Prefect server did not answer within {START_SECONDS} s")
