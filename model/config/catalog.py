"""A catalog: many videos with their turns, edited in one run, and how the run deals with what goes wrong.

A manifest has a `CatalogVideo` on each line; what a line leaves out, the catalog's `CatalogDefaults` say, and what
those leave out, the model folder's preset.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, model_validator

from model.config.base import SESSION_NAME, Config, Sentence
from model.config.gate import GateConfig
from model.config.requests import OutputConfig, Schedule
from model.config.speed import PLAIN, SpeedConfig

VIDEO_ID = SESSION_NAME
Scope = Annotated[str, Field(pattern=r"^(video|group:[A-Za-z0-9][A-Za-z0-9._-]{0,127})$")]


class CatalogTurn(Config):
    """One edit of a catalog's video."""

    prompt: Sentence
    """What to change, in one sentence."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    on: NonNegativeInt | Literal["last"] = 0
    """What is edited: 0 is the video itself, `last` the result of the turn before, else the turn of this number."""


class SegmentSettings(Config):
    """How a video is cut into segments; what is None is the model's."""

    frames: int | None = Field(default=None, ge=5)
    overlap: int | None = Field(default=None, ge=0)
    height: int | None = Field(default=None, ge=32)
    width: int | None = Field(default=None, ge=32)


class ModelSettings(Config):
    """How segments are edited; what is None is the model's."""

    top_k: int | None = Field(default=None, ge=0, le=64)
    steps: int | None = Field(default=None, ge=1, le=1000)
    guidance: float | None = Field(default=None, ge=1)


class CatalogDefaults(Config):
    """What all videos of a catalog have in common, unless their lines say otherwise."""

    turns: tuple[CatalogTurn, ...] = ()
    """Edits, in order; they share a memory."""
    segment: SegmentSettings = SegmentSettings()
    params: ModelSettings = ModelSettings()
    schedule: Schedule = "sequential"
    """Order of the segments: `sequential` (the paper), `anchors:K`, or `auto`: anchors where Editors would idle."""
    memory_scope: Scope = "video"
    """Who shares a memory: the turns of one `video`, or all videos of `group:<name>`, which are edited one by one."""
    priority: int = Field(default=0, ge=-1000, le=1000)
    """Higher ones first; among equals the longest first."""
    deliver: OutputConfig = OutputConfig()
    """How edited videos are made of edited segments, and encoded. A mask's path is relative to the manifest."""
    gate: GateConfig = GateConfig()
    """What is done about segments that went wrong: they are flagged, or edited again."""
    tags: tuple[str, ...] = ()
    """Any words; they come back in the report."""
    skip: bool = False
    """Leave this video out."""


class CatalogVideo(CatalogDefaults):
    """One line of a manifest."""

    video_id: str = Field(pattern=VIDEO_ID)
    uri: str = Field(min_length=1, max_length=4096)
    """A path, absolute or relative to the manifest, or `s3://bucket/key`."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Of the file, checked before it is edited."""
    output: str | None = Field(default=None, min_length=1, max_length=4096)
    """Where the results go: a folder inside the catalog's, or `s3://bucket/prefix`; None is the video's id."""

    @property
    def group(self) -> str | None:
        """The group whose memory the video shares; None where it has its own."""
        scope, _, name = self.memory_scope.partition(":")
        return name if scope == "group" else None

    @model_validator(mode="after")
    def _turns_follow(self) -> "CatalogVideo":
        if not self.turns:
            raise ValueError("has no turns; give at least one, here or in the defaults")
        for number, turn in enumerate(self.turns, 1):
            if turn.on != "last" and turn.on >= number:
                raise ValueError(f"turn {number} edits turn {turn.on}, which does not come before it")
        return self


class FaultPolicy(Config):
    """How long a run bears with what fails."""

    errors: int = Field(default=3, ge=1)
    """Failures of one segment until it is quarantined, and its video goes on without it."""
    deaths: int = Field(default=2, ge=1)
    """Deaths of an Editor over one segment until it is quarantined."""
    hang_seconds: float = Field(default=600.0, gt=0)
    """An Editor that makes no progress for so long is killed, and starts anew."""
    load_seconds: float = Field(default=1800.0, gt=0)
    """An Editor that is not back after so long is given up; the others go on."""
    recycle_after: int = Field(default=500, ge=1)
    """Segments after which an Editor starts anew."""
    growth: float = Field(default=1.5, gt=1)
    """Memory, in parts of what an Editor had after its first video, at which it starts anew."""


class CatalogRequest(Config):
    """One run over a catalog."""

    manifest: Path
    """Videos and their turns: JSON lines, or CSV."""
    defaults: Path | None = None
    """What the videos have in common (YAML)."""
    out: Path
    """Folder for the results, one folder a video, and for the catalog's own state."""
    memory: str | None = None
    """Where the tables of the memories lie: `s3://bucket/prefix`; the default is in the folders of the videos."""
    weights: str = "demo"
    """A local model folder or a hub id."""
    descriptor: str = "thumbnail"
    """`thumbnail` (documented fallback, no weights) or a DINOv2 folder or hub id."""
    editors: int = Field(default=1, ge=1, le=4096)
    """Editors at work at once, one GPU each where there are GPUs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; `auto` takes a GPU if this machine has one."""
    speed: SpeedConfig = PLAIN
    shard: str | None = Field(default=None, pattern=r"^[1-9][0-9]{0,5}/[1-9][0-9]{0,5}$")
    """`2/8` takes the second of eight parts of the catalog, as in an array of jobs; None is all of it."""
    only: tuple[str, ...] = ()
    """Ids of the videos to take; none is all of them."""
    max_failed_fraction: float = Field(default=0.0, ge=0, le=1)
    """Share of the videos that may fail before the run counts as failed."""
    faults: FaultPolicy = FaultPolicy()
    wait: float = Field(default=0.0, ge=0)
    """Seconds to wait for another run of the same catalog; 0 gives up at once."""
