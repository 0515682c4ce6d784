"""The schema that is shipped is the one that is generated, and says what the reader says."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from model.config import CatalogVideo
from storage.catalog import catalog_schema
from storage.catalog.schema import schema_text
from tests.storage.catalog.manifests import line_of

SHIPPED = Path(__file__).parents[3] / "docs" / "catalog.schema.json"
FULL = line_of(
    "a",
    turns=[{"prompt": "x", "seed": 2**63 - 1}, {"prompt": "y", "on": "last"}, {"prompt": "z", "on": 1}],
    segment={"frames": 33, "overlap": None},
    params={"guidance": 5},
    deliver={"codec": "ffv1"},
    output="s3://films/a",
    memory_scope="group:g",
    sha256="0" * 64,
)


def test_the_shipped_schema_is_the_generated_one() -> None:
    assert SHIPPED.read_text() == schema_text(), "run: python -m storage.catalog.schema > docs/catalog.schema.json"
    jsonschema.Draft202012Validator.check_schema(catalog_schema())


@pytest.mark.parametrize("line", [line_of("a"), FULL, {"video_id": "a", "uri": "a.mp4"}])
def test_lines_that_are_read_are_valid(line: dict[str, Any]) -> None:
    checked = jsonschema.Draft202012Validator(catalog_schema())
    assert list(checked.iter_errors(line)) == []
    if "turns" in line:
        dumped = CatalogVideo.model_validate_json(json.dumps(line)).model_dump_json()
        assert list(checked.iter_errors(json.loads(dumped))) == []


@pytest.mark.parametrize(
    "line",
    [
        {"uri": "a.mp4"},
        line_of("../a"),
        line_of("a", skipp=True),
        line_of("a", turns=[{"prompt": ""}]),
        line_of("a", turns=[{"prompt": "x", "on": "first"}]),
        line_of("a", priority="1"),
        line_of("a", schedule="anchors:0"),
    ],
)
def test_lines_that_are_refused_are_not(line: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(line, catalog_schema())
