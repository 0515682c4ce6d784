"""What a catalog's run was asked for, read again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.config import CatalogRequest
from model.errors import RequestError
from storage.run_report import REQUEST, keep_request, read_request


def test_a_request_comes_back(tmp_path: Path) -> None:
    request = CatalogRequest(manifest=Path("catalog.jsonl"), out=Path("out"), weights="demo")
    keep_request(tmp_path, request)
    assert read_request(tmp_path) == request


@pytest.mark.parametrize("damage", [lambda text: text[:40], lambda text: text.replace("editors", "colour")])
def test_one_that_is_damaged_or_of_another_version_is_one_line(tmp_path: Path, damage: Callable[[str], str]) -> None:
    path = keep_request(tmp_path, CatalogRequest(manifest=Path("a.jsonl"), out=Path("out"), weights="demo"))
    path.write_text(damage(path.read_text()))
    with pytest.raises(RequestError) as told:
        read_request(tmp_path)
    assert str(told.value).startswith(f"{tmp_path / REQUEST}: is no request of this version; give")
    assert "\n" not in str(told.value)
