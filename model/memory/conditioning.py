"""What the target is conditioned on in one forward pass of the transformer."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.config import MergeConfig
from model.memory.attention import KeyValue, MemoryCache
from model.memory.merging import MergePlan
from model.memory.sequence import ConditionVideo, Part


@dataclass(frozen=True)
class Prepared:
    """What is the same at every step of a segment: tokens of the videos, and keys and values of the text by block."""

    parts: list[Part]
    text: tuple[KeyValue, ...]


@dataclass(frozen=True)
class Conditioning:
    """Videos, and how they are attended to.

    `videos` are ordered: live ones first (the user's video where there is one), then memories, best first.
    `target_cameras` are `[R|t]` by latent frame, `[B, T, 12]`. `cached` lets memory attend to memory only, under
    `memory_text` `[B or 1, words, text_dim]`; with `cache` its keys and values are not computed again, and `videos`
    holds the live ones alone. A `plan` is obeyed instead of scoring; with `plan_only` nothing else is asked for.
    With what is `prepared` neither the videos nor the text that the pass is given are looked at again.
    `range_frames` is the length of a temporal range (supplement E), None for that of the longest video or the target: a
    pass that holds only some of the videos has to be told.
    """

    videos: tuple[ConditionVideo, ...] = ()
    merging: MergeConfig = field(default_factory=lambda: MergeConfig(mode="off"))
    target_cameras: Tensor | None = None
    cached: bool = False
    memory_text: Tensor | None = None
    cache: MemoryCache | None = None
    plan: MergePlan | None = None
    plan_only: bool = False
    range_frames: int | None = None
    prepared: Prepared | None = None

    def __post_init__(self) -> None:
        live = [video.live for video in self.videos]
        assert live == sorted(live, reverse=True), "live videos come before memories"
        assert not self.cached or self.cache or self.memory_text is not None, "cached memory runs under one fixed text"

    @property
    def empty(self) -> bool:
        """Whether the target is alone."""
        return not self.videos and self.cache is None

    @property
    def memories(self) -> int:
        """How many memories there are, counting those that only some samples of a batch have."""
        return sum(video.remembered and not video.live for video in self.videos)

    def range_length(self, target_frames: int) -> int:
        """Latent frames of a temporal range: nobody's positions run into the next range."""
        if self.range_frames is not None:
            return self.range_frames
        return max([target_frames, *(video.latents.shape[2] for video in self.videos)])

    def memories_by_sample(self) -> list[int]:
        """How many memories each sample has: one number for all where all have all."""
        memories = (video for video in self.videos if video.remembered and not video.live)
        some = [video.present for video in memories if video.present is not None]
        if not some:
            return [self.memories]
        present = torch.stack(some).sum(dim=0)
        return [self.memories - len(some) + int(count) for count in present]
