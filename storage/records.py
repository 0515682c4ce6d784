"""A file of JSON lines that only grows: what was found so far, by which an interrupted run goes on."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def read_records(path: Path) -> list[dict[str, Any]]:
    """All whole lines; one that was cut off when a run was killed is left out."""
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def add_records(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write records down behind those that are there, after the last whole line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and not (content := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
    with path.open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
