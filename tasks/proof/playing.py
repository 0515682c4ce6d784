"""Edit one held-out video by each method, segment after segment, and look at what came out.

A method says which earlier segments are recalled, and how the model treats them; all else is the same: the noise of a
segment is the same under every method, and an edit that two methods share is made once. Knows no Ray, no files, and of
the model only `ProofEditor`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Float32

from model.config import EditConfig, Preset, RetrievalConfig
from model.descriptor import ThumbnailDescriptor
from model.memory.retrieval import Candidate, change_of, choose, is_changed, leave_out_copies, rank_by_descriptor
from model.types import LATENT_DTYPE, EditedSegment, Memory
from storage.datasets.clip import Frames

SEEDS_APART = 1000  # more than there are segments


class ProofEditor(Protocol):
    """What is asked of a model: `MeasuredEditor`, or one made by hand."""

    def edit(
        self,
        source: Float32[np.ndarray, "frame height width 3"],
        instruction: str,
        memories: Sequence[Memory],
        seed: int,
        config: EditConfig,
    ) -> EditedSegment: ...

    def flops(
        self, source: Float32[np.ndarray, "frame height width 3"], memories: Sequence[Memory], config: EditConfig
    ) -> int: ...

    def reconstruct(self, latents: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Clip:
    """A video to be edited: its segments `[segment, frame, height, width, 3]` in [0, 1], and the shot of each."""

    id: str
    seed: int
    instruction: str
    segments: Float32[np.ndarray, "segment frame height width 3"]
    shots: tuple[int, ...]
    descriptors: Float32[np.ndarray, "segment size"]

    def previous(self, at: int) -> int | None:
        """The segment before, if it is in the same shot."""
        return at - 1 if at > 0 and self.shots[at] == self.shots[at - 1] else None


def make_clip(id: str, seed: int, instruction: str, source: Frames, length: int, cuts: Sequence[bool]) -> Clip:
    """A clip of whole segments of `length` frames; `cuts` says before which segments, the first aside, there is one."""
    segments = source.reshape(-1, length, *source.shape[1:])
    descriptors = np.stack([ThumbnailDescriptor().describe(segment) for segment in segments])
    shots = tuple(int(shot) for shot in np.cumsum([False, *cuts]))
    return Clip(id, seed, instruction, segments.astype(np.float32) / 255, shots, descriptors)


Recalls = Callable[[Clip, Sequence[float], RetrievalConfig], list[int]]
"""The earlier segments that the next one of a clip recalls, best first; they were changed by so much each."""


def recall_nothing(clip: Clip, changes: Sequence[float], config: RetrievalConfig) -> list[int]:
    """Every segment is edited alone."""
    return []


def recall_last(clip: Clip, changes: Sequence[float], config: RetrievalConfig) -> list[int]:
    """The segment before, whatever it shows."""
    return list(range(len(changes)))[-1:]


def recall_latest(clip: Clip, changes: Sequence[float], config: RetrievalConfig) -> list[int]:
    """The last ones, latest first."""
    return list(range(len(changes)))[::-1][: config.top_k]


def recall_random(clip: Clip, changes: Sequence[float], config: RetrievalConfig) -> list[int]:
    """Any of them."""
    drawn = np.random.default_rng([clip.seed, len(changes)]).permutation(len(changes))
    return [int(each) for each in drawn[: config.top_k]]


def recall_similar(clip: Clip, changes: Sequence[float], config: RetrievalConfig) -> list[int]:
    """The previous one in the same shot, then those that look most alike: what `tasks/recall.py` recalls."""
    at, most = len(changes), max(changes, default=0.0)
    place = clip.previous(at)
    if place is not None and config.copy_margin is not None and is_changed(changes[place], most, config):
        place = None
    scores = rank_by_descriptor(clip.descriptors[at], clip.descriptors[:at])
    candidates = [
        Candidate(str(index), float(score), clip.descriptors[index], (0, index))
        for index, score in enumerate(scores)
        if index == place or (score >= config.least and is_changed(changes[index], most, config))
    ]
    name = None if place is None else str(place)
    if config.copy_margin is not None:
        candidates = leave_out_copies(candidates, config.copy_margin, name)
    return [int(recall.id) for recall in choose(candidates, config.top_k, name, config.coverage)]


@dataclass(frozen=True)
class Method:
    """Which segments are recalled, how they are treated, and whether they are taken from another video instead."""

    recalls: Recalls
    merging: Literal["off", "merge", "discard"] = "off"
    attention: Literal["joint", "cached"] = "joint"
    borrowed: bool = False

    def config(self, preset: Preset) -> EditConfig:
        merging = preset.edit.merging.model_copy(update={"mode": self.merging})
        return preset.edit.model_copy(update={"merging": merging, "attention": self.attention})


METHODS: Mapping[str, Method] = {
    "ind": Method(recall_nothing),
    "fifo": Method(recall_last),
    "memory": Method(recall_similar),
    "memory_merging": Method(recall_similar, merging="merge"),
    "discard": Method(recall_similar, merging="discard"),
    "recency": Method(recall_latest),
    "random": Method(recall_random),
    "cached": Method(recall_similar, attention="cached"),
    "shuffled": Method(recall_similar, borrowed=True),
}


class Stage:
    """One clip, and every edit made of it so far."""

    def __init__(self, clip: Clip, editor: ProofEditor, preset: Preset) -> None:
        self.clip, self.editor, self.preset = clip, editor, preset
        self._made: dict[tuple, Take] = {}

    def play(self, name: str, donor: "Stage | None" = None) -> list["Take"]:
        """The clip edited by a method, segment by segment; one that borrows takes the memories of `donor`.

        Those are what `memory` made of the segments with the same numbers: all but whose they are stays the same.
        """
        method = METHODS[name]
        assert not method.borrowed or donor is not None, f"{name} needs another video to borrow from"
        lent = donor.play("memory") if method.borrowed and donor is not None else None
        honest = self.play("memory") if method.borrowed else None
        takes: list[Take] = []
        for at in range(len(self.clip.segments)):
            changes = [take.change for take in (honest or takes)[:at]]
            recalled = method.recalls(self.clip, changes, self.preset.retrieval)
            memories = [self._memory(at, each, lent or takes) for each in recalled]
            takes.append(self._take(at, memories, method))
        return takes

    def _memory(self, at: int, recalled: int, takes: Sequence["Take"]) -> Memory:
        take = takes[recalled]
        return Memory(take.id, take.edited, take.source, is_previous=recalled == self.clip.previous(at))

    def _take(self, at: int, memories: Sequence[Memory], method: Method) -> "Take":
        config = method.config(self.preset) if memories else METHODS["ind"].config(self.preset)
        key = (at, tuple((memory.id, memory.is_previous) for memory in memories), config)
        if key not in self._made:
            clip = self.clip
            done = self.editor.edit(clip.segments[at], clip.instruction, memories, SEEDS_APART * clip.seed + at, config)
            edited, source = (each.astype(LATENT_DTYPE) for each in (done.edited, done.source))
            work = self.editor.flops(clip.segments[at], memories, config)
            name = f"{clip.id}/{len(self._made)}"
            self._made[key] = Take(name, done.frames, edited, source, done.seconds.get("total", 0.0), work)
        return self._made[key]


@dataclass(frozen=True)
class Take:
    """One edit of one segment, its latents as the store keeps them."""

    id: str
    frames: Float32[np.ndarray, "frame height width 3"]
    edited: np.ndarray
    source: np.ndarray
    seconds: float
    flops: int

    @cached_property
    def change(self) -> float:
        """By how much the segment was changed."""
        return change_of(self.edited, self.source)


def cuts_between(labels: Sequence[int]) -> list[bool]:
    """Between which of a row of labels there is a change."""
    return [one != other for one, other in pairwise(labels)]
