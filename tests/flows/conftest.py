"""What tests of several flows share."""

from pathlib import Path

import pytest

from tests.clips import run_ffmpeg


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 40 frames of the garden: one shot, three segments."""
    path = tmp_path_factory.mktemp("source") / "film.mp4"
    run_ffmpeg("-i", Path("tests/garden.mp4").resolve(), "-frames:v", "40", "-c:v", "libx264", path)
    return path
