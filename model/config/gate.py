"""How a finished edit is judged, segment by segment, before it is stitched."""

from typing import Literal

from pydantic import Field

from model.config.base import Config

GateMode = Literal["off", "flag", "redo"]


class GateBounds(Config):
    """The highest score of a segment that passes; calibrated as `docs/quality_gate.md` says."""

    colour: float = Field(default=2.2, gt=0)
    """Of its distance from the colours of its shot, in CIELAB units."""
    seam: float = Field(default=2.8, gt=0)
    """Of the jump at its beginning, in parts of jumps inside segments."""
    flicker: float = Field(default=8.0, gt=0)
    """Of its worst burst of flicker, in levels of 255."""


class GateConfig(Config):
    """What is done about segments whose scores are beyond their bounds."""

    mode: GateMode = "flag"
    """`flag` tells of them, `redo` edits them again and keeps the better one, `off` does not look."""
    bounds: GateBounds = GateBounds()
    redos: int = Field(default=2, ge=1, le=16)
    """How often one segment is edited again at most."""

    @property
    def redoes(self) -> bool:
        return self.mode == "redo"
