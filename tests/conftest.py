"""What several test folders share: a private place for caches and databases, real footage, and one running cluster.

The environment is set while this file is imported, before any test imports Ray or Prefect: both read it once.
"""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from flows.environment import prepare_environment
from tests.footage import bigbuckbunny, bikes, footage

__all__ = ["bigbuckbunny", "bikes", "footage"]

ROOT = Path(__file__).resolve().parents[1]
HOME = tempfile.TemporaryDirectory(prefix="memory-v2v-")
os.environ |= {
    "XDG_CACHE_HOME": str(Path(HOME.name) / "cache"),
    "XDG_DATA_HOME": str(Path(HOME.name) / "data"),
    "PREFECT_HOME": str(Path(HOME.name) / "prefect"),
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep),  # for programs
}
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes run torch; more threads than cores make them crawl
prepare_environment()
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored, also by what tests start
settings.register_profile("house", deadline=None)  # a busy machine is slow, which is no failure
settings.load_profile("house")


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """Ray and the Prefect server, started once for all tests that run flows."""
    import ray

    from tasks.cluster import start_cluster

    start_cluster()
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def joining(cluster: None) -> dict[str, str]:
    """The environment of a command that joins this cluster, and so has nothing to start but its actors."""
    import ray
    from prefect.server.api.server import SubprocessASGIServer

    address = ray.get_runtime_context().gcs_address
    return {**os.environ, "RAY_ADDRESS": address, "PREFECT_API_URL": SubprocessASGIServer().api_url}
