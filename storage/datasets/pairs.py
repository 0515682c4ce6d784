"""Short edit pairs, as a data team has them: one interface over every layout (`senorita`, `multicam`, folders, worlds).

A source knows its pairs before any video is opened (`entries`), and then hands out the videos of those wanted, in one
pass over its archives. What is broken is handed out too, with the reason, and does not stop what follows.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from model.camera.trajectory import Trajectory

Frames = UInt8[np.ndarray, "_ _ _ 3"]
Media = Path | bytes | Frames
"""A file, a file's content, or pictures."""


@dataclass(frozen=True)
class Entry:
    """A pair as its source lists it. `group` is the video that it comes from: groups are never split over two sets.

    `origin` tells it from another pair of the same id: the paths of its files in the dataset, or what it is drawn from.
    """

    id: str
    group: str
    instruction: str
    origin: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """A clip before and after an edit; `end` is a picture in which the edited video shall end, where one is given."""

    entry: Entry
    source: Media
    target: Media
    end: Media | None = None
    cameras: tuple[Trajectory, Trajectory] | None = None


@dataclass(frozen=True)
class Broken:
    """A pair that cannot be had, and why."""

    entry: Entry
    reason: str


@runtime_checkable
class PairSource(Protocol):
    """A dataset of edit pairs."""

    def entries(self) -> Sequence[Entry]:
        """All pairs, always in the same order.

        Raises:
            RequestError: the dataset is not of this layout.
        """
        ...

    def read(self, wanted: Collection[str]) -> Iterator[Pair | Broken]:
        """The pairs with these ids, each once, in the order in which they lie on disk."""
        ...
