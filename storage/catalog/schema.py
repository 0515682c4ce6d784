"""The JSON Schema of a manifest's lines, for editors and other programs; shipped as `docs/catalog.schema.json`.

Run this file to write it anew. What a schema cannot say (ids that differ, files that exist), only `find_faults` knows.
"""

import json
import sys
from typing import Any

from model.config import CatalogVideo

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def catalog_schema() -> dict[str, Any]:
    """What one line of a manifest may be. `turns` are not required: they may come from the defaults."""
    return {"$schema": DIALECT, **CatalogVideo.model_json_schema(), "title": "A line of a memory-v2v manifest"}


def schema_text() -> str:
    """The schema as a file."""
    return json.dumps(catalog_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
