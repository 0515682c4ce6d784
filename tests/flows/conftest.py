"""What tests of several flows share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import edit, novel_views
from tasks.pool import EditorPool, start_editors
from tests.clips import run_ffmpeg


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 40 frames of the garden: one shot, three segments."""
    path = tmp_path_factory.mktemp("source") / "film.mp4"
    run_ffmpeg("-i", Path("tests/garden.mp4").resolve(), "-frames:v", "40", "-c:v", "libx264", path)
    return path


@pytest.fixture(scope="module")
def loaded(cluster: None) -> Iterator[None]:
    """The first model that a test of a module asks for stays loaded for all runs that ask for the same.

    To load it takes longer than to edit a clip of the tests. Runs with models of their own start and end their Editors
    as ever; tests of catalogs, deliveries and commands have no others.
    """
    kept: dict[str, EditorPool] = {}

    def start(*model: Any, **options: Any) -> EditorPool:
        asked = repr((model, options))
        if kept and asked not in kept:
            return start_editors(*model, **options)
        if not kept:
            kept[asked] = start_editors(*model, **options)
            patch.setattr(kept[asked], "close", lambda: None)
        return kept[asked]

    with pytest.MonkeyPatch.context() as patch:
        for flow in (edit, novel_views):
            patch.setattr(flow, "start_editors", start)
        yield
    for pool in kept.values():
        pool.close()
