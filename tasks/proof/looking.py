"""Open looks on held-out real footage: whether all segments of a video get the same one.

The look of a segment is read off the picture and its edit; how far it is from that of the first segment is the mean
difference of its six numbers, in parts of the ranges that looks are drawn from.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from model.config import Preset, WorldConfig
from model.metrics.agreement import Tally
from storage.datasets.clip import EditedClip
from storage.datasets.footage import footage_clip
from storage.datasets.looks import Look, distance, recover
from tasks.proof.playing import Clip, ProofEditor, Stage, make_clip

LOOK_METHODS = ("ind", "fifo", "memory", "memory_merging", "cached")
APPLIED = 0.1  # distance from the look that changes nothing
CUT = 0.08  # mean difference of two frames that have a cut between them
CLIPS_APART = 1000  # seeds; of so many in a row some are open
NO_LOOK = Look(0.0, 1.0, (1.0, 1.0, 1.0), 0.0)


@dataclass(frozen=True)
class LookView:
    """Of one video, by segment: how far its look is from no look, and, after the first, from that of the first."""

    id: str
    applied: Sequence[float]
    distances: Sequence[float]


def look_distance(view: LookView) -> Tally:
    """Distance to the look of the first segment."""
    return Tally(float(sum(view.distances)), len(view.distances))


def look_applied(view: LookView) -> Tally:
    """Segments whose look is not that of the source."""
    return Tally(float(sum(each > APPLIED for each in view.applied)), len(view.applied))


LOOK_TALLIES: Mapping[str, Callable[[LookView], Tally]] = {"look_distance": look_distance, "look_applied": look_applied}


def open_look(config: WorldConfig, seed: int, folder: Path) -> EditedClip:
    """The first held-out clip from a seed on whose instruction leaves the look open.

    Raises:
        RunError: footage is not there and could not be downloaded.
    """
    clips = (footage_clip(config, seed * CLIPS_APART + more, folder, "held-out") for more in count())
    return next(clip for clip in clips if not clip.fixed)


def look_clip(edited: EditedClip, seed: int, length: int) -> Clip:
    """The clip as it is played. Segments begin a shot where the picture changes at once."""
    source = edited.source.astype(np.float32) / 255
    cuts = [bool(np.abs(source[at] - source[at - 1]).mean() > CUT) for at in range(length, len(source), length)]
    return make_clip(edited.id, seed, edited.instruction, edited.source, length, cuts)


def judge_look(
    editor: ProofEditor, preset: Preset, config: WorldConfig, seed: int, folder: Path, methods: Sequence[str]
) -> list[tuple[str, LookView]]:
    """Give the clip of a seed a look by each method, and read it off every segment."""
    clip = look_clip(open_look(config, seed, folder), seed, config.segment_frames)
    stage = Stage(clip, editor, preset)
    return [(method, look_at(clip, [take.frames for take in stage.play(method)])) for method in methods]


def look_at(clip: Clip, edited: Sequence[np.ndarray]) -> LookView:
    """The looks of edited segments."""
    looks = [recover(source, frames) for source, frames in zip(clip.segments, edited, strict=True)]
    applied = [distance(look, NO_LOOK) for look in looks]
    return LookView(clip.id, applied, [distance(look, looks[0]) for look in looks[1:]])
