"""What several test folders share: a private place for caches and databases, and one running cluster."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes run torch; more threads than cores make them crawl


@pytest.fixture(scope="session", autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep models, databases and settings of the user out of the tests, and the tests out of theirs."""
    from flows.environment import prepare_environment

    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        patch.setenv("XDG_DATA_HOME", str(home / "data"))
        patch.setenv("PREFECT_HOME", str(home / "prefect"))
        prepare_environment()
        yield home


@pytest.fixture(scope="session")
def cluster(private_home: Path) -> Iterator[None]:
    """Ray and the Prefect server, started once for all tests that run flows."""
    import ray

    from tasks.cluster import start_cluster

    start_cluster()
    yield
    ray.shutdown()
