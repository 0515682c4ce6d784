"""What tests of several flows share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clips import run_ffmpeg
from tests.flows.kept_actors import KeptActors


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 40 frames of the garden: one shot, three segments."""
    path = tmp_path_factory.mktemp("source") / "film.mp4"
    run_ffmpeg("-i", Path("tests/garden.mp4").resolve(), "-frames:v", "40", "-c:v", "libx264", path)
    return path


@pytest.fixture(scope="session")
def kept() -> KeptActors:
    """Editors and Embedders of runs that have ended."""
    return KeptActors()


@pytest.fixture(scope="module", autouse=True)
def _keeping(kept: KeptActors) -> Iterator[None]:
    with kept.in_use():
        yield
