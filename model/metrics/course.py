"""One pass over a video and its edit: everything that needs no weights, frame by frame. Numpy half: no torch.

Holds a handful of small pictures and a few numbers a frame, so that a video of hours needs no more memory than one of
seconds. Metrics are then functions of what the pass found (`vbench.py`, `fidelity.py`, `steadiness.py`, `drift.py`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from jaxtyping import Float64

from model.errors import RequestError
from model.metrics.drift import CellColours, Dependence, cell_colours, colour_dependence
from model.metrics.fidelity import frame_change, mean_squared_error, structural_similarity
from model.metrics.motion import Frame, Small, excess, flicker_of, jump_of, motion_between, shrink, squared_residual
from model.metrics.plan import Gap, Plan

Series = Float64[np.ndarray, " frame"]
"""One number a frame; of pairs, it stands at the later frame. NaN where nothing was to be measured."""


@dataclass(frozen=True, eq=False)
class Course:
    """What one pass found. `source_change` and `edit_change` are mean absolute changes to the frame before, in levels;
    `warping` the mean squared error after motion, in [0, 1]; `flicker` the excess over the source, in levels;
    `squared_error` and `similarity` compare the edit with its source. `jumps` are those of the plan's gaps, in levels;
    `colours` those of a few frames of each segment, `dependences` how the edit's change depends on them."""

    plan: Plan
    source_change: Series
    edit_change: Series
    warping: Series
    flicker: Series
    squared_error: Series
    similarity: Series
    jumps: Mapping[Gap, float]
    colours: tuple[CellColours, ...]
    dependences: tuple[Dependence, ...]


def follow(source: Iterable[Frame], edit: Iterable[Frame], plan: Plan) -> Course:
    """Look at every frame of a video and of its edit once, in order.

    Raises:
        RequestError: the two differ in size or length, or are not as long as their plan.
    """
    record = _Record(plan)
    for index, (before, after) in enumerate(_together(source, edit, plan.frames)):
        record.add(index, before, after)
    return record.course()


def _together(source: Iterable[Frame], edit: Iterable[Frame], frames: int) -> Iterator[tuple[Frame, Frame]]:
    count = 0
    for before, after in zip_longest(source, edit):
        if before is None or after is None:
            shorter = "source" if before is None else "edit"
            raise RequestError(f"the {shorter} has only {count} frames; source and edit must be equally long")
        if before.shape != after.shape:
            raise RequestError(
                f"frame {count} is {_size(before)} in the source and {_size(after)} in the edit; scale one of them"
            )
        if count == frames:
            raise RequestError(
                f"the video has more than the {frames} frames of its shots; plan those of this very video"
            )
        yield before, after
        count += 1
    if count < frames:
        raise RequestError(f"the video has {count} frames, its shots {frames}; plan the shots of this very video")


def _size(frame: Frame) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"


class _Record:
    """The pass at work: series that fill up, and the small pictures that are still to be compared with later ones."""

    def __init__(self, plan: Plan) -> None:
        names = ("source_change", "edit_change", "warping", "flicker", "squared_error", "similarity")
        self._plan = plan
        self._series = {name: np.full(plan.frames, np.nan) for name in names}
        self._jumps: dict[Gap, float] = {}
        self._colours: list[list[CellColours]] = [[] for _ in plan.segments]
        self._ending: dict[int, list[Gap]] = {}
        for gap in plan.gaps:
            self._ending.setdefault(gap.after, []).append(gap)
        self._wanted = Counter(gap.before for gap in plan.gaps)
        self._held: dict[int, tuple[Small, Small]] = {}
        self._last: tuple[Frame, Frame, Small, Small] | None = None

    def add(self, index: int, before: Frame, after: Frame) -> None:
        small = (shrink(before), shrink(after))
        self._compare(index, before, after)
        if self._last is not None and index not in self._plan.firsts:
            self._follow(index, before, after, small)
        for gap in self._ending.pop(index, []):
            self._jumps[gap] = self._jump(gap, small)
        if self._wanted[index]:
            self._held[index] = small
        self._last = (before, after, *small)

    def course(self) -> Course:
        colours = tuple(map(_joined, self._colours))
        dependences = tuple(map(colour_dependence, colours))
        return Course(self._plan, **self._series, jumps=self._jumps, colours=colours, dependences=dependences)

    def _compare(self, index: int, before: Frame, after: Frame) -> None:
        self._series["squared_error"][index] = mean_squared_error(before, after)
        self._series["similarity"][index] = structural_similarity(before, after)
        for segment in self._plan.colour_frames.get(index, ()):
            self._colours[segment].append(cell_colours(before, after))

    def _follow(self, index: int, before: Frame, after: Frame, small: tuple[Small, Small]) -> None:
        assert self._last is not None
        last_before, last_after, last_source, last_edit = self._last
        source, edit = small
        motion = motion_between(last_source, source)
        difference = excess((last_source, source), (last_edit, edit), motion)
        self._series["source_change"][index] = frame_change(last_before, before)
        self._series["edit_change"][index] = frame_change(last_after, after)
        self._series["warping"][index] = squared_residual(last_edit, edit, motion)
        self._series["flicker"][index] = flicker_of(difference, motion)

    def _jump(self, gap: Gap, small: tuple[Small, Small]) -> float:
        held_source, held_edit = self._held[gap.before]
        self._wanted[gap.before] -= 1
        if not self._wanted[gap.before]:
            del self._held[gap.before]
        motion = motion_between(held_source, small[0])
        return jump_of(excess((held_source, small[0]), (held_edit, small[1]), motion), motion)


def _joined(samples: list[CellColours]) -> CellColours:
    return np.concatenate(samples)
