"""A line of a manifest as edits: what does not go together is one line for a person."""

from pathlib import Path

import pytest

from flows.environment import user_folder
from model.config import CatalogRequest
from model.errors import RequestError
from storage.catalog import read_catalog
from tasks.catalog_work import entries_of, requests_of, set_up


def test_settings_that_do_not_fit_the_model_are_told_without_their_neighbours(tmp_path: Path) -> None:
    manifest = tmp_path / "catalog.jsonl"
    manifest.write_text(
        '{"video_id": "clip", "uri": "a.mp4", "turns": [{"prompt": "make it night"}],'
        ' "segment": {"frames": 17, "overlap": 40}}\n'
    )
    request = CatalogRequest(manifest=manifest, out=tmp_path / "out", weights="untrained")
    (entry,) = entries_of(read_catalog(manifest), request)
    with pytest.raises(RequestError, match=r"^clip: window: overlap 40 must be at most half of frames \(8\)$"):
        requests_of(entry, set_up(request, user_folder("cache")), Path("a.mp4"))
