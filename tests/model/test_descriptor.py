"""The fallback descriptor: shapes, depth, and what it can tell apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.descriptor import ThumbnailDescriptor
from model.memory.retrieval import rank_by_descriptor


def pictures(seed: int, frames: int = 3, height: int = 40, width: int = 72) -> np.ndarray:
    """Frames of coloured blocks that drift a little."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    still = blocks.repeat(8, axis=0).repeat(8, axis=1)
    return np.stack([np.roll(still, frame, axis=1) for frame in range(frames)])


def describe(frames: np.ndarray) -> np.ndarray:
    return ThumbnailDescriptor().describe(frames)


@given(st.integers(8, 70), st.integers(8, 70), st.integers(1, 3))
def test_any_size_gives_one_size(height: int, width: int, frames: int) -> None:
    found = describe(np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), np.uint8))
    assert found.shape == (ThumbnailDescriptor.size,)
    assert found.sum() == pytest.approx(0, abs=1e-4)


def test_depth_does_not_matter() -> None:
    eight = pictures(1)
    np.testing.assert_allclose(describe(eight.astype(np.uint16) * 257), describe(eight), atol=1e-6)


def test_brightness_does_not_matter_and_a_blank_picture_is_nothing() -> None:
    dim = pictures(1) // 2
    np.testing.assert_allclose(describe(dim + 40), describe(dim), atol=1e-6)
    assert not describe(np.full((2, 16, 16, 3), 77, np.uint8)).any()


def test_the_same_scene_is_nearer_than_another() -> None:
    scene, later, other = describe(pictures(1)), describe(pictures(1, 4)[1:]), describe(pictures(2))
    same, different = rank_by_descriptor(scene, np.stack([later, other]))
    assert same > 0.8 > 0.5 > different
