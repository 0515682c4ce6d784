"""Cuts of real and generated footage, and what the detector is known to miss."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.shots import ContentShotDetector, shots_from_cuts
from storage.probe import probe
from storage.video import read_thumbnails
from tests.footage import BIKES_CUTS, bikes, footage

__all__ = ["bikes", "footage"]

RATE = Fraction(25)


@pytest.fixture(scope="module")
def thumbnails(bikes: Path) -> list[np.ndarray]:
    """All frames of a real film of six shots, 64x36."""
    return list(read_thumbnails(probe(bikes)))


def still(seed: int, height: int = 36, width: int = 64) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return coarse.repeat(height // 4, 0).repeat(width // 4, 1)


def shots_of(*lengths: int) -> list[np.ndarray]:
    return [still(seed) for seed, length in enumerate(lengths) for _ in range(length)]


@pytest.mark.parametrize("rate", [RATE, Fraction(30000, 1001), 23.976])
def test_finds_every_hard_cut(rate: Fraction | float) -> None:
    assert ContentShotDetector().cuts(shots_of(20, 7, 40, 9), rate) == [20, 27, 67]


def test_takes_frames_of_any_size_one_by_one() -> None:
    frames = (still(index // 10, 180, 320) for index in range(20))
    assert ContentShotDetector().cuts(frames, RATE) == [10]


@pytest.mark.parametrize("frames", [[], shots_of(1), shots_of(50)])
def test_nothing_to_cut(frames: list[np.ndarray]) -> None:
    assert ContentShotDetector().cuts(frames, RATE) == []


def test_a_flash_is_one_cut_at_most() -> None:
    frames = shots_of(60)
    frames[30] = np.full_like(frames[30], 255)
    assert ContentShotDetector().cuts(frames, RATE) in ([], [30])


def mix(left: np.ndarray, right: np.ndarray, frames: int) -> list[np.ndarray]:
    return [((1 - part) * left + part * right).astype(np.uint8) for part in np.linspace(0, 1, frames)]


def test_dissolves_and_slow_fades_are_missed(thumbnails: list[np.ndarray]) -> None:
    left, right, black = thumbnails[10], thumbnails[50], np.zeros_like(thumbnails[0])
    assert ContentShotDetector().cuts([left] * 20 + [right] * 20, RATE) == [20]
    assert ContentShotDetector().cuts(mix(left, right, 12), RATE) == []
    assert ContentShotDetector().cuts(mix(left, black, 25) + mix(black, right, 25), RATE) == []


def test_finds_exactly_the_cuts_of_real_footage(thumbnails: list[np.ndarray]) -> None:
    assert ContentShotDetector().cuts(thumbnails, RATE) == list(BIKES_CUTS)


@given(st.data())
def test_shots_partition_the_video(data: st.DataObject) -> None:
    frames = data.draw(st.integers(1, 500))
    cuts = sorted(data.draw(st.sets(st.integers(1, frames - 1), max_size=9))) if frames > 1 else []
    shots = shots_from_cuts(cuts, frames)
    assert [index for shot in shots for index in range(shot.span.start, shot.span.stop)] == list(range(frames))
    assert [shot.span.start for shot in shots[1:]] == cuts
    assert [shot.index for shot in shots] == list(range(len(shots)))


@pytest.mark.parametrize("cuts", [[0], [10], [5, 5], [6, 3]])
def test_cuts_outside_or_out_of_order_are_refused(cuts: list[int]) -> None:
    with pytest.raises(AssertionError, match="cuts must ascend"):
        shots_from_cuts(cuts, 10)


def test_the_detector_is_imported_only_when_used() -> None:
    code = "import sys, model.shots; print('scenedetect' in sys.modules, 'torch' in sys.modules)"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == ["False", "False"]
