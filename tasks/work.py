"""One turn over one video: what is asked, of what, and how it is named before anything is decoded.

Names come from content and settings (`storage/content_id.py`): the same request finds what it made before.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from model.camera.trajectory import Trajectory
from model.config import EditRequest, Precision, VideoRequest, precision
from model.types import Segment
from storage.attempts import passed_over
from storage.content_id import hash_folder, hash_source, identify
from storage.encoding import require_encodable
from storage.geometry import Fit, fit
from storage.ledger import USERS_VIDEO, TurnKind, TurnPlace
from storage.mask import Mask, find_mask
from storage.mux import choose_suffix
from storage.probe import VideoInfo, probe
from storage.store import Store, read_turns
from storage.video import require_displayable
from tasks.finishing import Finishing
from tasks.parent import Parent, find_parent
from tasks.weights import THUMBNAIL, require_size

NUMERICS = ("torch", "diffusers")  # another version may compute other bits


@dataclass(frozen=True)
class Work(ABC):
    """One turn over one video, named before anything is decoded.

    `settings` names what is to be done, whatever the session and the codec; `fingerprint` names the turn: turns with
    the same one share segments. `source_id` is the content of the video that is edited, `video_id` that of the user's:
    the same, but in a chain. `edits` is the number of the turn whose result is edited; 0 is the user's video.
    """

    request: VideoRequest
    info: VideoInfo
    weights: Path
    video_id: str
    source_id: str
    model_id: str
    dtype: Precision
    device: str
    session: str
    edits: int
    settings: str
    fingerprint: str

    @property
    def fit(self) -> Fit:
        return fit(self.info, self.request.window.height, self.request.window.width)

    @property
    def output_id(self) -> str:
        return identify({"turn": self.fingerprint, "output": self._output_settings(None)})

    def _output_settings(self, mask: Mask | None) -> dict[str, Any]:
        """What decides how edited segments become a video: settings that came later only where they are not usual,
        and of a mask what it marks, not where it lies."""
        output = self.request.output
        settings = output.model_dump(mode="json", exclude={"region", "transfer"})
        unusual = output.model_dump(mode="json", include={"region", "transfer"}, exclude_defaults=True)
        if mask is not None:
            unusual["region"]["mask"] = mask.id
        return settings | unusual

    @property
    def name(self) -> str:
        """What it is called while it runs."""
        return self.request.video.name

    @property
    @abstractmethod
    def title(self) -> str:
        """What the turn was asked for."""

    @property
    @abstractmethod
    def kind(self) -> TurnKind: ...

    @property
    @abstractmethod
    def recall_by(self) -> str:
        """What memories are chosen by."""

    @property
    def finishing(self) -> Finishing | None:
        """How edited frames get the source's size; None where they are enlarged, and that is all."""
        return None

    @property
    def path(self) -> Trajectory | None:
        """The camera path of the whole video; None where the camera stays as it is."""
        return None

    @abstractmethod
    def label(self, turn: int) -> str:
        """The part of the output's name that says what it is."""

    def frames_to_edit(self, segment: Segment) -> np.ndarray | None:
        """The frames `[n, h, w, 3]` of a segment where they are not those of the video; None where they are."""
        return None


@dataclass(frozen=True)
class EditWork(Work):
    """A turn by an instruction; `descriptor` is `thumbnail` or a folder.

    `parent` is the turn whose result is edited, None where it is the video itself. `mask` is where the video may
    change, None where that is everywhere.
    """

    request: EditRequest
    descriptor: str
    parent: Parent | None = None
    mask: Mask | None = None

    @property
    def output_id(self) -> str:
        gate = self.request.gate
        redone = {"gate": gate.model_dump()} if gate.redoes else {}
        return identify({"turn": self.fingerprint, "output": self._output_settings(self.mask), **redone})

    @property
    def kind(self) -> TurnKind:
        return "text"

    @property
    def title(self) -> str:
        return self.request.instruction

    @property
    def recall_by(self) -> str:
        return Path(self.descriptor).name

    def label(self, turn: int) -> str:
        return "edit"

    def frames_to_edit(self, segment: Segment) -> np.ndarray | None:
        return self.parent.frames(segment) if self.parent else None

    @property
    def finishing(self) -> Finishing | None:
        output = self.request.output
        is_usual = output.transfer == "upscale" and not output.region.limited
        return None if is_usual else Finishing(self.info, self.fit, output, self.mask)


def describe_work(request: EditRequest, weights: Path, descriptor: str, device: str, cache: Path) -> EditWork:
    """Probe the video and fingerprint the turn. `cache` keeps the hashes of weights already read.

    `descriptor` is `thumbnail` or a folder: what it holds counts, not where it lies. A session that the user did not
    name is one of this turn's own: unrelated attempts never see each other (docs/decisions/0002).

    Raises:
        VideoError: the video or its mask is missing, unreadable, or of a kind that is refused.
        RequestError: the codec asked for cannot live beside the video's sound, the turn to be edited is not there, or
            the mask does not fit the video.
    """
    info = examine_video(request)
    said = request.output.region.mask
    mask = find_mask(said, info, cache) if said else None
    source_id, model_id, dtype = hash_source(info.path, cache), hash_folder(weights, cache), precision(device)
    asked = {
        **settings_of(request, "descriptor", "on"),
        "source": source_id,
        "model": model_id,
        "descriptor": descriptor if descriptor == THUMBNAIL else hash_folder(Path(descriptor), cache),
        "numerics": numerics(device),
    }

    def name(parent: Parent | None) -> str:
        return identify({**asked, "on": parent.id if parent else None})

    parent = find_parent(request, source_id, name)
    settings = name(parent)
    fingerprint = name_turn(request.out, request.session, settings)
    return EditWork(
        request=request,
        info=info,
        weights=weights,
        video_id=source_id,
        source_id=source_id,
        model_id=model_id,
        dtype=dtype,
        device=device,
        session=request.session or f"turn-{fingerprint[:16]}",
        edits=parent.number if parent else USERS_VIDEO,
        settings=settings,
        fingerprint=fingerprint,
        descriptor=descriptor,
        parent=parent,
        mask=mask,
    )


def name_turn(out: Path, session: str | None, settings: str) -> str:
    """The fingerprint of the session's turn with these settings, also where it was made before the session branched.

    A turn that was deleted, and that a branch has kept, is another one when it is made again.
    """
    if session is None:
        return identify({"settings": settings, "session": session})
    turns = read_turns(out)
    known = (turn.fingerprint for turn in turns if (turn.session, turn.settings) == (session, settings))
    taken = {turn.fingerprint for turn in turns}
    named = (identify({"settings": settings, "session": session} | ({"again": n} if n else {})) for n in count())
    return next(known, None) or next(name for name in named if name not in taken)


def enter_turn(work: Work, store: Store[Any]) -> TurnPlace:
    """Where the turn stands in its session; a new one gets the next number, and is entered with what was asked."""
    number = store.ledger.enter_turn(
        work.session,
        work.fingerprint,
        settings=work.settings,
        kind=work.kind,
        asked=work.title,
        video=work.request.video.name,
        source=work.video_id,
        parent=work.edits,
    )
    place = store.ledger.place(work.session, number)
    if work.kind == "view":  # nobody judges views: each has one attempt
        return place
    return replace(place, passed=passed_over(store.ledger, place))


def examine_video(request: VideoRequest) -> VideoInfo:
    """Probe the user's video, and refuse what could not be edited, or not be written in the end.

    Raises:
        VideoError: the video is missing, unreadable, or of a kind that is refused.
        RequestError: the model has no such size, or the codec asked for cannot live beside the video's sound, or has
            no pictures so small.
    """
    require_size(Path(request.weights), request.window)
    info = probe(request.video)
    require_displayable(info, tone_map=request.output.tone_map)
    require_encodable(info, request.output.codec)
    choose_suffix(info, request.output.codec, ".mp4")
    return info


def settings_of(request: VideoRequest, *others: str) -> dict[str, Any]:
    """The settings that decide pixels: not places nor sessions, nor how the result is encoded, nor `others`.

    The order of work decides what is recalled, and the gate what is edited again, which is in the ids of segments.
    """
    silent = {
        "video",
        "out",
        "memory",
        "weights",
        "output",
        "device",
        "wait",
        "session",
        "schedule",
        "editors",
        "gate",
        *others,
    }
    said = request.model_dump(mode="json", exclude=silent)
    if request.edit.memory_source:  # as it was before there was a choice
        del said["edit"]["memory_source"]
    return {**said, "tone_map": request.output.tone_map}


def numerics(device: str) -> dict[str, str]:
    """What else decides the bits that come out."""
    return {"dtype": precision(device), "device": device.split(":")[0], **{name: version(name) for name in NUMERICS}}
