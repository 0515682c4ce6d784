"""The account of a turn, in words: on the review page, and with whatever is handed on later."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from statistics import mean

from model.config import PLAIN, OutputConfig, RegionConfig, SpeedConfig
from tasks.ingest import VideoPlan
from tasks.work import Work

WITH_ALPHA = ("yuva", "gbrap", "rgba", "bgra", "argb", "abgr", "ya8", "ya16")  # FFmpeg's names of pixel formats


@dataclass(frozen=True)
class Transferred:
    """What became of frames that were not only enlarged, as in `VideoNote`."""

    kept: float
    unexplained: tuple[float, ...]


def conversions_told(plan: VideoPlan[Work], transferred: Transferred | None) -> tuple[str, ...]:
    """What was changed on the way besides the edit itself, as sentences."""
    info, request, inner = plan.work.info, plan.work.request, plan.work.fit.inner
    said = [f"The model worked at {inner.width}x{inner.height}; the result is scaled to {info.width}x{info.height}."]
    if info.interlaced:
        said.append(f"The source is interlaced ({info.interlaced}); the result is progressive.")
    if info.hdr:
        was = "HDR; it was tone-mapped" if info.colour.is_brighter else "of wide gamut; its colours were converted"
        said.append(f"The source is {was} to BT.709.")
    if info.rotation:
        said.append(f"The source is stored rotated by {info.rotation} degrees; the result is stored upright.")
    if info.pixels.startswith(WITH_ALPHA):
        said.append("The source has an alpha channel; the result has none.")
    if info.unknown_audio:
        said.append(f"Sound tracks that are empty, or unknown to FFmpeg: {info.unknown_audio}. They are left out.")
    if info.variable_rate:
        said.append("The frame rate varies; every frame keeps its own time stamp.")
    if padded := sum(segment.padding > 0 for segment in plan.segments):
        said.append(
            f"Shots too short for a window of 4k+1 frames: {padded}. The last frame was repeated for the model."
        )
    if request.output.codec == "h264":
        said.append("H.264 is lossy; ask for --codec prores, dnxhr or ffv1 for a master.")
    return (*said, *(_transfer_told(plan.work.request.output, transferred) if transferred else ()))


def _transfer_told(output: OutputConfig, transferred: Transferred) -> Iterator[str]:
    if output.region.limited:
        yield f"{transferred.kept:.1%} of the picture was not to be changed: there it is the source's own pixels."
    if output.transfer == "guided":
        share = mean(transferred.unexplained)
        yield f"The edit's colours were carried to the source's detail; {share:.1%} of it is new, and was enlarged."


def settings_told(plan: VideoPlan[Work]) -> dict[str, str]:
    """The settings of a turn by their names on the page."""
    work, request = plan.work, plan.work.request
    window, edit = request.window, request.edit
    first, later = (edit.sampling.scale(recalls) for recalls in (False, True))
    return {
        "model": work.weights.name,
        "weights": work.model_id[:16],
        "source": work.source_id[:16],
        "session": work.session,
        "edits": f"the result of turn {work.edits}" if work.edits else "the video itself",
        "seed": str(request.seed),
        "window": f"{window.frames} frames, overlap {window.overlap}, {window.width}x{window.height}",
        "recall": f"{request.retrieval.top_k} memories, by {work.recall_by}",
        "sampling": f"{edit.sampling.steps} steps, guidance {later:g}"
        + ("" if first == later else f", {first:g} where nothing is recalled"),
        "attention": edit.attention,
        "speed": _speed_told(request.speed),
        "merging": edit.merging.mode,
        "numerics": f"{work.dtype} on {work.device}",
        "codec": request.output.codec,
        "region": _region_told(request.output.region),
        "transfer": request.output.transfer,
    }


def _speed_told(speed: SpeedConfig) -> str:
    """What is not as usual."""
    usual = PLAIN.model_dump()
    other = {name: value for name, value in speed.model_dump().items() if value != usual[name]}
    return ", ".join(name if value is True else f"{name} {value}" for name, value in other.items()) or "plain"


def _region_told(region: RegionConfig) -> str:
    said = [f"mask {PurePath(region.mask).name}"] if region.mask else []
    return ", ".join(said + ["unchanged parts kept"] * region.keep_unchanged) or "everywhere"
