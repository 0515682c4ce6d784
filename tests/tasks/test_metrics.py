"""What Prometheus gets of a run, asked as Prometheus would."""

import socket
import subprocess
import sys
import urllib.request

import pytest
import ray

from model.errors import RequestError
from tasks.cluster import start_ray
from tasks.metrics import (
    KINDS,
    count_commit,
    count_death,
    count_quarantined,
    count_reused,
    count_segment,
    show_videos,
)
from tests.waiting import wait_for


def numbers_of(port: int) -> dict[str, float]:
    """What this process has counted, without labels but the state."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith("ray_memory_v2v")]
    mine = f'WorkerId="{ray.get_runtime_context().get_worker_id()}"'
    lines = [line for line in lines if mine in line]
    state = [line.partition('state="')[2].partition('"')[0] for line in lines]
    names = [line.partition("{")[0] + (f":{word}" if word else "") for line, word in zip(lines, state, strict=True)]
    return {name: float(line.split()[-1]) for name, line in zip(names, lines, strict=True)}


def collected_so_far(port: int) -> dict[str, float]:
    """What this process had counted when it was called: tests before this one may have, too."""

    def marked() -> bool:
        show_videos({"marker": 1})
        return "ray_memory_v2v_videos:marker" in numbers_of(port)

    wait_for(marked)
    return numbers_of(port)


def test_every_count_reaches_the_agent(cluster: None) -> None:
    (node,) = ray.nodes()
    port = node["MetricsExportPort"]
    before = collected_so_far(port)
    count_segment(2.0)
    count_segment(3.0, 0.02)
    count_reused(5)
    count_reused(0)
    count_quarantined()
    count_death()
    count_commit(0.03)
    expected = {
        "segments_edited_total": 2,
        "segments_reused_total": 5,
        "segments_quarantined_total": 1,
        "editor_deaths_total": 1,
        "editor_busy_seconds_total": 5,
        "editor_waiting_seconds_total": 0.02,
        "segment_seconds_count": 2,
        "editor_wait_seconds_count": 1,
        "commit_seconds_count": 1,
        "videos:done": 7,
        "videos:failed": 0,
    }

    def counted() -> dict[str, float]:
        show_videos({"done": 7, "failed": 0})  # a gauge is forgotten unless it is set every few seconds
        now, names = numbers_of(port), {name: f"ray_memory_v2v_{name}" for name in expected}
        return {name: now.get(long, -1) - (0 if ":" in name else before.get(long, 0)) for name, long in names.items()}

    assert wait_for(lambda: counted() == pytest.approx(expected))


def test_where_ray_is_not_started_nothing_is_counted() -> None:
    code = "from tasks.metrics import *; count_segment(1.0, 0.1); show_videos({'done': 1}); import ray; "
    code += "assert not ray.is_initialized()"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_names_are_ones_of_prometheus() -> None:
    for name, (kind, description, _) in KINDS.items():
        assert name.startswith("memory_v2v_")
        assert name.endswith("_total") == (kind.__name__ == "Counter")
        assert description.endswith(".")


def test_the_port_is_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = "import ray; from flows.environment import prepare_environment as p; p(); "
    code += "from tasks.cluster import start_ray; start_ray(); print(ray.nodes()[0]['MetricsExportPort'])"
    monkeypatch.setenv("MEMORY_V2V_METRICS_PORT", str(port))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=400)
    assert done.stdout == f"{port}\n", done.stderr


def test_what_is_no_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("MEMORY_V2V_METRICS_PORT", "many")
    with pytest.raises(RequestError, match="MEMORY_V2V_METRICS_PORT=many: expected a port"):
        start_ray()
