"""The Prefect page on this machine, with the flows ready to be run from it.

Bound to 127.0.0.1 and protected by a password made on first use: whoever can start a flow can read and write files as
the user who started this.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

from flows.environment import user_folder
from model.errors import RunError

START_SECONDS = 120


def serve_flows(port: int, announce: Callable[[str, str], None]) -> None:
    """Start the server, register the flows, and run what is asked of them until interrupted.

    `announce` is told the page's address and its login, once both are good.

    Raises:
        RunError: the server did not come up, most often because the port is taken.
    """
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
    command = [sys.executable, "-P", "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=sys.stderr)
    try:
        _wait_for(port, server)
        announce(page, login)
        from prefect import serve

        from flows.edit import edit_video
        from flows.evaluation import evaluate_consistency
        from flows.novel_views import novel_views
        from flows.training import train_model
        from flows.training_data import extend_dataset

        flows: tuple[Any, ...] = (edit_video, novel_views, extend_dataset, train_model, evaluate_consistency)
        serve(*(flow.to_deployment(flow.name) for flow in flows), limit=1, print_starting_message=False)
    finally:
        server.terminate()
        server.wait(timeout=10)


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
            time.sleep(0.5)
        finally:
            connection.close()
    raise RunError(f"the Prefect server did not answer within {START_SECONDS} s")
