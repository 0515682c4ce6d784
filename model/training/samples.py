"""What one training batch consists of: target segments, and memories from elsewhere in the same clips (section 4.1).

Everything that shapes the sequence is drawn once for the batch: how many memories, under which tokenisers, whether and
how much is merged, whether memory is cached. So lengths are equal and no masks are needed. Clips, segments and versions
are drawn by sample. A batch depends on the seed, the step and the worker alone, so a resumed run sees the same ones.

Does not know how latents were made, or what a model does with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from model.config import MixConfig
from model.types import TrainingClip


@dataclass(frozen=True)
class BatchMemory:
    """One memory of every sample. `previous` ones are the segment before the target; novel views have `cameras`."""

    edited: Float32[np.ndarray, "batch channel time row column"]
    source: Float32[np.ndarray, "batch channel time row column"]
    patch: int
    previous: bool
    cameras: Float32[np.ndarray, "batch time 12"] | None = None


@dataclass(frozen=True)
class Batch:
    """Targets with their memories, best first, and how those are treated. `merge_share` is None for no merging.

    `cameras` are those of novel views, whose `source` is the user's video; None is an edit.
    """

    instructions: tuple[str, ...]
    target: Float32[np.ndarray, "batch channel time row column"]
    source: Float32[np.ndarray, "batch channel time row column"]
    regions: Bool[np.ndarray, "batch time row column"]
    memories: tuple[BatchMemory, ...]
    merge_share: float | None
    cached: bool
    cameras: Float32[np.ndarray, "batch time 12"] | None = None


def draw_batch(
    clips: Sequence[TrainingClip],
    size: int,
    mix: MixConfig,
    random: np.random.Generator,
    shape: np.random.Generator | None = None,
    chosen: Sequence[int] | None = None,
) -> Batch:
    """A batch of `size` samples, of clips drawn at random or `chosen`. Memories that the shortest has not are left out.

    Workers that train together draw samples from `random`, each its own, and the form of their batches from one and the
    same `shape`: so they use the same modules, and wait for one another as little as may be.
    """
    shape = shape or random
    drawn = [clips[int(index)] for index in (random.integers(len(clips), size=size) if chosen is None else chosen)]
    most = min(len(clip) for clip in drawn) - 1
    chances = np.asarray(mix.memories) / sum(mix.memories)
    count = min(int(shape.choice(len(chances), p=chances)), most)
    with_previous = count > 0 and shape.random() < mix.previous
    places = [_draw_places(clip, count, with_previous, mix.changed, random) for clip in drawn]
    versions = [_draw_versions(clip, mix.disagreeing, random) for clip in drawn]
    patches = _draw_patches(count, mix, shape)
    targets = [place[0] for place in places]
    return Batch(
        instructions=tuple("" if random.random() < mix.text_dropout else clip.instruction for clip in drawn),
        target=_stack([clip.versions[own][at] for clip, (own, _), at in zip(drawn, versions, targets, strict=True)]),
        source=_stack([clip.source[at] for clip, at in zip(drawn, targets, strict=True)]),
        regions=np.stack([clip.regions[at] for clip, at in zip(drawn, targets, strict=True)]),
        memories=tuple(
            _memory(drawn, versions, [place[rank + 1] for place in places], patch, with_previous and rank == 0)
            for rank, patch in enumerate(patches)
        ),
        merge_share=float(shape.uniform(*mix.merge_share)) if count and shape.random() < mix.merging else None,
        cached=bool(count and shape.random() < mix.cached),
        cameras=_cameras_at(drawn, targets),
    )


def _draw_places(
    clip: TrainingClip, count: int, with_previous: bool, changed: float, random: np.random.Generator
) -> list[int]:
    """The target's segment, and those of its memories, all different; its neighbour first if that is wanted.

    That is the one before it; in a clip that was extended forward, the one behind it (see `MixConfig.reverse_memory`).
    """
    possible = np.arange(1 if with_previous and not clip.extended else 0, len(clip.changed))
    busy = possible[clip.changed[possible]]
    target = int(random.choice(busy if len(busy) and random.random() < changed else possible))
    first = [target + 1 if clip.extended else target - 1] if with_previous else []
    others = [place for place in range(len(clip)) if place != target and place not in first]
    return [target, *first, *(int(place) for place in random.permutation(others)[: count - len(first)])]


def _draw_versions(clip: TrainingClip, disagreeing: float, random: np.random.Generator) -> tuple[int, int]:
    """The version of the target, and that of its memories: they differ only where a fixed text must win."""
    if not clip.fixed:
        own = int(random.integers(len(clip.versions)))
        return own, own
    contradicted = len(clip.versions) > 1 and random.random() < disagreeing
    return 0, int(random.integers(1, len(clip.versions))) if contradicted else 0


def _draw_patches(count: int, mix: MixConfig, random: np.random.Generator) -> list[int]:
    if random.random() < mix.one_tokenizer:
        return [int(random.choice(mix.patches))] * count
    finer, coarser = mix.patches
    fine = int(random.integers(count + 1))
    return [finer] * fine + [coarser] * (count - fine)


def _memory(
    clips: Sequence[TrainingClip],
    versions: Sequence[tuple[int, int]],
    places: Sequence[int],
    patch: int,
    previous: bool,
) -> BatchMemory:
    edited = [clip.versions[kept][at] for clip, (_, kept), at in zip(clips, versions, places, strict=True)]
    source = [_source_at(clip, at) for clip, at in zip(clips, places, strict=True)]
    return BatchMemory(_stack(edited), _stack(source), patch, previous, _cameras_at(clips, places))


def _cameras_at(clips: Sequence[TrainingClip], places: Sequence[int]) -> np.ndarray | None:
    """Of novel views; a batch has them of all its samples or of none."""
    if clips[0].cameras is None:
        return None
    poses = [clip.cameras[at] for clip, at in zip(clips, places, strict=True) if clip.cameras is not None]
    return _stack(poses)


def _source_at(clip: TrainingClip, place: int) -> np.ndarray:
    """Of a segment; nothing where it has none."""
    return clip.source[place] if place < len(clip.source) else np.zeros_like(clip.source[0])


def _stack(latents: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(latents).astype(np.float32)
