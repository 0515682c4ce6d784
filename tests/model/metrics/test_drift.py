"""Each kind of drift is seen as itself, and sound footage as none."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from model.metrics.drift import BOUNDS, colour_change, measure_drift, segment_drift


def moving(frames: int, start: int = 0, speed: float = 1.0) -> np.ndarray:
    """A coloured pattern that moves steadily; `start` is the number of its first frame."""
    y, x = np.mgrid[:48, :64]
    shift = speed * (start + np.arange(frames))[:, None, None, None]
    wave = np.sin((x[None, ..., None] + shift) / 5 + np.array([0, 1, 2])) + 0.3 * np.sin(y[None, ..., None] / 2.0)
    return (127 + 60 * wave).clip(0, 255).astype(np.uint8)


CLIP, NEXT = moving(33), moving(36, start=33)


def worst(new: np.ndarray, before: np.ndarray = CLIP) -> tuple[str, float]:
    found = measure_drift(CLIP, before, new)
    assert set(found) == set(BOUNDS)
    return max(found.items(), key=lambda pair: pair[1])


def test_going_on_as_before_is_no_drift() -> None:
    assert worst(NEXT)[1] < 0.2


def test_repeating_the_clip_is_none_but_for_the_jump() -> None:
    found = measure_drift(CLIP, CLIP, CLIP)
    assert max(value for name, value in found.items() if name != "jump") == 0


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("colour", lambda new: np.clip(new * np.array([1.0, 0.6, 0.6]), 0, 255)),
        ("sharpness", lambda new: np.stack([cv2.GaussianBlur(frame, (0, 0), 2.5) for frame in new])),
        ("content", lambda new: new[:, ::-1, ::-1, ::-1]),
        ("motion", lambda new: np.repeat(new[:1], len(new), axis=0)),
    ],
)
def test_each_kind_is_seen_as_itself(kind: str, change: object) -> None:
    assert callable(change)
    found = measure_drift(CLIP, CLIP, np.asarray(change(NEXT)).astype(np.uint8))
    assert found[kind] > 1
    assert found[kind] > 3 * measure_drift(CLIP, CLIP, NEXT)[kind]


def test_a_jump_at_the_junction_is_seen() -> None:
    """The next window starts half a wave later; everything else about it is the same."""
    still = np.repeat(CLIP[:1], 33, axis=0) + np.arange(33, dtype=np.uint8)[:, None, None, None] // 16
    later = np.repeat(moving(1, start=16), 36, axis=0)
    found = measure_drift(still, still, later)
    assert found["jump"] > 1
    assert measure_drift(CLIP, CLIP, NEXT)["jump"] == 0


def test_it_grows_with_the_fault() -> None:
    drifts = [worst(np.clip(NEXT.astype(int) + step, 0, 255).astype(np.uint8))[1] for step in (0, 20, 40, 80)]
    assert drifts == sorted(drifts)
    assert drifts[-1] > 1


def test_sound_footage_stays_within_the_bounds(footage: Path) -> None:
    """One shot of a film: its first 33 frames, and windows after them."""
    with av.open(str(footage / "bigbuckbunny.mp4")) as container:
        frames = [
            frame.to_ndarray(format="rgb24")[::4, ::4]
            for _, frame in zip(range(105), container.decode(video=0), strict=False)
        ]
    film = np.stack(frames)
    for start in (33, 69):
        assert max(measure_drift(film[:33], film[:start], film[start : start + 36]).values()) < 1


def test_a_blank_picture_is_no_division_by_zero() -> None:
    blank = np.zeros((36, 48, 64, 3), np.uint8)
    assert max(measure_drift(blank, blank, blank).values()) == 0
    assert np.isfinite(list(measure_drift(CLIP, CLIP, blank).values())).all()


def test_an_edit_that_is_alike_everywhere_does_not_drift() -> None:
    """A tint of every segment is no drift, whatever the segments show; one segment with another tint is."""
    scenes = np.random.default_rng(0).integers(60, 160, (6, 8, 8, 3)).astype(np.uint8)
    tinted = scenes + np.array([40, 0, 0], np.uint8)
    larger = tinted.repeat(2, axis=1).repeat(2, axis=2)
    even = np.stack([colour_change(before, after) for before, after in zip(scenes, larger, strict=True)])
    other = scenes[3] + np.array([0, 0, 40], np.uint8)
    odd = np.concatenate([even[:3], colour_change(scenes[3], other)[None], even[4:]])
    assert segment_drift(odd).max() > 10 * segment_drift(even).max()
    assert segment_drift(np.zeros((1, 3), np.float32)) == [0]
