"""What a run starts beside itself is reached from this machine alone, and only with what this process knows."""

import json
import os
import subprocess
import sys
import urllib.request
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError

import psutil
import pytest

from model.errors import RequestError, RunError
from tasks.cluster import choose_device, start_cluster
from tests.waiting import names_of

LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def status(url: str, login: str | None) -> int:
    """Of asking for all flows."""
    request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})
    if login is not None:
        request.add_header("Authorization", "Basic " + b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            json.load(answer)
            return answer.status
    except HTTPError as refusal:
        return refusal.code


def listening() -> set[tuple[str, str, int]]:
    """Name, address and port of everything that processes of ours listen to."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # workers come and go
            sockets = [one.laddr for one in process.net_connections("inet") if one.status == "LISTEN"]
            found |= {(process.name(), place.ip, place.port) for place in sockets}
    return found


def test_the_servers_of_a_run_are_bound_to_this_machine(cluster: None) -> None:
    bound = listening()
    assert bound
    assert {ip for _, ip, _ in bound} <= set(LOOPBACK), bound


@pytest.mark.parametrize(("login", "answer"), [(None, 401), ("memory-v2v:wrong", 401), ("ours", 200)])
def test_the_server_of_a_run_wants_its_password(login: str | None, answer: int, cluster: None) -> None:
    from prefect.server.api.server import SubprocessASGIServer

    own = os.environ["PREFECT_SERVER_API_AUTH_STRING"]
    assert status(f"{SubprocessASGIServer().api_url}/flows/filter", own if login == "ours" else login) == answer


def test_a_cluster_that_others_started_here_is_not_joined(cluster: None) -> None:
    """Ray's own rule is to join what a file in /tmp names; whoever may write that would be sent our code and data."""
    import ray

    port = int(ray.get_runtime_context().gcs_address.rsplit(":", 1)[1])
    assert port in {port for name, _, port in listening() if name == "gcs_server"}


JOIN = "import ray, sys; ray.init(sys.argv[1], logging_level=40); print(ray.cluster_resources()['CPU'] > 0)"


@pytest.mark.parametrize(("mode", "joins"), [("disabled", False), ("token", True)])
def test_ray_wants_its_token(mode: str, joins: bool, cluster: None) -> None:
    import ray

    command = [sys.executable, "-c", JOIN, ray.get_runtime_context().gcs_address]
    impatient = {} if joins else {"RAY_gcs_server_request_timeout_seconds": "5"}
    environment = {**os.environ, "RAY_AUTH_MODE": mode, **impatient}
    asked = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert (asked.stdout.strip() == "True") is joins, asked.stderr


START = "from tasks.cluster import start_cluster; start_cluster(); print('started', flush=True); input()"


def test_what_a_run_starts_ends_with_it_also_when_it_is_killed() -> None:
    """Runs that are killed while they edit: `make test-all`."""
    with subprocess.Popen([sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"started\n"
        family = psutil.Process(run.pid).children(recursive=True)
        names = names_of(family)
        run.kill()
    assert {"raylet", "gcs_server"} <= names
    assert psutil.wait_procs(family, timeout=60)[1] == [], "a run that was ended leaves processes behind"


@pytest.mark.parametrize(
    ("answers", "login", "told"),
    [
        (True, "ours", None),
        (True, "memory-v2v:wrong", r"status 401\); .* PREFECT_API_AUTH_STRING"),
        (False, "", "refused"),
    ],
)
def test_a_server_that_lets_nobody_in_is_told_before_anything_starts(
    answers: bool, login: str, told: str | None, cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    started: list[str] = []
    monkeypatch.setattr("tasks.cluster.start_ray", lambda: started.append("ray"))
    address = SubprocessASGIServer().api_url if answers else "http://127.0.0.1:1/api"
    own = os.environ["PREFECT_SERVER_API_AUTH_STRING"]
    named = {PREFECT_API_URL: address, PREFECT_API_AUTH_STRING: own if login == "ours" else login}
    with temporary_settings(named):
        if told is None:
            start_cluster()
        else:
            with pytest.raises(
                RunError, match=f"{address}: no Prefect server lets us in .*{told}.* Unset PREFECT_API_URL"
            ):
                start_cluster()
    assert started == ([] if told else ["ray"])


def test_a_server_that_does_not_come_up_is_one_line(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.server.api.server import SubprocessASGIServer

    def start(server: object, timeout: int) -> None:
        raise RuntimeError("Timed out while attempting to connect.\nmore")

    monkeypatch.setattr(SubprocessASGIServer, "start", start)
    with pytest.raises(RunError, match=r"the Prefect server did not start: Timed out .* to connect; when the machine"):
        start_cluster()


HANDLER = """
import signal
from contextlib import nullcontext
from prefect.utilities.engine import capture_sigterm
from tasks.cluster import start_ray
with {}():
    start_ray()
    print(signal.getsignal(signal.SIGTERM).__module__)
"""


@pytest.mark.parametrize(("within", "whose"), [("capture_sigterm", "prefect"), ("nullcontext", "ray")])
def test_a_flow_can_be_cancelled_once_it_has_started_ray(within: str, whose: str, joining: dict[str, str]) -> None:
    """Prefect asks whether the signal is still its own; without a flow it is Ray's, which the command line knows."""
    command = [sys.executable, "-c", HANDLER.format(within)]
    asked = subprocess.run(command, env=joining, capture_output=True, text=True, timeout=400)
    assert asked.stdout.partition(".")[0] == whose, asked.stderr


def test_a_torch_that_was_built_without_cuda_finds_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the driver lists."""
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'GPU 0: a card'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in ("CUDA_VISIBLE_DEVICES", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for build, device in (("2.13.0", "cuda"), ("2.13.0+cu130", "cuda"), ("2.13.0+cpu", "cpu")):
        monkeypatch.setattr("tasks.cluster.version", lambda _, build=build: build)
        assert choose_device("auto") == device
    with pytest.raises(RequestError, match="no NVIDIA GPU here that torch can use"):
        choose_device("cuda")
