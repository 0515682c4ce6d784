"""A few held-out videos as a person sees them: the source, and what methods made of it, segment below segment."""

from collections.abc import Iterator, Sequence
from itertools import count, islice

import numpy as np

from model.config import Preset, WorldConfig
from storage.datasets.synthetic import imagine
from storage.sheet import Block
from tasks.proof.judging import Subject, held_out
from tasks.proof.playing import ProofEditor, Stage

SHOWN_METHODS = {"ind": "alone", "fifo": "previous only", "memory": "memory"}
COLUMNS = 10


def open_seeds(world: WorldConfig, first: int) -> Iterator[int]:
    """Seeds from `first` on whose instruction leaves the result open."""
    return (seed for seed in count(first) if not imagine(world, seed, "held-out").change.named)


def show_videos(editor: ProofEditor, preset: Preset, world: WorldConfig, first: int, videos: int) -> list[Block]:
    """The first videos with an open instruction, none left out: one frame of some segments, in every method."""
    return [_show(editor, preset, held_out(world, seed)) for seed in islice(open_seeds(world, first), videos)]


def _show(editor: ProofEditor, preset: Preset, subject: Subject) -> Block:
    stage = Stage(subject.clip, editor, preset)
    rows = [("source", list(subject.clip.segments))]
    rows += [(name, [take.frames for take in stage.play(method)]) for method, name in SHOWN_METHODS.items()]
    heading = f"{subject.clip.instruction}  (held-out world {subject.clip.seed})"
    return Block(heading, [(name, _middles(segments)) for name, segments in rows])


def _middles(segments: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The middle frame of `COLUMNS` segments at equal distances, the first and the last among them."""
    chosen = np.linspace(0, len(segments) - 1, COLUMNS).round().astype(int)
    return [np.rint(segments[at][len(segments[at]) // 2] * 255).astype(np.uint8) for at in chosen]
