"""From edited frames, as large as the model, to frames of the source's size: carried over, and only where they may be.

Frames are the source's own planes (`storage/planes.py`); where nothing may change, the encoder gets them as they were
decoded. Knows nothing of segments.
"""

import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import repeat, tee
from pathlib import Path
from typing import TypeVar

import numpy as np

from model.config import OutputConfig
from model.region import FEATHER_SHARE, Change, Region, at_chroma, feather
from model.stitching import blend
from model.transfer import Picture, enlarge, fit_change, resize
from model.types import Span
from storage.encoding import crop
from storage.geometry import Fit
from storage.mask import Mask
from storage.planes import Layout, Planes, layout_of, read_planes
from storage.probe import VideoInfo
from storage.video import read_frames, write_planes

MOST_THREADS, PIXELS_AT_ONCE = 4, 2**24
Frame = np.ndarray
Job = TypeVar("Job")
Made = TypeVar("Made")


@dataclass
class Finished:
    """What became of the frames, in order: the share of each that is the source's, and that no change of colours
    explains."""

    kept: list[float] = field(default_factory=list)
    unexplained: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Frames:
    """One frame on its way: the edit and, where needed, what the model saw of the source; the source; where it may
    change, by mask at full size and by change at the model's."""

    edit: Frame
    seen: Frame | None
    source: Planes
    marked: Region | None
    changed: Region | None


@dataclass(frozen=True)
class Finishing:
    """How the frames of one video are finished; `mask` is where it may change, None is everywhere."""

    info: VideoInfo
    fit: Fit
    output: OutputConfig
    mask: Mask | None

    def require_marks(self) -> None:
        """Decode the mask.

        Raises:
            InputError: it is damaged, or marks nothing.
        """
        if self.mask is not None:
            self.mask.require_marks()

    def write(self, edited: Iterator[Frame], starts: Collection[int], target: Path) -> tuple[Path, Finished]:
        """Write the video of edited frames on the model's canvas; `starts` are the first frames of its shots.

        Raises:
            RunError: as `write_video`.
            VideoError: a frame of the source or of the mask does not decode.
        """
        layout, told = layout_of(self.info), Finished()
        frames = self._finished(edited, starts, layout, told)
        return write_planes(frames, self.info, layout, target, self.output.codec), told

    def _finished(
        self, edited: Iterator[Frame], starts: Collection[int], layout: Layout, told: Finished
    ) -> Iterator[Planes]:
        whole, tone_map = Span(0, self.info.frames), self.output.tone_map
        with (
            closing(read_planes(self.info, whole, layout, tone_map=tone_map)) as sources,
            closing(read_frames(self.info, whole, self.fit, tone_map=tone_map)) as seen,
        ):
            frames = self._gathered((crop(frame, self.fit) for frame in edited), seen, sources, starts)
            for planes, kept, unexplained in ahead(lambda each: self._finish(each, layout), frames, self._threads):
                told.kept.append(kept)
                told.unexplained.append(unexplained)
                yield planes

    @property
    def _threads(self) -> int:
        most = PIXELS_AT_ONCE // (self.info.width * self.info.height)
        return max(1, min(MOST_THREADS, os.cpu_count() or 1, most))

    def _gathered(
        self, edited: Iterator[Frame], seen: Iterator[Frame], sources: Iterator[Planes], starts: Collection[int]
    ) -> Iterator[Frames]:
        region = self.output.region
        changed: Iterator[Region | None] = repeat(None)
        pictures = (crop(frame, self.fit) for frame in seen)
        if region.keep_unchanged:
            looked_at = pictures
            if self.output.transfer == "guided":  # else nobody takes the other half, and every frame would be kept
                pictures, looked_at = tee(pictures)
            edited, made = tee(edited)
            pairs = ((_unit(before), _unit(after)) for before, after in zip(looked_at, made, strict=False))
            changed = Change(region.threshold).regions(pairs, starts)
        for edit, source, marked in zip(edited, sources, self._marked(), strict=False):
            before = next(pictures) if self.output.transfer == "guided" else None
            yield Frames(edit, before, source, marked, next(changed))

    def _marked(self) -> Iterator[Region | None]:
        if self.mask is None:
            yield from repeat(None)
            return
        told = self.output.region.feather
        pixels = FEATHER_SHARE * self.info.height if told is None else told
        last, region = None, None
        for mask in self.mask.read(self.info):
            if mask is not last:
                last, region = mask, feather(mask, pixels)
            yield region

    def _finish(self, frames: Frames, layout: Layout) -> tuple[Planes, float, float]:
        edit = layout.from_rgb(frames.edit)
        region = _narrower(frames.marked, frames.changed, layout.shapes[0])
        unexplained = 1.0
        if self.output.transfer == "guided":
            assert frames.seen is not None
            change = fit_change(layout.from_rgb(frames.seen), edit)
            guide = tuple(plane.astype(np.float32) / np.float32(layout.peak) for plane in frames.source)
            carried, unexplained = change.apply(guide, edit), float(change.unexplained.mean())
        else:
            carried = enlarge(edit, layout.shapes)
        luma, *chroma = layout.levels
        planes = tuple(
            _composed(source, np.clip(plane, *levels) * np.float32(layout.peak), region)
            for source, plane, levels in zip(frames.source, carried, (luma, *2 * chroma), strict=True)
        )
        return planes, 0.0 if region is None else float((region == 0).mean()), unexplained


def ahead(work: Callable[[Job], Made], jobs: Iterable[Job], threads: int) -> Iterator[Made]:
    """What `work` makes of each job, in order, with so many in work at once; numpy and OpenCV let others run."""
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="finish") as pool:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _narrower(marked: Region | None, changed: Region | None, shape: tuple[int, int]) -> Region | None:
    if changed is not None:
        changed = resize(changed, shape)
    if marked is None or changed is None:
        return changed if marked is None else marked
    return np.minimum(marked, changed)


def _composed(source: Frame, edit: Frame, region: Region | None) -> Frame:
    if region is None:
        return np.rint(edit).astype(source.dtype)
    return blend(source, edit, at_chroma(region, source.shape))


def _unit(frame: Frame) -> Picture:
    return frame.astype(np.float32) / np.float32(np.iinfo(frame.dtype).max)
