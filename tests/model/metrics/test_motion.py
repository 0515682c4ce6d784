"""Optical flow as metrics use it."""

import numpy as np

from model.metrics.motion import motion_between, shrink, squared_residual


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
