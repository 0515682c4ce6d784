"""How a segment is edited: windows, recall, tokens, merging, sampling (paper sections 3.2 to 3.4)."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from model.config.base import Config, PresetSettings, of_whole_latents

PRESET_FILE = "memory_v2v.json"


class WindowConfig(PresetSettings):
    """How a video is cut into segments, and the size at which the model sees them."""

    frames: int = Field(default=81, ge=5)
    """Frames the model edits at once, 4k+1 (the video VAE keeps one frame and then every fourth)."""
    overlap: int = Field(default_factory=lambda known: min(8, known["frames"] // 2), ge=0)
    """Frames shared, and cross-faded, by neighbouring segments of one shot; at most half of `frames`."""
    height: int = Field(default=480, ge=32, multiple_of=2)
    """Height the model works at, even; sources are fitted and padded to it. Portrait sources swap height and width."""
    width: int = Field(default=832, ge=32, multiple_of=2)
    """Width the model works at, even."""

    @property
    def latent_frames(self) -> int:
        """Frames of latents that a window has."""
        return (self.frames - 1) // 4 + 1

    @field_validator("frames")
    @classmethod
    def _fits_the_vae(cls, frames: int) -> int:
        return of_whole_latents(frames)

    @model_validator(mode="after")
    def _windows_advance(self) -> "WindowConfig":
        if self.overlap > self.frames // 2:
            raise ValueError(f"overlap {self.overlap} must be at most half of frames ({self.frames // 2})")
        return self


class RetrievalConfig(PresetSettings):
    """Which memories a segment recalls (paper section 3.2, supplement D)."""

    top_k: int = Field(default=5, ge=0, le=64)
    """Memories recalled, the previous segment of a text edit included; 0 edits every segment alone."""
    least: float = Field(default=0.0, ge=-1, le=1)
    """Score below which a memory is not worth its tokens, the previous segment aside: a cosine for text edits, where -1
    is the paper; a field-of-view score for novel views, where 0 is."""
    least_change: float = Field(default=0.0, ge=0, lt=1)
    """Of text edits: a memory that its edit changed by less, in parts of the most that any of its turn was changed, has
    nothing to keep to and is not recalled, the previous segment aside (ours; 0 is the paper)."""
    copy_margin: float | None = Field(default=None, ge=0, le=2)
    """Of text edits: a memory is taken for a copy, and not recalled, unless its source is more alike by more than this
    than that of every earlier one of its turn; so is the segment just before, where it was changed (ours; None is the
    paper)."""
    coverage: bool = False
    """Pick memories that do not repeat one another (ours; off is the paper)."""


class TokenConfig(PresetSettings):
    """How many tokens a memory gets (paper section 3.2): 1x4x4 for the best, 1x8x8 for the rest."""

    fine: int = Field(default=3, ge=0)
    """Memories that get the finer tokeniser, best first."""
    coarse_patch: Literal[2, 4, 8] = 8
    """Rows and columns of latents in a token of memories beyond the best."""
    fine_patch: Literal[2, 4, 8] = Field(default_factory=lambda known: 2 if known["coarse_patch"] == 2 else 4)
    """Rows and columns of latents in a token of the best; 2 is the base's own tokeniser. At most `coarse_patch`."""

    @classmethod
    def uniform(cls, patch: Literal[2, 4, 8]) -> "TokenConfig":
        """One tokeniser for every memory; 2 is the costly uniform conditioning that the paper compares with."""
        return cls(fine=0, fine_patch=patch, coarse_patch=patch)

    @model_validator(mode="after")
    def _finer_is_finer(self) -> "TokenConfig":
        if self.fine_patch > self.coarse_patch:
            raise ValueError(f"fine_patch {self.fine_patch} must be at most coarse_patch ({self.coarse_patch})")
        return self


class MergeConfig(PresetSettings):
    """Adaptive token merging (paper section 3.3)."""

    mode: Literal["merge", "discard", "high", "off"] = "merge"
    """`merge` is the paper; `discard` and `high` (merge the frames that matter) are its ablations."""
    fraction: float | None = Field(default=None, ge=0, lt=1)
    """Share of the condition frames still whole that is merged at each merge block; None scales it with the number of
    memories."""
    blocks: tuple[int, ...] | None = None
    """Blocks, 1-based, before whose attention frames are merged; None is a third and two thirds of the depth."""


class SamplingConfig(PresetSettings):
    """The denoising loop."""

    steps: int = Field(default=50, ge=1, le=1000)
    """Denoising steps."""
    guidance: float = Field(default=5.0, ge=1)
    """Classifier-free guidance scale; 1 runs a single branch."""
    first_guidance: float | None = Field(default=None, ge=1)
    """The same of a segment that recalls nothing, which others will be true to (ours); None is `guidance`."""
    first_drafts: int = Field(default=1, ge=1, le=8)
    """How often a segment that recalls nothing is made, each time but the first with the draft before as its memory.
    The last one is kept (ours, for edits by text): later segments recall it, and so come out alike."""
    negative: str = ""
    """Negative prompt."""
    memory_in_negative: bool = True
    """Whether the unconditional branch sees the memories too."""

    def scale(self, recalls: bool) -> float:
        """The guidance scale of a segment that recalls something, or nothing."""
        return self.guidance if recalls or self.first_guidance is None else self.first_guidance


class EditConfig(PresetSettings):
    """Everything the editor needs besides the pictures and the instruction."""

    sampling: SamplingConfig = SamplingConfig()
    tokens: TokenConfig = TokenConfig()
    merging: MergeConfig = MergeConfig()
    attention: Literal["joint", "cached"] = "joint"
    """`joint` is the paper; `cached` computes memory keys and values once per segment (ours, must be trained)."""
    reverse_memory: bool = True
    """Reverse the temporal order of memories (supplement E.2: training extends forward, inference looks back)."""
    memory_source: bool = True
    """Of text edits: the model is given the source of a memory beside its result; off, zeros, as a model has to be used
    that was trained on extended clips, where what is remembered has no source."""
    source_camera: Literal["own", "target"] = "own"
    """Cameras that the user's video is told for new views: its own (the paper), or the target's (ReCamMaster alone)."""
    cache_user_video: bool = False
    """With `cached`, for new views: the user's video is cached as memories are, at timestep 0 (must be trained)."""
    clean_latents: int = Field(default=0, ge=0)
    """First latent frames of a segment that are the last ones of its predecessor, kept clean: no seam (ours). For who
    calls the editor: windows of the pipeline overlap by as many frames as come out even, and are cross-faded."""
    tile: int | None = Field(default=None, ge=64, multiple_of=64)
    """Pixels of the square tiles in which the video VAE works, for large pictures on small cards; None is no tiles."""

    @property
    def clean_overlap(self) -> int:
        """Source frames by which a segment must overlap its predecessor for `clean_latents` to be the same frames.

        The first latent frame of a segment is one frame and any other is four, so n of them are 4(n-1)+1 frames, and
        those from the second on are latent frames of the predecessor exactly. The very first stands for the last of
        the four frames that the predecessor packed into it; all of these frames are best shown from the predecessor.
        """
        return 4 * (self.clean_latents - 1) + 1 if self.clean_latents else 0


class Preset(Config):
    """`memory_v2v.json` of a model folder: the settings its weights were made for."""

    name: str
    window: WindowConfig = WindowConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    edit: EditConfig = EditConfig()

    def write(self, folder: Path) -> None:
        """Write it into a model folder."""
        (folder / PRESET_FILE).write_text(self.model_dump_json(indent=2))
