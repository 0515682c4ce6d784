"""A manifest's masks are found from anywhere; rectangles are no files."""

from pathlib import Path

import pytest

from flows.environment import user_folder
from model.config import CatalogRequest
from storage.catalog import read_catalog
from tasks.catalog_work import entries_of, requests_of, set_up


@pytest.mark.parametrize(
    ("mask", "wanted"), [("masks/a.png", "{folder}/masks/a.png"), ("/b.mov", "/b.mov"), ("5%,0,10,10", "5%,0,10,10")]
)
def test_a_mask_is_relative_to_its_manifest(
    mask: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "catalog.csv"
    manifest.write_text(f'video_id,uri,prompt,mask,transfer\na,a.mp4,make it night,"{mask}",guided\n')
    request = CatalogRequest(manifest=manifest, out=tmp_path / "out", weights="untrained")
    monkeypatch.chdir("/")
    (entry,) = entries_of(read_catalog(manifest), request)
    (asked,) = requests_of(entry, set_up(request, user_folder("cache")), Path("a.mp4"))
    assert asked.output.region.mask == wanted.format(folder=tmp_path)
    assert asked.output.transfer == "guided"
