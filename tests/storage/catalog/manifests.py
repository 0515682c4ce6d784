"""Manifests as files, for the tests of catalogs."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from storage.catalog import Fault, find_faults

TURNS = [{"prompt": "make the jacket red"}]


def line_of(video_id: str = "a", **fields: Any) -> dict[str, Any]:
    """A line that is valid where `a.mp4` lies beside the manifest."""
    return {"video_id": video_id, "uri": "a.mp4", "turns": TURNS, **fields}


def write_lines(folder: Path, *lines: dict[str, Any] | str) -> Path:
    """A manifest of these lines, with the video that most of them name."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return write_file(folder, "manifest.jsonl", "".join(f"{text}\n" for text in texts))


def write_file(folder: Path, name: str, content: str | bytes) -> Path:
    (folder / "a.mp4").write_bytes(b"film")
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


def told(faults: Iterable[Fault]) -> list[tuple[int, str, str]]:
    return [(fault.line, fault.field, fault.message) for fault in faults]


def faults_of(folder: Path, *lines: dict[str, Any] | str) -> list[tuple[int, str, str]]:
    return told(find_faults(write_lines(folder, *lines)))
