"""Turns are laid over each other exactly: true pictures agree, and errors are found as large as they were made."""

import numpy as np
import pytest

from model.camera.trajectory import Trajectory
from model.metrics.views import Turn, detail, error_to, seen_by, warp, warp_error
from storage.datasets.panorama import imagine_panorama, render_panorama, turned, view_lens

FRAMES, USER = 6, np.eye(4)
LENS = view_lens(48)


def pan(speed: float, up: float = 0.0) -> Trajectory:
    frames = np.arange(FRAMES)
    return turned(speed * frames, up * frames)


def true_turn(trajectory: Trajectory, seed: int = 3) -> Turn:
    pictures = render_panorama(imagine_panorama(seed, held_out=True), trajectory, LENS)
    return Turn(pictures.astype(np.float32) / 255, trajectory)


ONE, OTHER = true_turn(pan(8.0)), true_turn(pan(6.0, 1.0))


def mean(one: Turn, other: Turn) -> float:
    tally = warp_error(one, other, LENS, USER)
    return tally.total / tally.cases


def test_true_turns_agree_and_those_of_other_worlds_do_not() -> None:
    assert mean(ONE, OTHER) < 0.01
    assert mean(ONE, true_turn(pan(6.0, 1.0), seed=4)) > 0.1


def test_an_error_is_found_as_large_as_it_was_made() -> None:
    brighter = Turn(ONE.frames + np.float32(0.125), ONE.trajectory)
    assert mean(ONE, brighter) == pytest.approx(0.125, abs=1e-6)


def test_what_the_user_sees_does_not_count() -> None:
    inside = seen_by(USER, ONE.trajectory, LENS)
    spoiled = np.where(inside[..., None], np.float32(0), ONE.frames)
    assert mean(ONE, Turn(spoiled, ONE.trajectory)) == 0
    assert warp_error(true_turn(pan(0.0)), true_turn(pan(0.0)), LENS, USER).cases == 0


def test_turns_that_look_elsewhere_share_nothing() -> None:
    assert warp_error(true_turn(pan(8.0)), true_turn(pan(-8.0)), LENS, USER).cases == 0


def test_a_turn_laid_over_itself_is_itself() -> None:
    warped, seen = warp(ONE, ONE.trajectory, LENS)
    assert seen.all()
    np.testing.assert_allclose(warped, ONE.frames, atol=1e-4)


def test_plain_grey_agrees_but_has_no_detail_and_is_not_true() -> None:
    grey = Turn(np.full_like(ONE.frames, 0.5), ONE.trajectory)
    assert mean(grey, Turn(grey.frames, OTHER.trajectory)) == 0
    assert detail(ONE.frames, grey, LENS, USER).total == 0
    assert detail(ONE.frames, ONE, LENS, USER).total == pytest.approx(1)
    wrong, right = (error_to(ONE.frames, turn, LENS, USER) for turn in (grey, ONE))
    assert wrong.total > 0.05 * wrong.cases
    assert right.total == 0
