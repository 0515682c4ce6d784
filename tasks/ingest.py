"""Read a video once, small: prove that it decodes, find its shots, plan its segments. Writes nothing."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from model.segments import plan_segments
from model.shots import ContentShotDetector, shots_from_cuts
from model.types import Segment, Shot
from storage.video import read_thumbnails
from tasks.unsearched import unsearched
from tasks.work import Work

AnyWork = TypeVar("AnyWork", bound=Work, covariant=True)


@dataclass(frozen=True)
class VideoPlan(Generic[AnyWork]):
    """A turn with the shots and segments of its video."""

    work: AnyWork
    shots: tuple[Shot, ...]
    segments: tuple[Segment, ...]


@unsearched
@task(task_run_name="ingest {work.info.path.name}", cache_policy=NO_CACHE, persist_result=False)
def ingest(work: AnyWork) -> VideoPlan[AnyWork]:
    """Shots and segments of the video.

    Raises:
        VideoError: a frame does not decode.
        RequestError: the mask marks nothing.
    """
    if work.finishing is not None:
        work.finishing.require_marks()
    info, window = work.info, work.request.window
    cuts = ContentShotDetector().cuts(read_thumbnails(info), Fraction(info.rate))
    shots = shots_from_cuts(cuts, info.frames)
    return VideoPlan(work, tuple(shots), tuple(plan_segments(shots, window.frames, window.overlap)))
