"""Every setting, once: frozen, validated, torch-free. The command line, the Prefect form and the tests share them.

A model folder may carry `memory_v2v.json`, a `Preset` with the settings its weights were trained for; what the user
sets wins over it.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, field_validator, model_validator

Precision = Literal["float32", "bfloat16"]
RecallBy = Literal["views", "recency", "random", "none"]
"""How a novel view recalls others: by what they saw (the paper), or a baseline."""
SESSION_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


class Config(BaseModel):
    """Frozen; unknown keys are errors; docstrings below a field are its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _of_whole_latents(frames: int) -> int:
    """The video VAE keeps one frame and then every fourth."""
    if frames % 4 != 1:
        below = frames - (frames - 1) % 4
        raise ValueError(f"must be 4k+1; nearest are {below} and {below + 4}")
    return frames


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
    def _fits_the_vae(cls, frames: int) -> int:
        return _of_whole_latents(frames)

    @model_validator(mode="after")
    def _windows_advance(self) -> "WindowConfig":
        if self.overlap > self.frames // 2:
            raise ValueError(f"overlap {self.overlap} must be at most half of frames ({self.frames // 2})")
        return self


class RetrievalConfig(Config):
    """Which memories a segment recalls (paper section 3.2, supplement D)."""

    top_k: int = Field(default=5, ge=0, le=64)
    """Memories recalled, the previous segment of a text edit included; 0 edits every segment alone."""
    least: float = Field(default=0.0, ge=-1, le=1)
    """Score below which a memory is not worth its tokens, the previous segment aside: a cosine for text edits, where -1
    is the paper; a field-of-view score for novel views, where 0 is."""
    coverage: bool = False
    """Pick memories that do not repeat one another (ours; off is the paper)."""


class TokenConfig(Config):
    """How many tokens a memory gets (paper section 3.2): 1x4x4 for the best, 1x8x8 for the rest."""

    fine: int = Field(default=3, ge=0)
    """Memories that get the finer tokeniser, best first."""
    fine_patch: Literal[2, 4, 8] = 4
    """Rows and columns of latents in a token of these; 2 is the base's own tokeniser."""
    coarse_patch: Literal[2, 4, 8] = 8
    """Rows and columns of latents in a token of all other memories."""

    @classmethod
    def uniform(cls, patch: Literal[2, 4, 8]) -> "TokenConfig":
        """One tokeniser for every memory; 2 is the costly uniform conditioning that the paper compares with."""
        return cls(fine=0, fine_patch=patch, coarse_patch=patch)

    @model_validator(mode="after")
    def _finer_is_finer(self) -> "TokenConfig":
        if self.fine_patch > self.coarse_patch:
            raise ValueError(f"fine_patch {self.fine_patch} must be at most coarse_patch ({self.coarse_patch})")
        return self


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
    first_guidance: float | None = Field(default=None, ge=1)
    """The same of a segment that recalls nothing, which others will be true to (ours); None is `guidance`."""
    negative: str = ""
    """Negative prompt."""
    memory_in_negative: bool = True
    """Whether the unconditional branch sees the memories too."""

    def scale(self, recalls: bool) -> float:
        """The guidance scale of a segment that recalls something, or nothing."""
        return self.guidance if recalls or self.first_guidance is None else self.first_guidance


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
    cache_user_video: bool = False
    """With `cached`, for new views: the user's video is cached as memories are, at timestep 0 (must be trained)."""
    clean_latents: int = Field(default=0, ge=0)
    """First latent frames of a segment that are the last ones of its predecessor, kept clean: no seam (ours)."""
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


class OutputConfig(Config):
    """What is written."""

    codec: Literal["h264", "prores", "dnxhr", "ffv1"] = "h264"
    """Codec of the edited video; segments are always kept losslessly."""
    tone_map: bool = False
    """Accept HDR sources by tone-mapping them to BT.709; without it they are refused."""


class VideoRequest(Config):
    """What every turn needs, whatever it does to the video."""

    video: Path
    out: Path
    weights: str
    """A local model folder or a hub id."""
    session: str | None = Field(default=None, pattern=SESSION_NAME)
    """Turns of one session share a memory; the default is one of the work's own."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; `auto` takes a GPU if this machine has one."""
    window: WindowConfig = WindowConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    edit: EditConfig = EditConfig()
    output: OutputConfig = OutputConfig()
    wait: float = Field(default=3600.0, ge=0)
    """Seconds to wait for another process that writes to the same folder; 0 gives up at once."""


class EditRequest(VideoRequest):
    """One turn: a video and an instruction."""

    instruction: str = Field(min_length=1, max_length=4000)
    descriptor: str = "thumbnail"
    """`thumbnail` (documented fallback, no weights) or a DINOv2 folder or hub id."""
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


class WorldConfig(Config):
    """The synthetic world (`storage/datasets/synthetic.py`): how large, how long, how often its subject is gone."""

    size: int = Field(default=64, ge=32)
    """Height and width in pixels."""
    segments: int = Field(default=8, ge=6)
    """Segments of a clip."""
    segment_frames: int = Field(default=9, ge=5)
    """Frames of a segment, 4k+1."""
    radius: tuple[float, float] = (0.14, 0.2)
    """Smallest and largest radius of a shape, in parts of the size."""
    least_shown: int = Field(default=1, ge=1, le=4)
    """Segments at the start in which the subject is always in view."""
    least_gap: int = Field(default=1, ge=1)
    """Segments that the subject is away, at least."""


class MixConfig(Config):
    """How a training sample is put together (paper section 4.1 and supplement E; `ours` where they are silent)."""

    memories: tuple[float, ...] = (0.12, 0.2, 0.22, 0.2, 0.14, 0.08, 0.04)
    """Chance of 0, 1, 2, ... memories."""
    previous: float = Field(default=0.7, ge=0, le=1)
    """Chance that the segment before the target is among them, if there is one."""
    changed: float = Field(default=0.8, ge=0, le=1)
    """Chance that the target is a segment that the edit changes, where the clip has one; otherwise it is any."""
    disagreeing: float = Field(default=0.3, ge=0, le=1)
    """Chance that memories contradict an instruction that fixes the result: it is the text that must be obeyed."""
    one_tokenizer: float = Field(default=0.5, ge=0, le=1)
    """Chance that one random tokeniser serves all memories; otherwise the best get the finer one."""
    merging: float = Field(default=0.5, ge=0, le=1)
    """Chance that frames are merged, a share of them drawn from `merge_share`."""
    merge_share: tuple[float, float] = (0.3, 0.7)
    merge_blocks: tuple[int, ...] | None = None
    """Blocks, 1-based, before which frames are merged; None is a third and two thirds of the depth."""
    cached: float = Field(default=0.5, ge=0, le=1)
    """Chance that memory attends to memory only, so that the model works with `attention="cached"` too."""
    memory_noise: float = Field(default=0.1, ge=0)
    """Largest deviation of the Gaussian noise on memory latents, drawn from 0 to this."""
    reverse_memory: bool = False
    """Count memories backwards. The paper does so at inference only, since its training clips extend forward."""
    user_video_dropout: float = Field(default=0.1, ge=0, le=1)
    """Of novel views with memories: chance that the user's video is left out, so that memory stands alone."""
    text_dropout: float = Field(default=0.05, ge=0, le=1)
    """Chance of an empty instruction, which guidance needs."""


class OptimConfig(Config):
    """How weights move."""

    trained: Literal["memory", "memory+attention", "lora", "all"] = "memory+attention"
    """New modules alone, with self-attention (the paper), with LoRA on self-attention, or everything."""
    rate: float = Field(default=1e-5, gt=0)
    """Learning rate of the base's weights."""
    memory_rate: float = Field(default=1e-4, gt=0)
    """Learning rate of the memory modules."""
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: int = Field(default=100, ge=0)
    """Steps until the full rate, which then falls to a twentieth along a cosine."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    ema: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the running mean of weights, which is what is saved."""
    accumulate: int = Field(default=1, ge=1)
    """Batches to a step."""
    lora_rank: int = Field(default=16, ge=1)


class TrainingConfig(Config):
    """One training run."""

    steps: int = Field(default=2000, ge=1)
    batch: int = Field(default=1, ge=1)
    """Samples of a batch, on each worker."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    shift: float = Field(default=5.0, gt=0)
    """Times are drawn as the sampler spaces them: this much towards noise."""
    region_weight: float = Field(default=0.0, ge=0)
    """Extra weight of the loss where the data marks a region."""
    mix: MixConfig = MixConfig()
    optim: OptimConfig = OptimConfig()
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward pass; weights are kept in float32."""
    validate_every: int = Field(default=250, ge=1)
    validation_batches: int = Field(default=8, ge=1)
    save_every: int = Field(default=250, ge=1)


class SmallModelConfig(Config):
    """Sizes of a model to be trained from nothing, on a laptop."""

    kind: Literal["lucy-edit", "recam"] = "lucy-edit"
    """Whose architecture: one that edits, or one that renders novel views."""

    width: int = Field(default=128, ge=32)
    heads: int = Field(default=4, ge=1)
    """Heads of attention; the width divided by them must be even."""
    depth: int = Field(default=4, ge=1)
    """Blocks."""
    feed_forward: int = Field(default=512, ge=32)
    channels: int = Field(default=16, ge=4)
    """Latent channels."""
    text_width: int = Field(default=64, ge=16)


class SyntheticSource(Config):
    """Clips of the synthetic world, one a seed."""

    kind: Literal["synthetic"]
    clips: int = Field(ge=1)
    first_seed: int = Field(default=0, ge=0)
    wording: Literal["training", "held-out"] = "training"
    """`held-out` has phrases, pairs of shape and colour, and a shape that `training` never has."""
    world: WorldConfig = WorldConfig()
    share: float = Field(default=1.0, ge=0.01, le=100)
    """How often a clip of this source is drawn, compared with clips of a source whose share is 1."""


class FootageSource(Config):
    """Clips of real pictures and films with looks on them, one a seed; of the `world` only sizes matter."""

    kind: Literal["footage"]
    clips: int = Field(ge=1)
    first_seed: int = Field(default=0, ge=0)
    wording: Literal["training", "held-out"] = "training"
    """`held-out` has phrases and pictures that `training` never has."""
    world: WorldConfig = WorldConfig()
    share: float = Field(default=1.0, ge=0.01, le=100)
    """See `SyntheticSource`."""


class PanoramaSource(Config):
    """Clips of novel views over a panorama, one a seed; of the `world` only sizes matter."""

    kind: Literal["panorama"]
    clips: int = Field(ge=1)
    first_seed: int = Field(default=0, ge=0)
    wording: Literal["training", "held-out"] = "training"
    """`held-out` panoramas are others than those of `training`."""
    world: WorldConfig = WorldConfig()
    share: float = Field(default=1.0, ge=0.01, le=100)
    """See `SyntheticSource`."""


class EncodedSource(Config):
    """Clips that are latents already, listed in the `index.jsonl` of a folder."""

    kind: Literal["encoded"]
    folder: Path
    """Where a manifest names it, relative to the manifest."""
    share: float = Field(default=1.0, ge=0.01, le=100)
    """See `SyntheticSource`."""


class ExtendedSource(Config):
    """Long samples of `memory-v2v extend`: each list takes its own split (see `MixConfig.reverse_memory`)."""

    kind: Literal["extended"]
    folder: Path
    """Where a manifest names it, relative to the manifest."""
    share: float = Field(default=1.0, ge=0.01, le=100)
    """See `SyntheticSource`."""


DrawnSource = SyntheticSource | FootageSource | PanoramaSource
"""Sources whose clips are drawn from seeds."""
Source = Annotated[DrawnSource | EncodedSource | ExtendedSource, Field(discriminator="kind")]


class DatasetConfig(Config):
    """A training manifest: where clips come from. Encoded and extended sources give each list its own part of them."""

    training: tuple[Source, ...] = Field(min_length=1)
    validation: tuple[Source, ...] = Field(min_length=1)


class TrainingRunConfig(Config):
    """The config file of `memory-v2v train`: what is trained, how, on what, and what it will be used with."""

    start: str | None = None
    """Model to go on from: a diffusers folder or a hub id."""
    small: SmallModelConfig | None = None
    """Instead of `start`: a small model from nothing, whose codec is fitted to the first clips."""
    codec_clips: int = Field(default=32, ge=1)
    """Clips of every source that the codec of a small model is fitted to."""
    preset: Preset
    """Settings that the trained model is to be used with."""
    training: TrainingConfig = TrainingConfig()
    workers: int = Field(default=1, ge=1)
    """Processes that train together (data-parallel, through Ray Train), one GPU each where there are GPUs."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """Whether each of these holds all weights and moments, or its part of them."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of each worker; None shares out this machine's cores."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    saved: Literal["float32", "float16", "bfloat16"] = "float32"
    """Precision of the trained transformer on disk."""

    @model_validator(mode="after")
    def _starts_somewhere(self) -> "TrainingRunConfig":
        if (self.start is None) is (self.small is None):
            raise ValueError("give either start, a model to go on from, or small, the sizes of a new one")
        return self

    @model_validator(mode="after")
    def _learns_from_every_sample(self) -> "TrainingRunConfig":
        if self.training.optim.trained == "memory" and self.training.mix.memories[0] > 0:
            raise ValueError("trained: memory learns nothing from samples without memories; begin mix.memories with 0")
        return self

    @model_validator(mode="after")
    def _saves_whole_points(self) -> "TrainingRunConfig":
        saved, measured = self.training.save_every, self.training.validate_every
        if saved % measured:
            raise ValueError(f"training.save_every {saved} must be a multiple of training.validate_every ({measured})")
        return self


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
    least_frames: int = Field(default=100, ge=0)
    """Frames added at least; a clip that had to end earlier is rejected. No more than `frames`."""


class ExtensionRequest(Config):
    """A dataset of short edit pairs, and what is to be made of it: long samples, as latents (paper section 4.1)."""

    dataset: Path
    """A folder, or a list of pairs in JSON lines."""
    out: Path
    layout: Literal["auto", "senorita", "multicam", "folder", "synthetic"] = "auto"
    """How the dataset lies on disk; `synthetic` draws worlds, and `dataset` is the file that describes them."""
    instruction_field: str = "instruction"
    """In Señorita's lists."""
    framepack: str
    """FramePack's folder in diffusers' format, a hub id, or `untrained`."""
    weights: str = "demo"
    """The model that will be trained: its codec makes the latents."""
    height: int = Field(default=480, ge=16, multiple_of=16)
    """Clips are scaled to fill it, and cropped; portrait clips swap height and width."""
    width: int = Field(default=832, ge=16, multiple_of=16)
    clip_frames: int = Field(default=33, ge=5)
    """Frames taken of a pair, 4k+1; of shorter pairs as many as there are."""
    segment_frames: int = Field(default=33, ge=5)
    """Frames of a training segment, 4k+1: the window of the model, or what a pair has."""
    extension: ExtensionConfig = ExtensionConfig()
    validation_share: float = Field(default=0.02, ge=0, lt=1)
    """Of the videos that pairs are from."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    limit: int | None = Field(default=None, ge=1)
    """Take the first pairs only."""
    workers: int = Field(default=1, ge=1)
    """Extenders at work at once, one GPU each where there are GPUs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("clip_frames", "segment_frames")
    @classmethod
    def _fits_the_vae(cls, frames: int) -> int:
        return _of_whole_latents(frames)

    @model_validator(mode="after")
    def _segments_fit(self) -> "ExtensionRequest":
        if self.segment_frames > self.clip_frames:
            raise ValueError(f"segment_frames {self.segment_frames} must be at most clip_frames ({self.clip_frames})")
        if self.extension.least_frames > self.extension.frames:
            raise ValueError(f"least_frames must be at most frames ({self.extension.frames})")
        return self


class ProofConfig(Config):
    """The measurement of the claim (`benchmarks/consistency.py`): which held-out videos, under which methods."""

    weights: tuple[str, ...] = Field(default=("demo",), min_length=1)
    """Models, such as one by training seed; what they make of one video is drawn together in an interval."""
    videos: int = Field(default=60, ge=1)
    segments: int = Field(default=20, ge=10)
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of the first video; the others follow."""
    methods: tuple[str, ...] = (
        "ind", "fifo", "memory", "memory_merging", "discard", "recency", "random", "cached", "shuffled"
    )  # fmt: skip
    size: int = Field(default=64, ge=32)
    least_gap: int = Field(default=12, ge=1)
    """Segments in which the subject is away, at least, beside those that it, or the camera, takes to go and come."""
    looks: int = Field(default=12, ge=0)
    """Videos of real footage that get an open look."""
    workers: int = Field(default=2, ge=1)
    """Judges at work at once, one core each."""
    records: Path
    """A file that every judged video is added to, and by which an interrupted run goes on."""
