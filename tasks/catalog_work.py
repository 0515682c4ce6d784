"""What a catalog's run knows before it begins: the model, and each video as the edits that are asked of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model.backbones.model_folder import read_preset
from model.config import (
    CatalogRequest,
    CatalogTurn,
    CatalogVideo,
    EditRequest,
    OutputConfig,
    Precision,
    Preset,
    precision,
)
from model.config.base import mistakes
from model.errors import RequestError
from storage.catalog import Catalog, output_folder
from storage.content_id import identify
from storage.object_store import fetch, fetched
from storage.rectangle import mask_file
from storage.video_states import STATE
from tasks.cluster import choose_device
from tasks.weights import TEXT_EDITS, locate_descriptor, locate_weights, over_preset, require_kind

INPUTS = "inputs"  # below it: copies of what came from an object store


@dataclass(frozen=True)
class Setup:
    """A request, and what it names: the model with its own settings, and where it runs."""

    request: CatalogRequest
    weights: Path
    descriptor: str
    preset: Preset
    device: str
    cache: Path

    @property
    def dtype(self) -> Precision:
        return precision(self.device)

    @property
    def state(self) -> Path:
        """The folder of the catalog's own state."""
        return self.request.out.absolute() / STATE


@dataclass(frozen=True)
class Entry:
    """A line of the manifest. `line` names what it asks for; `source` is the file, or the object to be fetched.

    `folder` is where its results and its memory are; a group has one. `base` is the folder that paths start from.
    """

    video: CatalogVideo
    line: str
    source: str
    folder: Path
    base: Path

    @property
    def session(self) -> str:
        return self.video.group or self.video.video_id

    @property
    def delivery(self) -> str | None:
        """The prefix of objects where the results go in the end; None where they stay."""
        return self.video.output if self.video.output and is_remote(self.video.output) else None


def set_up(request: CatalogRequest, cache: Path) -> Setup:
    """Find the model.

    Raises:
        InputError: there is none, it does something else, or the device is not there.
    """
    weights, descriptor = locate_weights(request.weights, cache), locate_descriptor(request.descriptor)
    require_kind(weights, TEXT_EDITS)
    return Setup(request, weights, descriptor, read_preset(weights), choose_device(request.device), cache)


def entries_of(catalog: Catalog, request: CatalogRequest) -> list[Entry]:
    """The videos that a run takes: those of its shard, and of `only`, in the order of the manifest.

    Raises:
        RequestError: `only` names a video that is not there, or the shard is none of so many.
    """
    names = {video.video_id for video in catalog.videos}
    if unknown := [name for name in request.only if name not in names]:
        raise RequestError(f"--only {unknown[0]}: {request.manifest} has no such video")
    wanted = [video for video in catalog.videos if not request.only or video.video_id in request.only]
    out = request.out.absolute()
    return [_entry(video, catalog, out) for video in wanted if _in_shard(video, request.shard)]


def _entry(video: CatalogVideo, catalog: Catalog, out: Path) -> Entry:
    silent = {"priority", "tags", "skip", "schedule"} | (set() if video.gate.redoes else {"gate"})
    asked = video.model_dump(mode="json", exclude=silent)
    folder = out / video.group if video.group else output_folder(out, video)
    return Entry(video, identify(asked), str(catalog.source_of(video)), folder, catalog.folder)


def is_remote(address: str) -> bool:
    """Whether something lies in an object store."""
    return address.startswith("s3:")


def _in_shard(video: CatalogVideo, shard: str | None) -> bool:
    """By a hash of who shares a memory: what belongs together stays together."""
    if shard is None:
        return True
    number, count = map(int, shard.split("/"))
    if number > count:
        raise RequestError(f"--shard {shard}: expected one of {count}, such as {count}/{count}")
    scope = video.video_id if video.memory_scope == "video" else video.memory_scope
    return int(identify({"scope": scope})[:8], 16) % count == number - 1


def local_source(entry: Entry, setup: Setup) -> Path:
    """The video as a file on this machine; fetched first where it lies in an object store.

    Raises:
        VideoError: it is not there.
        RunError: the store does not answer.
    """
    return fetch(entry.source, setup.state / INPUTS) if is_remote(entry.source) else Path(entry.source)


def known_source(entry: Entry, setup: Setup) -> Path | None:
    """The same without fetching anything: None where that would have to be.

    Raises:
        VideoError: it is not there.
        RunError: the store does not answer.
    """
    return fetched(entry.source, setup.state / INPUTS) if is_remote(entry.source) else Path(entry.source)


def requests_of(entry: Entry, setup: Setup, source: Path) -> list[EditRequest]:
    """The edits of a video, which is the file `source`, in order.

    `on` still counts the turns of the line, not those of the session.

    Raises:
        RequestError: the line's settings do not fit the model; the message names them.
    """
    video, request = entry.video, setup.request
    sampling, window = (
        {name: value for name, value in each.model_dump().items() if value is not None}
        for each in (video.params, video.segment)
    )
    retrieval = {"top_k": sampling.pop("top_k")} if "top_k" in sampling else {}
    said = {"window": window, "retrieval": retrieval, "edit": {"sampling": sampling}}
    common: dict[str, Any] = {
        "video": source,
        "out": entry.folder,
        "memory": _memory_of(entry, request),
        "weights": str(setup.weights),
        "descriptor": request.descriptor,
        "session": entry.session,
        "device": request.device,
        "speed": request.speed,
        **over_preset(said, setup.preset),
        "output": _output(entry),
        "gate": video.gate,
        "schedule": video.schedule,
        "wait": 0,
    }
    return [_request(video, common, turn) for turn in video.turns]


def _memory_of(entry: Entry, request: CatalogRequest) -> str | None:
    """Each folder of results has a prefix of its own below that of the catalog."""
    if request.memory is None:
        return None
    return f"{request.memory.rstrip('/')}/{entry.folder.relative_to(request.out.absolute()).as_posix()}"


def _output(entry: Entry) -> OutputConfig:
    """How the video is delivered, with its mask found from anywhere."""
    deliver, region = entry.video.deliver, entry.video.deliver.region
    file = mask_file(region.mask, entry.base) if region.mask else None
    if file is None:
        return deliver
    return deliver.model_copy(update={"region": region.model_copy(update={"mask": str(file)})})


def _request(video: CatalogVideo, common: dict[str, Any], turn: CatalogTurn) -> EditRequest:
    try:
        return EditRequest.model_validate({**common, "instruction": turn.prompt, "seed": turn.seed})
    except ValidationError as fault:
        raise RequestError(f"{video.video_id}: {mistakes(fault)[0]}") from None


def parents_of(turns: Sequence[CatalogTurn]) -> list[int]:
    """For each turn of a line the turn that it edits, 0 for the video itself."""
    return [number - 1 if turn.on == "last" else turn.on for number, turn in enumerate(turns, 1)]
