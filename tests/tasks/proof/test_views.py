"""Sessions of turning cameras: who recalls what, and that only a memory that works makes turns agree."""

from collections.abc import Sequence

import numpy as np
import pytest

from model.camera.trajectory import Trajectory
from model.config import EditConfig, Preset
from model.metrics.views import Turn, warp
from model.types import EditedSegment, ViewMemory
from storage.datasets.panorama import imagine_panorama, render_panorama, view_lens
from tasks.proof.views import (
    METHODS,
    SEGMENTS,
    TOP_K,
    Session,
    compare,
    first_picks,
    five_turns,
    look,
    play,
    three_turns,
)

SIZE, LENGTH = 32, 5
PRESET = Preset(name="by hand")


class Painter:
    """Sees what the user's video shows as it is, and paints the rest: anew by its seed, or as its best memory has it.

    Its latents are its pictures, which is all that a memory needs to hold here.
    """

    def __init__(self, *, remembers: bool) -> None:
        self.remembers, self.recalled = remembers, []

    def edit(
        self,
        source: np.ndarray,
        instruction: str,
        memories: Sequence[ViewMemory] = (),
        seed: int = 0,
        config: EditConfig | None = None,
        *,
        trajectory: Trajectory | None = None,
    ) -> EditedSegment:
        assert trajectory is not None
        self.recalled.append([memory.id for memory in memories])
        world = imagine_panorama(seed)
        picture = render_panorama(world, trajectory, view_lens(SIZE)).astype(np.float32) / 255
        for memory in reversed(memories if self.remembers else ()):
            pictures = memory.edited.astype(np.float32).transpose(1, 2, 3, 0)
            warped, seen = warp(Turn(pictures, memory.trajectory), trajectory, view_lens(SIZE))
            picture = np.where(seen[..., None], warped, picture)
        warped, seen = warp(Turn(source, Trajectory.still(len(source))), trajectory, view_lens(SIZE))
        picture = np.where(seen[..., None], warped, picture).astype(np.float32)
        latents = picture.transpose(3, 0, 1, 2)
        return EditedSegment(frames=picture, edited=latents, source=latents, seconds={})


def error(session: Session, method: str, pair: tuple[int, int], *, remembers: bool = True) -> float:
    turns = play(session, METHODS[method], Painter(remembers=remembers), PRESET)
    (tally,) = compare(turns, [pair], session.lens).values()
    return tally.total / tally.cases


@pytest.mark.parametrize("seed", range(3))
def test_only_a_memory_that_works_makes_turns_agree(seed: int) -> None:
    session = three_turns(seed, SIZE, LENGTH)
    alone = error(session, "ind", (1, 2))
    assert error(session, "memory", (1, 2)) < 0.5 * alone
    assert error(session, "memory", (1, 2), remembers=False) == pytest.approx(alone)


@pytest.mark.parametrize("seed", range(3))
def test_what_happened_last_is_no_help_with_what_happened_first(seed: int) -> None:
    session = five_turns(seed, SIZE, LENGTH)
    assert error(session, "memory", (1, 5)) < 0.7 * error(session, "recency", (1, 5))


def test_segments_recall_earlier_ones_only_and_no_more_than_allowed() -> None:
    painter = Painter(remembers=True)
    play(three_turns(0, SIZE, LENGTH), METHODS["memory"], painter, PRESET)
    assert [len(ids) for ids in painter.recalled] == [min(at, TOP_K) for at in range(3 * SEGMENTS)]
    made = [f"{turn:02d}-{segment:06d}" for turn in range(3) for segment in range(SEGMENTS)]
    assert all(set(ids) <= set(made[:at]) for at, ids in enumerate(painter.recalled))


def test_a_chain_renders_the_turn_before() -> None:
    session = three_turns(1, SIZE, LENGTH)
    turns = play(session, METHODS["ar"], Painter(remembers=False), PRESET)
    alone = play(session, METHODS["ind"], Painter(remembers=False), PRESET)
    np.testing.assert_array_equal(turns[0].frames, alone[0].frames)
    assert not np.array_equal(turns[1].frames, alone[1].frames)


def test_the_turn_that_saw_the_same_is_recalled_first() -> None:
    sessions = [five_turns(seed, SIZE, LENGTH) for seed in range(6)]
    rates = {}
    for by in ("views", "recency", "random"):
        tallies = [first_picks(session, by) for session in sessions]
        rates[by] = sum(tally.total for tally in tallies) / sum(tally.cases for tally in tallies)
    assert rates["views"] >= 0.95
    assert rates["recency"] <= 0.1
    assert rates["random"] <= 0.5


def test_the_truth_is_true_and_has_its_own_detail() -> None:
    session = three_turns(2, SIZE, LENGTH)
    turns = [Turn(truth, camera) for truth, camera in zip(session.truths, session.cameras, strict=True)]
    seen = look(session, turns)
    assert seen["error_seen"].total == 0
    assert seen["detail"].total == pytest.approx(seen["detail"].cases)
