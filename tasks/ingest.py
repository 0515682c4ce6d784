"""Read a video once, small: prove that it decodes, find its shots, plan its segments. Writes nothing."""

from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from model.config import EditRequest, Precision
from model.segments import plan_segments
from model.shots import ContentShotDetector, shots_from_cuts
from model.types import Segment, Shot
from storage.content_id import hash_file, hash_folder, identify
from storage.geometry import Fit, fit
from storage.ledger import USERS_VIDEO
from storage.mux import choose_suffix
from storage.probe import VideoInfo, probe
from storage.store import Store, read_turns
from storage.video import read_thumbnails, require_displayable
from tasks.parent import Parent, find_parent
from tasks.weights import THUMBNAIL

NOT_THE_PICTURE = {"video", "out", "weights", "output", "device", "descriptor", "session", "on"}
"""Parts of a request that decide no pixel, or do so by what they stand for."""
NUMERICS = ("torch", "diffusers")  # another version may compute other bits


@dataclass(frozen=True)
class Work:
    """One turn over one video, named before anything is decoded.

    `settings` names what is to be done, whatever the session and the codec; `fingerprint` names the turn: turns with
    the same one share segments. `parent` is the turn whose result is edited, None where it is the video itself.
    """

    request: EditRequest
    info: VideoInfo
    weights: Path
    descriptor: str
    source_id: str
    model_id: str
    dtype: Precision
    device: str
    settings: str
    fingerprint: str
    parent: Parent | None = None

    @property
    def session(self) -> str:
        """The session named by the user, else one of this turn's own: unrelated attempts never see each other."""
        return self.request.session or f"turn-{self.fingerprint[:16]}"

    @property
    def fit(self) -> Fit:
        return fit(self.info, self.request.window.height, self.request.window.width)

    @property
    def output_id(self) -> str:
        return identify({"turn": self.fingerprint, "output": self.request.output.model_dump(mode="json")})


@dataclass(frozen=True)
class VideoPlan:
    """A turn with the shots and segments of its video."""

    work: Work
    shots: tuple[Shot, ...]
    segments: tuple[Segment, ...]


def describe_work(request: EditRequest, weights: Path, descriptor: str, device: str, cache: Path) -> Work:
    """Probe the video and fingerprint the turn. `cache` keeps the hashes of weights already read.

    `descriptor` is `thumbnail` or a folder: what it holds counts, not where it lies.

    Raises:
        VideoError: the video is missing, unreadable, or of a kind that is refused.
        RequestError: the codec asked for cannot live beside the video's sound, or the turn to be edited is not there.
    """
    info = probe(request.video)
    require_displayable(info, tone_map=request.output.tone_map)
    choose_suffix(info, request.output.codec, ".mp4")
    source_id, model_id = hash_file(info.path), hash_folder(weights, cache)
    dtype: Precision = "bfloat16" if device.startswith("cuda") else "float32"
    asked = {
        **request.model_dump(mode="json", exclude=NOT_THE_PICTURE),
        "source": source_id,
        "tone_map": request.output.tone_map,
        "model": model_id,
        "descriptor": descriptor if descriptor == THUMBNAIL else hash_folder(Path(descriptor), cache),
        "numerics": {"dtype": dtype, "device": device.split(":")[0], **{name: version(name) for name in NUMERICS}},
    }

    def name(parent: Parent | None) -> str:
        return identify({**asked, "on": parent.id if parent else None})

    parent = find_parent(request, source_id, name)
    settings = name(parent)
    fingerprint = _fingerprint(request, settings)
    return Work(request, info, weights, descriptor, source_id, model_id, dtype, device, settings, fingerprint, parent)


def number_turn(work: Work, store: Store) -> int:
    """The number of the turn in its session; a new one is entered with what was asked."""
    return store.ledger.turn_number(
        work.session,
        work.fingerprint,
        settings=work.settings,
        asked=work.request.instruction,
        video=work.info.path.name,
        source=work.source_id,
        parent=work.parent.number if work.parent else USERS_VIDEO,
    )


def _fingerprint(request: EditRequest, settings: str) -> str:
    """That of the session's turn which was asked for this, also where it was made before the session branched off."""
    turns = read_turns(request.out, request.session) if request.session else []
    known = next((turn.fingerprint for turn in turns if turn.settings == settings), None)
    return known or identify({"settings": settings, "session": request.session})


@task(task_run_name="ingest {work.info.path.name}", cache_policy=NO_CACHE, persist_result=False)
def ingest(work: Work) -> VideoPlan:
    """Shots and segments of the video.

    Raises:
        VideoError: a frame does not decode.
    """
    info, window = work.info, work.request.window
    cuts = ContentShotDetector().cuts(read_thumbnails(info), Fraction(info.rate))
    shots = shots_from_cuts(cuts, info.frames)
    return VideoPlan(work, tuple(shots), tuple(plan_segments(shots, window.frames, window.overlap)))
