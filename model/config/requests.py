"""What a user asks for: one turn, or several, over one video."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, model_validator

from model.config.base import SESSION_NAME, Config, Sentence, of_the_model
from model.config.editing import EditConfig, RetrievalConfig, WindowConfig
from model.config.gate import GateConfig
from model.config.speed import PLAIN, SpeedConfig

Schedule = Annotated[str, Field(pattern=r"^(sequential|auto|anchors:[1-9][0-9]{0,5})$")]
"""The order of a video's segments (`model/schedule.py`)."""
RecallBy = Literal["views", "recency", "random", "none"]
"""How a novel view recalls others: by what they saw (the paper), or a baseline."""


class RegionConfig(Config):
    """Where an edit may change the picture; all else keeps the source's own pixels."""

    mask: str | None = Field(default=None, min_length=1, max_length=4096)
    """`X,Y,W,H` in pixels or percent of the picture, or a file: a picture, or a video of as many frames as the source.
    White changes."""
    feather: float | None = Field(default=None, ge=0, le=1000)
    """Pixels of the source over which the edit comes in, inwards from the mask's edge; None is 1 % of the height."""
    keep_unchanged: bool = False
    """Keep the source also where the edit is no more than the loss of a codec."""
    threshold: float = Field(default=0.06, gt=0, lt=1)
    """Difference, in parts of white, from which on `keep_unchanged` sees a change."""

    @model_validator(mode="after")
    def _edges_are_of_a_mask(self) -> "RegionConfig":
        if self.feather is not None and self.mask is None:
            raise ValueError(f"feather {self.feather:g} softens the edge of a mask; give a mask too")
        return self

    @property
    def limited(self) -> bool:
        """Whether there is anything that must not change."""
        return self.mask is not None or self.keep_unchanged


class OutputConfig(Config):
    """What is written."""

    codec: Literal["h264", "prores", "dnxhr", "ffv1"] = "h264"
    """Codec of the edited video; segments are always kept losslessly."""
    tone_map: bool = False
    """Accept HDR sources by tone-mapping them to BT.709; without it they are refused."""
    region: RegionConfig = RegionConfig()
    transfer: Literal["upscale", "guided"] = "upscale"
    """`upscale` enlarges the edit; `guided` repeats at full size what the edit did to the source's colours, and
    enlarges only what is new."""


class VideoRequest(Config):
    """What every turn needs, whatever it does to the video."""

    video: Path
    """The user's video, a file."""
    out: Path
    """Folder for the result and its memory."""
    memory: str | None = None
    """Where the tables of the memory lie: `s3://bucket/prefix`, one an output folder; the default is in it."""
    weights: str
    """A local model folder or a hub id."""
    session: str | None = Field(default=None, pattern=SESSION_NAME)
    """Turns of one session share a memory; the default is one of the work's own."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the noise."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; `auto` takes a GPU if this machine has one."""
    window: WindowConfig = Field(default=WindowConfig(), json_schema_extra=of_the_model)
    retrieval: RetrievalConfig = Field(default=RetrievalConfig(), json_schema_extra=of_the_model)
    edit: EditConfig = Field(default=EditConfig(), json_schema_extra=of_the_model)
    speed: SpeedConfig = PLAIN
    output: OutputConfig = OutputConfig()
    schedule: Schedule = "sequential"
    """Order of the segments: `sequential` (the paper), `anchors:K`, or `auto`: anchors where Editors would idle."""
    editors: int = Field(default=1, ge=1, le=4096)
    """Editors at work at once, one GPU each where there are GPUs; more than one is of use with a schedule alone."""
    wait: float = Field(default=3600.0, ge=0)
    """Seconds to wait for another process that writes to the same folder; 0 gives up at once."""

    @model_validator(mode="after")
    def _segments_are_cross_faded(self) -> "VideoRequest":
        if self.edit.clean_latents:
            raise ValueError(f"edit.clean_latents {self.edit.clean_latents}: segments are cross-faded; set it to 0")
        return self


class EditRequest(VideoRequest):
    """One turn: a video and an instruction."""

    instruction: Sentence
    """What to change, in one sentence."""
    descriptor: str = "thumbnail"
    """`thumbnail` (documented fallback, no weights) or a DINOv2 folder or hub id."""
    gate: GateConfig = GateConfig()
    on: NonNegativeInt | Literal["last"] = 0
    """The turn whose result is edited, of the same session; 0 is the user's video, `last` the latest turn."""

    @model_validator(mode="after")
    def _turns_have_a_session(self) -> "EditRequest":
        if self.on != 0 and self.session is None:
            raise ValueError(f"to edit the result of a turn (on={self.on}), name its session")
        return self


class ViewRequest(VideoRequest):
    """A video seen anew along camera paths, one turn each (paper section 3.2)."""

    cameras: tuple[str, ...] = Field(min_length=1)
    """Presets, sentences, or files of poses (`model/camera/written.py`), in the order of the turns."""
    instruction: str = Field(default="", max_length=4000)
    """What is seen; may be empty."""
    fov: float | None = Field(default=None, gt=0, lt=180)
    """Horizontal field of view of the lens, which is taken to be fixed, in degrees; None is that of a 24 mm lens."""
    scale: float | None = Field(default=None, gt=0)
    """Metres to a unit, in camera files that name none."""
    recall: RecallBy = "views"
    """How memories are chosen; all but `views` are baselines."""
    chain: bool = False
    """Each turn renders the result of the turn before instead of the user's video (the paper's AR baseline)."""

    @model_validator(mode="after")
    def _views_are_new_everywhere(self) -> "ViewRequest":
        if self.output.region.limited or self.output.transfer != "upscale":
            raise ValueError("region and transfer are of edits: a new view shares no pixel with the video")
        return self
