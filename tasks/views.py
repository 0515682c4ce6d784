"""A turn along a camera path: its name, the views that a segment recalls, and what the Editor is told of cameras.

The path covers the whole video, and each segment takes its part of it. Across a cut there is another place: views of
other shots are never recalled.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from model.camera.fov import FieldOfView, video_fov
from model.camera.projection import Intrinsics
from model.camera.trajectory import Trajectory
from model.camera.written import WrittenCamera, read_camera
from model.config import RecallBy, RetrievalConfig, ViewRequest, precision
from model.memory.retrieval import SeenView, choose_by_view
from model.types import Recall, Segment
from storage.content_id import hash_folder, hash_source, identify
from storage.geometry import fit
from storage.ledger import USERS_VIDEO, TurnKey, TurnKind, TurnPlace
from storage.probe import VideoInfo
from storage.remembered import Reach, Remembered
from storage.views import ViewRow, ViewStore
from tasks.actors.editor import ViewJob
from tasks.ingest import VideoPlan
from tasks.prefetch import FetchedSegment
from tasks.turn import PreparedSegment, named, origin
from tasks.work import Work, examine_video, name_turn, numerics, settings_of

ORIGIN = np.eye(4)  # the first camera of the user's video, to which every trajectory of a session is relative
NANOMETRES = 9  # decimals kept of poses, so that a preset is the same path on every machine


@dataclass(frozen=True)
class ViewWork(Work):
    """A turn along `camera`, seen through a fixed `lens`."""

    request: ViewRequest
    camera: WrittenCamera
    lens: Intrinsics

    @property
    def kind(self) -> TurnKind:
        return "view"

    @property
    def name(self) -> str:
        return f"{self.request.video.name} {self.camera.name}"

    @property
    def title(self) -> str:
        said = self.request.instruction
        return f"{self.camera.name}: {said}" if said else self.camera.name

    @property
    def recall_by(self) -> str:
        return self.request.recall

    @property
    def path(self) -> Trajectory:
        return self.camera.trajectory

    def label(self, turn: int) -> str:
        return f"turn{turn:02d}_{self.camera.label}"


@dataclass(frozen=True)
class ViewSource:
    """What a turn renders: the user's video, or in a chain the result of an earlier turn; `id` names its content."""

    info: VideoInfo = field(repr=False)
    id: str
    turn: int = USERS_VIDEO


@dataclass(frozen=True)
class ViewCall:
    """What the turns of one command share: the user's video, the model, the session, and the cameras in their order."""

    request: ViewRequest
    video: ViewSource
    weights: Path
    model_id: str
    device: str
    session: str
    cameras: tuple[WrittenCamera, ...]

    def turn(self, camera: WrittenCamera, source: ViewSource) -> ViewWork:
        """The turn along `camera` over `source`: the user's video, or in a chain the result of the turn before."""
        lens = camera.intrinsics or self._lens()
        path = np.ascontiguousarray(camera.trajectory.poses, "<f8")
        settings = identify(
            {
                **settings_of(self.request, "cameras", "scale", "chain"),
                "video": self.video.id,
                "source": source.id,
                "model": self.model_id,
                "trajectory": sha256(path.tobytes()).hexdigest(),
                "lens": lens.matrix.tolist(),
                "numerics": numerics(self.device),
            }
        )
        return ViewWork(
            request=self.request,
            info=source.info,
            weights=self.weights,
            video_id=self.video.id,
            source_id=source.id,
            model_id=self.model_id,
            dtype=precision(self.device),
            device=self.device,
            session=self.session,
            edits=source.turn,
            settings=settings,
            fingerprint=name_turn(self.request.out, self.session, settings),
            camera=camera,
            lens=lens,
        )

    def _lens(self) -> Intrinsics:
        """One fixed lens, in pixels of the picture that the model sees."""
        window = self.request.window
        picture = fit(self.video.info, window.height, window.width).inner
        if self.request.fov is None:
            return Intrinsics.from_lens(picture.width, picture.height)
        return Intrinsics.from_angle(self.request.fov, picture.width, picture.height)


def describe_call(request: ViewRequest, weights: Path, device: str, cache: Path) -> ViewCall:
    """Probe the video, read the cameras, and name the session.

    A session that the user did not name is that of the video, the model and all settings: more cameras go on with it.

    Raises:
        VideoError: the video is missing, unreadable, or of a kind that is refused.
        RequestError: a camera cannot be read, or the codec asked for cannot live beside the video's sound.
    """
    info = examine_video(request)
    cameras = tuple(_rounded(read_camera(text, info.frames, scale=request.scale)) for text in request.cameras)
    video, model_id = ViewSource(info, hash_source(info.path, cache)), hash_folder(weights, cache)
    own = identify({**settings_of(request, "cameras", "scale"), "source": video.id, "model": model_id})
    session = request.session or f"views-{own[:16]}"
    return ViewCall(request, video, weights, model_id, device, session, cameras)


def _rounded(camera: WrittenCamera) -> WrittenCamera:
    poses = np.round(camera.trajectory.poses, NANOMETRES) + 0.0  # no minus zero
    return replace(camera, trajectory=Trajectory(poses))


@dataclass(frozen=True)
class LookedView:
    """The path of a segment, what it will see, and the views that the store held for it."""

    path: Trajectory
    target: FieldOfView
    found: list[ViewRow]


@dataclass(frozen=True)
class ViewTurn:
    """A turn along a camera path (see `tasks/turn.py`: Turn); segments are compared by what they see."""

    plan: VideoPlan[ViewWork]
    place: TurnPlace
    memory: ViewStore

    @property
    def actors(self) -> Mapping[str, Any]:
        return {}

    def look(self, segment: Segment, frames: Any, known: Collection[int]) -> LookedView:
        """Draw what a segment will see, and read what there is to be recalled."""
        work, span = self.plan.work, segment.span
        path = work.path.part(span.start, span.stop, segment.frames)
        reach = Reach(self.place.number, known, work.model_id)
        found = self.memory.earlier(list(self.place.keys.values()), work.video_id, segment.shot, reach)
        return LookedView(path, video_fov(path, work.lens, ORIGIN), found)

    def prepare(
        self,
        fetched: FetchedSegment[LookedView],
        recent: Sequence[Remembered],
        known: Collection[int],
        previous: str | None,
    ) -> PreparedSegment:
        """Choose the memories of a segment; its id follows from them. `previous` is a view like any other."""
        segment, looked, request = fetched.segment, fetched.looked, self.plan.work.request
        row = self._row(segment, looked)
        reach, late = Reach(row.turn, known, row.model), [one for one in recent if isinstance(one, ViewRow)]
        seen = {view.id: view for view in looked.found}
        seen |= {one.id: one for one in late if one.shot == segment.shot and reach.holds(one)}
        views = list(seen.values())
        recalled = recall_views(views, row.start, looked.target, request.retrieval, request.recall, row.seed)
        row = named(row, self.plan, segment, recalled)
        cameras = tuple(seen[id].cameras for id in row.recalled)
        job = ViewJob(request.instruction, segment.frames, row.seed, row.recalled, cameras, request.edit, looked.path)
        return PreparedSegment(segment, row, job)

    def _row(self, segment: Segment, looked: LookedView) -> ViewRow:
        work = self.plan.work
        common = origin(self.plan, self.place, segment, work.request.instruction)
        return ViewRow(**common, camera=work.camera.name, trajectory=looked.path.rows, seen=looked.target.packed)


class Seen(Protocol):
    """What must be known of a view for it to be recalled, such as a `ViewRow`."""

    @property
    def id(self) -> str: ...

    @property
    def turn(self) -> int: ...

    @property
    def segment(self) -> int: ...

    @property
    def start(self) -> int: ...

    @property
    def seen(self) -> np.ndarray: ...


def recall_views(
    known: Sequence[Seen], start: int, target: FieldOfView, config: RetrievalConfig, by: RecallBy, seed: int
) -> list[Recall]:
    """Memories for a segment from frame `start` on, best first (paper Eq. 1-3), whatever the order they are known in.

    Of equal views that of the same moment goes first, then the one made last.
    """
    ordered = sorted(known, key=lambda view: (abs(view.start - start), -view.turn, view.segment, view.id))
    views = [SeenView(view.id, (view.turn, view.segment), view.seen) for view in ordered]
    return choose_by_view(target, views, config, by, seed)


@dataclass(frozen=True)
class RecalledView:
    """One recall of a finished turn: `by` is the segment that recalled, turn and segment are those recalled."""

    by: int
    turn: int
    segment: int
    score: float
    reason: str


def recalled_in(memory: ViewStore, turn: TurnKey) -> tuple[RecalledView, ...]:
    """What the segments of a turn recalled and the store still has, in their order, best first."""
    latest = {row.segment: row for row in sorted(memory.rows_of(turn), key=lambda row: row.created)}
    rows = [latest[index] for index in sorted(latest)]
    views = memory.find({id for row in rows for id in row.recalled})
    return tuple(
        RecalledView(row.segment, views[one.id].turn, views[one.id].segment, round(one.score, 4), one.reason)
        for row in rows
        for one in row.recalls
        if one.id in views
    )
