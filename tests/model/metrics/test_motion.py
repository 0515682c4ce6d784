"""Optical flow as metrics use it."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from model.metrics.motion import motion_between, shrink, squared_residual

THREADS, ROUNDS = 4, 40


def residual(rows: int, columns: int) -> float:
    """What is left of a texture that moves by two pixels, when its motion is undone."""
    y, x = np.mgrid[:rows, :columns]

    def picture(shift: int) -> np.ndarray:
        wave = 127 + 50 * np.sin((x + shift) / 7) + 50 * np.sin(y / 5 + (x + shift) / 11)
        return shrink(np.repeat(wave.astype(np.uint8)[..., None], 3, axis=2))

    one, other = picture(0), picture(2)
    return squared_residual(one, other, motion_between(one, other))


def test_what_was_measured_before_changes_nothing() -> None:
    """OpenCV's flow remembers that it was given a small picture."""
    before = residual(180, 320)
    residual(24, 32)
    assert residual(180, 320) == before


def test_threads_do_not_spoil_each_others_motion() -> None:
    random = np.random.default_rng(5)
    pictures = [cv2.resize(random.random((6, 8, 3)).astype(np.float32), (64, 64)) for _ in range(THREADS + 1)]
    wanted = [motion_between(pictures[at], pictures[at + 1]).flow for at in range(THREADS)]

    def same(at: int) -> bool:
        pair = pictures[at], pictures[at + 1]
        return all(np.array_equal(motion_between(*pair).flow, wanted[at]) for _ in range(ROUNDS))

    with ThreadPoolExecutor(THREADS) as threads:
        assert all(threads.map(same, range(THREADS)))
