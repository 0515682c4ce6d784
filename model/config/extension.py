"""How short edit pairs are made into long samples (paper section 4.1)."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from model.config.base import Config, of_the_model, of_whole_latents


class ExtensionConfig(Config):
    """How training clips are continued with FramePack (paper section 4.1), and what is let pass."""

    frames: int = Field(default=200, ge=4)
    """Frames added to a clip (33 + 200 in the paper)."""
    window: int = Field(default=9, ge=2, le=32)
    """Latent frames drawn at once; FramePack's weights were trained for 9, which is 36 frames of a longer clip."""
    steps: int = Field(default=30, ge=1, le=1000)
    """Denoising steps of a window."""
    guidance: float = Field(default=9.0, ge=0)
    """Distilled guidance, which the transformer is told."""
    redraws: int = Field(default=2, ge=0, le=20)
    """Times that a window whose pictures drift is drawn again with another seed, before the clip ends there."""
    most_drift: float = Field(default=1.0, gt=0)
    """Drift of a window that is let pass (`model/metrics/drift.py`); 1 is as far as a sound video goes."""
    least_frames: int = Field(default_factory=lambda known: min(100, known["frames"]), ge=0)
    """Frames added at least; a clip that had to end earlier is rejected. At most `frames`."""


class ExtensionRequest(Config):
    """A dataset of short edit pairs, and what is to be made of it: long samples, as latents (paper section 4.1)."""

    dataset: Path
    """A folder, or a list of pairs in JSON lines."""
    out: Path
    """Folder for the samples."""
    layout: Literal["auto", "senorita", "multicam", "folder", "synthetic"] = "auto"
    """How the dataset lies on disk; `synthetic` draws worlds, and `dataset` is the file that describes them."""
    instruction_field: str = "instruction"
    """In Señorita's lists."""
    framepack: str
    """FramePack's folder in diffusers' format, a hub id, or `untrained`."""
    weights: str = "demo"
    """The model that will be trained: its codec makes the latents."""
    height: int = Field(default=480, ge=16, multiple_of=16, json_schema_extra=of_the_model)
    """Clips are scaled to fill it, and cropped; portrait clips swap height and width."""
    width: int = Field(default=832, ge=16, multiple_of=16, json_schema_extra=of_the_model)
    """The same of the width."""
    clip_frames: int = Field(default=33, ge=5)
    """Frames taken of a pair, 4k+1; of shorter pairs as many as there are."""
    segment_frames: int = Field(default_factory=lambda known: min(33, known["clip_frames"]), ge=5)
    """Frames of a training segment, 4k+1, at most `clip_frames`: the window of the model, or what a pair has."""
    extension: ExtensionConfig = ExtensionConfig()
    validation_share: float = Field(default=0.02, ge=0, lt=1)
    """Of the videos that pairs are from."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the noise."""
    limit: int | None = Field(default=None, ge=1)
    """Take the first pairs only."""
    workers: int = Field(default=1, ge=1)
    """Extenders at work at once, one GPU each where there are GPUs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the models run; `auto` takes a GPU if this machine has one."""

    @field_validator("clip_frames", "segment_frames")
    @classmethod
    def _fits_the_vae(cls, frames: int) -> int:
        return of_whole_latents(frames)

    @model_validator(mode="after")
    def _segments_fit(self) -> "ExtensionRequest":
        if self.segment_frames > self.clip_frames:
            raise ValueError(f"segment_frames {self.segment_frames} must be at most clip_frames ({self.clip_frames})")
        if self.extension.least_frames > self.extension.frames:
            raise ValueError(f"least_frames must be at most frames ({self.extension.frames})")
        return self
