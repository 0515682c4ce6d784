"""The ten camera moves: where they go, where they look."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from model.camera.presets import PRESETS, Moves, describe, preset
from model.errors import RequestError

END = {
    "pan-right": ((np.sin(np.radians(20)), 0, np.cos(np.radians(20))), (0, 0, 0)),
    "tilt-up": ((0, -np.sin(np.radians(10)), np.cos(np.radians(10))), (0, 0, 0)),
    "zoom-in": ((0, 0, 1), (0, 0, 2)),
    "translate-up": ((0, 1 / 17**0.5, 4 / 17**0.5), (0, -1, 0)),
    "arc-right": ((-0.5, 0, 0.75**0.5), (2, 0, 4 - 4 * 0.75**0.5)),
}
OPPOSITE = {"right": "left", "left": "right", "up": "down", "down": "up", "in": "out", "out": "in"}


@pytest.mark.parametrize("name", END)
def test_moves_end_where_they_should(name: str) -> None:
    looks, stands = END[name]
    last = preset(name, 81).poses[-1]
    assert_allclose(last[:3, 2], looks, atol=1e-12)
    assert_allclose(last[:3, 3], stands, atol=1e-12)


@pytest.mark.parametrize("name", PRESETS)
def test_every_move_starts_at_the_origin_at_constant_speed(name: str) -> None:
    poses = preset(name, 41).poses
    assert_allclose(poses[0], np.eye(4), atol=1e-12)
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    assert_allclose(steps, steps[0], atol=1e-9)


@pytest.mark.parametrize("name", PRESETS)
def test_the_opposite_move_is_the_mirror_image(name: str) -> None:
    kind, way = name.split("-")
    mirror = {"right": (-1, 1, 1), "left": (-1, 1, 1), "up": (1, -1, 1), "down": (1, -1, 1)}.get(way)
    there, back = preset(name, 9).poses, preset(f"{kind}-{OPPOSITE[way]}", 9).poses
    if mirror is None:
        assert_allclose(there[:, :3, 3], -back[:, :3, 3], atol=1e-12)
    else:
        flip = np.diag([*mirror, 1.0])
        assert_allclose(flip @ there @ flip, back, atol=1e-12)


@pytest.mark.parametrize("name", ["translate-up", "translate-down", "arc-left", "arc-right"])
def test_moves_around_a_subject_keep_it_in_the_middle(name: str) -> None:
    moves = Moves(distance=3, arc=60, translate=2)
    subject = np.array([0, 0, 3.0])
    for pose in preset(name, 11, moves).poses:
        seen = (subject - pose[:3, 3]) @ pose[:3, :3]
        assert_allclose(seen[:2], 0, atol=1e-12)
        assert seen[2] > 0


def test_sizes_are_parameters() -> None:
    assert_allclose(preset("zoom-out", 2, Moves(zoom=0.5)).poses[-1, 2, 3], -0.5)


def test_an_unknown_move_is_refused_with_the_list() -> None:
    with pytest.raises(RequestError, match="choose one of pan-right, pan-left"):
        preset("dolly", 9)


def test_moves_are_told_in_words() -> None:
    moves = Moves(arc=45, distance=2.5)
    assert describe("arc-left", moves) == "moves 45 degrees to the left around a subject 2.5 m away, facing it"
    assert len({describe(name) for name in PRESETS}) == len(PRESETS)
