"""What is trained, how, and on which clips (paper section 4.1)."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from model.config.base import Config
from model.config.editing import Preset
from model.errors import RequestError

Split = Literal["training", "validation"]
"""The two lists of a manifest: what is learned from, and what is only measured."""


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
    patches: tuple[Literal[2, 4, 8], Literal[2, 4, 8]] = (4, 8)
    """Rows and columns of latents in a token of the finer and of the coarser tokeniser; those of the preset are among
    them (see `TokenConfig`)."""
    merging: float = Field(default=0.5, ge=0, le=1)
    """Chance that frames are merged, a share of them drawn from `merge_share`."""
    merge_share: tuple[float, float] = (0.3, 0.7)
    merge_blocks: tuple[int, ...] | None = None
    """Blocks, 1-based, before which frames are merged: the preset's. None is a third and two thirds of the depth."""
    cached: float = Field(default=0.5, ge=0, le=1)
    """Chance that memory attends to memory only, so that the model works with `attention="cached"` too."""
    memory_noise: float = Field(default=0.1, ge=0)
    """Largest deviation of the Gaussian noise on memory latents, drawn from 0 to this."""
    reverse_memory: bool = False
    """Count memories backwards: as the preset does, but on extended sources the other way round (the paper), since
    those clips extend forward. Anything else is refused."""
    user_video_dropout: float = Field(default=0.1, ge=0, le=1)
    """Of novel views with memories: chance that the user's video is left out, so that memory stands alone."""
    text_dropout: float = Field(default=0.05, ge=0, le=1)
    """Chance of an empty instruction, which guidance needs."""

    @model_validator(mode="after")
    def _memories_have_chances(self) -> "MixConfig":
        if any(chance < 0 for chance in self.memories) or sum(self.memories) <= 0:
            raise ValueError(f"memories {self.memories}: expected chances of 0 or more, and one above 0")
        return self

    @model_validator(mode="after")
    def _shares_are_a_range(self) -> "MixConfig":
        least, most = self.merge_share
        if not 0 <= least <= most < 1:
            raise ValueError(f"merge_share {self.merge_share}: expected two shares in [0, 1), the smaller one first")
        return self

    @model_validator(mode="after")
    def _finer_is_finer(self) -> "MixConfig":
        if self.patches[0] > self.patches[1]:
            raise ValueError(f"patches {self.patches}: the finer tokeniser comes first")
        return self


class OptimConfig(Config):
    """How weights move."""

    trained: Literal["memory", "memory+attention", "lora", "all"] = "memory+attention"
    """New modules alone, with self-attention (the paper), with LoRA on self-attention, or everything."""
    by: Literal["adamw", "muon"] = "adamw"
    """AdamW; or Muon (Jordan et al. 2024) for the matrices in blocks, at the same rates, and AdamW for all else."""
    rate: float = Field(default=1e-5, gt=0)
    """Learning rate of the base's weights."""
    memory_rate: float = Field(default=1e-4, gt=0)
    """Learning rate of the memory modules."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.98)
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

    @model_validator(mode="after")
    def _whole_matrices(self) -> "OptimConfig":
        if self.by == "muon" and self.trained == "lora":
            raise ValueError("by muon: it is for whole matrices, and adapters of low rank are none; use adamw")
        return self


def require_peft(config: OptimConfig) -> None:
    """Raises:
    RequestError: adapters of low rank are to be trained, and what makes them is not installed.
    """
    if config.trained == "lora" and find_spec("peft") is None:
        raise RequestError("trained lora: peft is not installed; pip install 'memory-v2v[lora]'")


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
    checkpointing: bool = False
    """Compute what blocks hold for the way back a second time instead of keeping it: less memory, more time. For a real
    base; a small model needs none of it."""
    validate_every: int = Field(default=250, ge=1)
    validation_batches: int = Field(default=8, ge=1)
    save_every: int = Field(default=250, ge=1)


class SmallModelConfig(Config):
    """Sizes of a model to be trained from nothing, on a laptop."""

    kind: Literal["lucy-edit", "recam"] = "lucy-edit"
    """Whose architecture: one that edits, or one that renders novel views."""

    width: int = Field(default=128, ge=32)
    heads: int = Field(default=4, ge=1)
    """Heads of attention; the width is a multiple of twice their number."""
    depth: int = Field(default=4, ge=1)
    """Blocks."""
    feed_forward: int = Field(default=512, ge=32)
    channels: int = Field(default=16, ge=4)
    """Latent channels."""
    text_width: int = Field(default=64, ge=16)

    @model_validator(mode="after")
    def _heads_are_alike(self) -> "SmallModelConfig":
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width}: expected a multiple of {2 * self.heads}, twice the heads")
        return self


class _AnySource(Config):
    """What all sources have."""

    share: float = Field(default=1.0, ge=0.01, le=100)
    """How often a clip of this source is drawn, compared with clips of a source whose share is 1."""


class _SeededSource(_AnySource):
    """What sources have whose clips are drawn, one a seed."""

    clips: int = Field(ge=1)
    first_seed: int = Field(default=0, ge=0)
    wording: Literal["training", "held-out"] = "training"
    """`held-out` has what `training` never has; what that is, each source says."""
    world: WorldConfig = WorldConfig()


class SyntheticSource(_SeededSource):
    """Clips of the synthetic world, one a seed. Held out are phrases, pairs of shape and colour, and a shape."""

    kind: Literal["synthetic"]


class FootageSource(_SeededSource):
    """Clips of real pictures and films with looks on them, one a seed; of the `world` only sizes matter. Held out are
    phrases and pictures."""

    kind: Literal["footage"]
    versions: int = Field(default=2, ge=2)
    """Looks that a clip was given, where its text leaves the look open."""
    recoloured: float = Field(default=0.0, ge=0, le=1)
    """Share of clips that are given a look before they are edited, so that few pictures show many colours."""
    views: int = Field(default=2, ge=1)
    """Pictures, or films, that a clip shows in turns: the more, the seldomer a memory shows what its target does."""


class PanoramaSource(_SeededSource):
    """Clips of novel views over a panorama, one a seed; of the `world` only sizes matter. Held out are panoramas."""

    kind: Literal["panorama"]


class _StoredSource(_AnySource):
    """What sources have that lie in a folder."""

    folder: Path
    """Where a manifest names it, relative to the manifest."""


class MultiCamSource(_StoredSource):
    """Clips of novel views from films: a scene of MultiCamVideo each. One camera's film is the user's video, the others
    are turns. They are cut into segments of the preset's window, and as large as it. Below the folder lie
    LENS/SCENE/videos and LENS/SCENE/cameras."""

    kind: Literal["multicam"]


class EncodedSource(_StoredSource):
    """Clips that are latents already, listed in the `index.jsonl` of a folder."""

    kind: Literal["encoded"]


class ExtendedSource(_StoredSource):
    """Long samples of `memory-v2v extend`: each list takes its own split (see `MixConfig.reverse_memory`)."""

    kind: Literal["extended"]


DrawnSource = SyntheticSource | FootageSource | PanoramaSource
"""Sources whose clips are drawn from seeds."""
Source = Annotated[DrawnSource | MultiCamSource | EncodedSource | ExtendedSource, Field(discriminator="kind")]


class DatasetConfig(Config):
    """A training manifest: where clips come from. Encoded and extended sources give each list its own part of them."""

    training: tuple[Source, ...] = Field(min_length=1)
    validation: tuple[Source, ...] = Field(min_length=1)

    def named(self) -> Iterator[tuple[Split, int, Source]]:
        """Every source with its list and its place in it, from 0; those of training first."""
        lists: tuple[tuple[Split, tuple[Source, ...]], ...]
        lists = ("training", self.training), ("validation", self.validation)
        return ((split, number, source) for split, sources in lists for number, source in enumerate(sources))

    @model_validator(mode="after")
    def _clips_are_in_one_list(self) -> "DatasetConfig":
        taken = [(number, each) for number, each in enumerate(self.training) if isinstance(each, DrawnSource)]
        for number, source in enumerate(self.validation):
            for other, trained in taken:
                if isinstance(source, DrawnSource) and _share_seeds(source, trained):
                    raise ValueError(
                        f"validation.{number} has seeds of training.{other}: its clips would be trained on; "
                        "give it another first_seed, such as 100000"
                    )
            filmed = [each.folder for each in self.training if isinstance(each, MultiCamSource)]
            if isinstance(source, MultiCamSource) and source.folder in filmed:
                raise ValueError(f"validation.{number} has the scenes of training: name another folder")
        return self


def _share_seeds(one: DrawnSource, other: DrawnSource) -> bool:
    first, last = max(one.first_seed, other.first_seed), min(one.first_seed + one.clips, other.first_seed + other.clips)
    return (one.kind, one.wording) == (other.kind, other.wording) and first < last


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
    def _whole_matrices(self) -> "TrainingRunConfig":
        if self.training.optim.by == "muon" and self.strategy == "fsdp":
            raise ValueError("by muon: it needs whole matrices, and fsdp gives each worker a part; use adamw, or ddp")
        return self

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
