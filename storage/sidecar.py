"""The sidecar of a delivery: one JSON file that says what was handed over, from what, and how it was made.

Plain fields, which a studio's tracker maps to its own (`docs/delivery.md` has the table). Run this file to write
`docs/delivery.schema.json` anew.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any, Literal

from model.config.base import Config
from storage.footage import Footage

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FIRST_FRAME = 1001
"""The number of a movie's first frame, as shots are counted in studios."""


class Movie(Config):
    """A video file of the delivery."""

    path: str
    """Beside this file."""
    frame_in: int = FIRST_FRAME
    frame_out: int
    nb_frames: int
    fps: float
    drop_frame: bool
    footage: Footage
    differs: tuple[str, ...]
    """In what it differs from the source, besides the edit itself."""


class SourceTold(Config):
    """The video that was edited; it is not part of the delivery."""

    name: str
    sha256: str
    verified: bool
    """Whether the file itself was read again at delivery and is the one that was edited."""
    footage: Footage


class TurnTold(Config):
    """What was asked."""

    kind: Literal["text", "view"]
    asked: str
    session: str
    number: int
    parent: int
    """The turn whose result was edited; 0 is the source itself."""
    created: str
    seed: str
    model: str
    weights: str
    """sha256 of the model's folder."""


class RecalledTold(Config):
    """A memory that a segment recalled; turn and segment are null where it was deleted since."""

    id: str
    turn: int | None
    segment: int | None
    score: float
    reason: str


class SegmentTold(Config):
    """One segment. Frames are counted from 0 and half-open: `start` is in, `stop` is out."""

    index: int
    shot: int
    id: str
    span: tuple[int, int]
    """The frames that the model edited; neighbours overlap."""
    clip: tuple[int, int]
    """The frames that are this segment's in the edit lists, up to the middle of each cross-fade."""
    seed: str
    """Of the noise; as text, for it has more digits than JavaScript's numbers."""
    recalled: tuple[RecalledTold, ...]
    scores: Mapping[str, float]
    flags: tuple[str, ...]


class Sidecar(Config):
    """One delivery."""

    format: Literal["memory-v2v delivery"] = "memory-v2v delivery"
    format_version: Literal[1] = 1
    name: str
    video: str
    task: str
    version: int
    delivered: str
    """When, in ISO 8601."""
    software: str
    review_only: Literal[True] = True
    """It is no final."""
    notice: str
    """What the pictures are good for, and what not."""
    master: Movie
    proxy: Movie
    source: SourceTold
    turn: TurnTold
    settings: Mapping[str, str]
    shots: tuple[tuple[int, int], ...]
    segments: tuple[SegmentTold, ...]
    conversions: tuple[str, ...]
    """What was changed on the way besides the edit itself."""
    edit_lists: tuple[str, ...]
    checksums: Mapping[str, str]
    """xxh128 of every file that was there before this one."""


def sidecar_text(sidecar: Sidecar) -> str:
    """The sidecar as a file."""
    return json.dumps(sidecar.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def sidecar_schema() -> dict[str, Any]:
    """The JSON Schema of a sidecar."""
    schema = Sidecar.model_json_schema(mode="serialization")
    return {"$schema": DIALECT, **schema, "title": "The sidecar of a memory-v2v delivery"}


def schema_text() -> str:
    """The schema as a file."""
    return json.dumps(sidecar_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
