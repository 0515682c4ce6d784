"""See a held-out panorama anew, turn after turn, by each method, and compare what turns made of the same directions.

A method says which earlier views are recalled, and what is rendered; all else is the same: the noise of a segment is
the same under every method. Views are recalled as in `tasks/views.py`. Knows no files.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from jaxtyping import Float32

from model.camera.fov import FieldOfView, video_fov
from model.camera.projection import Intrinsics
from model.camera.trajectory import Trajectory
from model.config import EditConfig, Preset, RecallBy, RetrievalConfig
from model.metrics.agreement import Tally
from model.metrics.views import Turn, detail, error_to, seen_by, warp_error
from model.types import LATENT_DTYPE, EditedSegment, ViewMemory
from storage.datasets.panorama import imagine_panorama, render_panorama, turned, view_lens
from tasks.views import ORIGIN, recall_views

SEGMENTS = 3  # of every turn
TOP_K = 3  # the paper does not say how many; more would bring all turns back, whatever they saw
FASTEST, SLOWEST, TILT = 3.4, 2.4, 0.6  # degrees a frame that turns pan and tilt
SEEDS_APART = 1000  # more than there are segments in a session


class ViewEditor(Protocol):
    """What is asked of a model: `MemoryEditor`, or one made by hand."""

    def edit(
        self,
        source: Float32[np.ndarray, "frame height width 3"],
        instruction: str,
        memories: Sequence[ViewMemory] = (),
        seed: int = 0,
        config: EditConfig | None = None,
        *,
        trajectory: Trajectory | None = None,
    ) -> EditedSegment: ...


@dataclass(frozen=True)
class Session:
    """Turns over one panorama: a camera each, in segments of `length` frames. The user's camera rests."""

    seed: int
    cameras: tuple[Trajectory, ...]
    length: int
    lens: Intrinsics

    @cached_property
    def source(self) -> Float32[np.ndarray, "frame height width 3"]:
        """The user's video, in [0, 1]."""
        return self._render(Trajectory.still(len(self.cameras[0])))

    @cached_property
    def truths(self) -> list[Float32[np.ndarray, "frame height width 3"]]:
        """What there is to be seen in each turn, in [0, 1]."""
        return [self._render(camera) for camera in self.cameras]

    def take(self, turn: int, segment: int) -> "Take":
        """One segment before it is rendered."""
        start = segment * self.length
        path = self.cameras[turn].part(start, start + self.length, self.length)
        return Take(turn, segment, start, path, video_fov(path, self.lens, ORIGIN), np.zeros(0, LATENT_DTYPE))

    def noise(self, take: "Take") -> int:
        """Seed of the noise of a segment."""
        return SEEDS_APART * self.seed + SEGMENTS * take.turn + take.segment

    def _render(self, camera: Trajectory) -> np.ndarray:
        world = imagine_panorama(self.seed, held_out=True)
        return render_panorama(world, camera, self.lens).astype(np.float32) / 255


def three_turns(seed: int, size: int, length: int) -> Session:
    """Three cameras that pan to the same side: each pair shares what lies beside the user's view."""
    random = np.random.default_rng([seed, 41])
    side = random.choice([-1, 1])
    return Session(seed, tuple(_pan(random, side, length) for _ in range(3)), length, view_lens(size))


def five_turns(seed: int, size: int, length: int) -> Session:
    """Five cameras: the last pans to the side of the first, those in between to the other one."""
    random = np.random.default_rng([seed, 43])
    side = random.choice([-1, 1])
    sides = (side, -side, -side, -side, side)
    return Session(seed, tuple(_pan(random, each, length) for each in sides), length, view_lens(size))


def _pan(random: np.random.Generator, side: int, length: int) -> Trajectory:
    frames = np.arange(SEGMENTS * length)
    return turned(side * random.uniform(SLOWEST, FASTEST) * frames, random.uniform(-TILT, TILT) * frames)


@dataclass(frozen=True)
class Method:
    """What a segment recalls, and whether a turn renders the result of the one before."""

    recall: RecallBy
    chain: bool = False


METHODS: Mapping[str, Method] = {
    "ind": Method("none"),
    "ar": Method("none", chain=True),
    "memory": Method("views"),
    "recency": Method("recency"),
    "random": Method("random"),
}


@dataclass(frozen=True)
class Take:
    """One rendered segment, from frame `start` on, its latents as the store keeps them."""

    turn: int
    segment: int
    start: int
    path: Trajectory
    view: FieldOfView
    edited: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        return self.view.packed

    @property
    def id(self) -> str:
        return f"{self.turn:02d}-{self.segment:06d}"


def play(session: Session, method: Method, editor: ViewEditor, preset: Preset) -> list[Turn]:
    """All turns of a session by a method, segment after segment."""
    takes: list[Take] = []
    turns: list[Turn] = []
    for number, camera in enumerate(session.cameras):
        source = turns[-1].frames if method.chain and turns else session.source
        made = []
        for segment in range(SEGMENTS):
            take = session.take(number, segment)
            recalled = recall(session, takes, take, method.recall)
            memories = [ViewMemory(each.id, each.edited, each.path) for each in recalled]
            part = source[take.start : take.start + session.length]
            done = editor.edit(part, "", memories, session.noise(take), preset.edit, trajectory=take.path)
            takes.append(replace(take, edited=done.edited.astype(LATENT_DTYPE)))
            made.append(done.frames)
        turns.append(Turn(np.concatenate(made), camera))
    return turns


def recall(session: Session, takes: Sequence[Take], target: Take, by: RecallBy) -> list[Take]:
    """The views that a segment recalls, best first."""
    known = {take.id: take for take in takes}
    config = RetrievalConfig(top_k=TOP_K)
    return [known[one.id] for one in recall_views(takes, target.start, target.view, config, by, session.noise(target))]


def compare(turns: Sequence[Turn], pairs: Sequence[tuple[int, int]], lens: Intrinsics) -> dict[str, Tally]:
    """`error_1_2` and so on: how far two turns, counted from 1, disagree beside the user's view."""
    return {f"error_{one}_{other}": warp_error(turns[one - 1], turns[other - 1], lens, ORIGIN) for one, other in pairs}


def look(session: Session, turns: Sequence[Turn]) -> dict[str, Tally]:
    """How true the turns are where the user's video shows what is right, and how much there is beside it."""
    pairs = list(zip(session.truths, turns, strict=True))
    return {
        "error_seen": _sum(error_to(truth, turn, session.lens, ORIGIN) for truth, turn in pairs),
        "detail": _sum(detail(truth, turn, session.lens, ORIGIN) for truth, turn in pairs),
    }


def first_picks(session: Session, by: RecallBy) -> Tally:
    """Of the segments of the last turn: whether the earlier turn recalled first is the one that saw most of the same.

    Which one did is told by pixels, not by the bitmaps that retrieval goes by. Segments for which two turns are equal
    do not count.
    """
    last = len(session.cameras) - 1
    takes = [session.take(turn, segment) for turn in range(last) for segment in range(SEGMENTS)]
    right = cases = 0
    for segment in range(SEGMENTS):
        target = session.take(last, segment)
        shares = sorted(((_overlap(target.path, take.path, session.lens), take.turn) for take in takes), reverse=True)
        best, rival = shares[0], next(share for share in shares if share[1] != shares[0][1])
        if best[0] > rival[0]:
            cases += 1
            right += recall(session, takes, target, by)[0].turn == best[1]
    return Tally(float(right), cases)


def _overlap(target: Trajectory, other: Trajectory, lens: Intrinsics) -> float:
    """Share of a target's pixels whose directions another path sees in any frame."""
    return float(np.logical_or.reduce([seen_by(pose, target, lens) for pose in other.poses]).mean())


def _sum(tallies: Iterable[Tally]) -> Tally:
    given = list(tallies)
    return Tally(sum(tally.total for tally in given), sum(tally.cases for tally in given))
