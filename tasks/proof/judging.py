"""What an edited video is worth: looks at the pictures where the world knows what they should be.

Colours are taken inside exact masks, without their mixed rims; errors outside all of them, a block of the codec away.
The measures themselves are in `model/metrics/agreement.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model.config import WorldConfig
from model.metrics.agreement import VISIBLE, RegionView, SegmentView, VideoView
from model.metrics.regions import (
    Frames,
    Mask,
    colour_distance,
    farthest_patch,
    grown,
    mean_colour,
    squared_error,
    without_rim,
)
from storage.datasets.synthetic import RenderedWorld, imagine, render, shown_segments
from storage.datasets.wording import hue_of
from tasks.proof.playing import Clip, Stage, cuts_between, make_clip

MARGIN = 4  # pixels: a block of the codec, whose latents an edit beside it may touch


@dataclass(frozen=True)
class Subject:
    """A rendered held-out world, and the masks by which edits of it are judged."""

    rendered: RenderedWorld
    length: int

    @cached_property
    def clip(self) -> Clip:
        world, length = self.rendered.world, self.length
        cuts = cuts_between(world.scenes[::length])
        return make_clip(world.id, world.seed, world.change.instruction, self.rendered.source, length, cuts)

    @cached_property
    def truth(self) -> np.ndarray:
        """The true edit, in whole segments, in [0, 1]."""
        return self._by_segment(self.rendered.edited[0]).astype(np.float32) / 255

    @cached_property
    def regions(self) -> np.ndarray:
        """Pixels that are to be edited."""
        return self._by_segment(self.rendered.changed)

    @cached_property
    def shown(self) -> list[float]:
        """By segment, how much of the region is in view, in parts of the most in any."""
        return _parts(self.rendered.changed, self.length)

    @cached_property
    def others(self) -> list[tuple[np.ndarray, list[float]]]:
        """The other things, what an edit may touch left out, and how much of each is in view."""
        near = grown(self.rendered.changed, MARGIN)
        masks = [mask for index, mask in enumerate(self.rendered.masks) if index != self.rendered.world.subject]
        return [(self._by_segment(mask & ~near), _parts(mask & ~near, self.length)) for mask in masks]

    @cached_property
    def outside(self) -> np.ndarray:
        """Pixels that are far from all things, and from what is edited."""
        return self._by_segment(~grown(np.logical_or.reduce([*self.rendered.masks, self.rendered.changed]), MARGIN))

    def _by_segment(self, pixels: np.ndarray) -> np.ndarray:
        return pixels.reshape(-1, self.length, *pixels.shape[1:])


def held_out(config: WorldConfig, seed: int) -> Subject:
    """The held-out world of a seed."""
    return Subject(render(imagine(config, seed, "held-out"), config.size), config.segment_frames)


def judge(subject: Subject, stage: Stage, method: str, donor: Stage | None = None) -> VideoView:
    """Edit a world by a method, and look at every segment of it."""
    change = subject.rendered.world.change
    views = []
    for at, take in enumerate(stage.play(method, donor)):
        codec = stage.editor.reconstruct(take.source.astype(np.float32))
        region = _look_at_region(subject, at, take.frames)
        moved = tuple(_moved(mask[at], shown[at], take.frames, codec) for mask, shown in subject.others)
        source, outside = subject.clip.segments[at], subject.outside[at]
        error, lost = (squared_error(each, source, outside) for each in (take.frames, codec))
        touched = tuple(each for each in moved if each is not None)
        strayed = farthest_patch(take.frames, codec) if region is None else None
        views.append(SegmentView(subject.shown[at], region, touched, error, lost, take.seconds, take.flops, strayed))
    return VideoView(subject.clip.id, change.hue if change.named else None, tuple(views))


def _look_at_region(subject: Subject, at: int, edited: Frames) -> RegionView | None:
    region = subject.regions[at]
    if not region.any():
        return None
    inside = without_rim(region)
    before, after, truth = (
        mean_colour(each, inside) for each in (subject.clip.segments[at], edited, subject.truth[at])
    )
    return RegionView(before, after, truth, hue_of(after))


def _moved(mask: Mask, shown: float, edited: Frames, codec: Frames) -> float | None:
    """How far the mean colour of a thing moved; None where too little of it is in view."""
    if shown < VISIBLE:
        return None
    inside = without_rim(mask)
    return colour_distance(mean_colour(edited, inside), mean_colour(codec, inside))


def _parts(mask: Mask, length: int) -> list[float]:
    shown = shown_segments(mask, length)
    most = max(shown)
    return [each / most if most else 0.0 for each in shown]


def judge_pair(
    subjects: Sequence[Subject], stages: Sequence[Stage], wanted: Sequence[Sequence[str]]
) -> list[tuple[str, VideoView]]:
    """Judge two videos, each by the methods wanted of it; either lends the other its memories."""
    one, other = stages
    return [
        (method, judge(subject, stage, method, donor))
        for subject, stage, donor, methods in zip(subjects, (one, other), (other, one), wanted, strict=True)
        for method in methods
    ]
