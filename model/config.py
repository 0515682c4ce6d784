"""Every setting, once: frozen, validated, torch-free. The command line, the Prefect form and the tests share them.

A model folder may carry `memory_v2v.json`, a `Preset` with the settings its weights were trained for; what the user
sets wins over it.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Config(BaseModel):
    """Frozen; unknown keys are errors; docstrings below a field are its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class WindowConfig(Config):
    """How a video is cut into segments, and the size at which the model sees them."""

    frames: int = Field(default=81, ge=5)
    """Frames the model edits at once, 4k+1 (the video VAE keeps one frame and then every fourth)."""
    overlap: int = Field(default=8, ge=0)
    """Frames shared, and cross-faded, by neighbouring segments of one shot."""
    height: int = Field(default=480, ge=32)
    """Height the model works at; sources are fitted and padded to it. Portrait sources swap height and width."""
    width: int = Field(default=832, ge=32)
    """Width the model works at."""

    @field_validator("frames")
    @classmethod
    def _is_4k_plus_1(cls, frames: int) -> int:
        if frames % 4 != 1:
            below = frames - (frames - 1) % 4
            raise ValueError(f"must be 4k+1; nearest are {below} and {below + 4}")
        return frames

    @model_validator(mode="after")
    def _windows_advance(self) -> "WindowConfig":
        if self.overlap > self.frames // 2:
            raise ValueError(f"overlap {self.overlap} must be at most half of frames ({self.frames // 2})")
        return self


class RetrievalConfig(Config):
    """Which memories a segment recalls (paper section 3.2, supplement D)."""

    top_k: int = Field(default=5, ge=0, le=64)
    """Memories recalled, the previous segment included; 0 edits every segment alone."""
    least: float = Field(default=0.0, ge=-1, le=1)
    """Similarity below which a memory is not worth its tokens, the previous segment aside; -1 is the paper."""
    coverage: bool = False
    """Pick memories that do not repeat one another (ours; off is the paper)."""


class TokenConfig(Config):
    """How many tokens a memory gets (paper section 3.2): 1x4x4 for the best, 1x8x8 for the rest."""

    fine: int = Field(default=3, ge=0)
    """Memories that get the 1x4x4 tokeniser, best first; the others get 1x8x8."""


class MergeConfig(Config):
    """Adaptive token merging (paper section 3.3)."""

    mode: Literal["merge", "discard", "high", "off"] = "merge"
    """`merge` is the paper; `discard` and `high` (merge the frames that matter) are its ablations."""
    fraction: float | None = Field(default=None, ge=0, lt=1)
    """Share of the condition frames merged at each merge block; None scales it with the number of memories."""
    blocks: tuple[int, ...] | None = None
    """Blocks, 1-based, before whose attention frames are merged; None is a third and two thirds of the depth."""


class SamplingConfig(Config):
    """The denoising loop."""

    steps: int = Field(default=50, ge=1, le=1000)
    """Denoising steps."""
    guidance: float = Field(default=5.0, ge=1)
    """Classifier-free guidance scale; 1 runs a single branch."""
    negative: str = ""
    """Negative prompt."""
    memory_in_negative: bool = True
    """Whether the unconditional branch sees the memories too."""


class EditConfig(Config):
    """Everything the editor needs besides the pictures and the instruction."""

    sampling: SamplingConfig = SamplingConfig()
    tokens: TokenConfig = TokenConfig()
    merging: MergeConfig = MergeConfig()
    attention: Literal["joint", "cached"] = "joint"
    """`joint` is the paper; `cached` computes memory keys and values once per segment (ours, must be trained)."""
    reverse_memory: bool = True
    """Reverse the temporal order of memories (supplement E.2: training extends forward, inference looks back)."""
    source_camera: Literal["own", "target"] = "own"
    """Cameras that the user's video is told for new views: its own (the paper), or the target's (ReCamMaster alone)."""


class Preset(Config):
    """`memory_v2v.json` of a model folder: the settings its weights were made for."""

    name: str
    window: WindowConfig = WindowConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    edit: EditConfig = EditConfig()


class OutputConfig(Config):
    """What is written."""

    codec: Literal["h264", "prores", "dnxhr", "ffv1"] = "h264"
    """Codec of the edited video; segments are always kept losslessly."""
    tone_map: bool = False
    """Accept HDR sources by tone-mapping them to BT.709; without it they are refused."""


class EditRequest(Config):
    """One turn: a video, an instruction, and how to carry it out."""

    video: Path
    instruction: str = Field(min_length=1, max_length=4000)
    out: Path
    weights: str
    """A local model folder or a hub id."""
    descriptor: str = "thumbnail"
    """`thumbnail` (documented fallback, no weights) or a DINOv2 folder or hub id."""
    session: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    """Turns of one session share a memory; the default is the video's own session."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; `auto` takes a GPU if this machine has one."""
    window: WindowConfig = WindowConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    edit: EditConfig = EditConfig()
    output: OutputConfig = OutputConfig()
