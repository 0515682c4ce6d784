"""Looks: applied, told from a picture and its edit, and the fixed ones fixed."""

from dataclasses import replace

import numpy as np
import pytest

from storage.datasets.looks import (
    FIXED_PHRASES,
    HELD_OUT_OPEN_PHRASE,
    OPEN_PHRASES,
    Look,
    all_phrases,
    apply_fixed,
    apply_look,
    distance,
    draw_look,
    looks_wording,
    recover,
)

PICTURE = np.random.default_rng(0).uniform(0.2, 0.8, (3, 24, 24, 3)).astype(np.float32)
NOTHING = Look(hue=0.0, contrast=1.0, tint=(1.0, 1.0, 1.0), vignette=0.0)


def test_no_look_is_no_change() -> None:
    assert apply_look(NOTHING, PICTURE) == pytest.approx(PICTURE, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_a_look_is_told_from_its_result(seed: int) -> None:
    look = draw_look(np.random.default_rng(seed))
    found = recover(PICTURE, apply_look(look, PICTURE))
    assert distance(found, look) < 0.03


def test_looks_of_two_seeds_are_far_apart() -> None:
    looks = [draw_look(np.random.default_rng(seed)) for seed in range(12)]
    apart = [distance(one, other) for one in looks for other in looks if one is not other]
    assert np.mean(apart) > 0.2


def test_distance_is_nought_only_for_the_same_and_hues_wrap() -> None:
    look = Look(hue=170.0, contrast=1.0, tint=(1.0, 1.0, 1.0), vignette=0.2)
    assert distance(look, look) == 0
    assert distance(look, replace(look, hue=-170.0)) == pytest.approx(distance(look, replace(look, hue=150.0)))


def test_grey_is_grey_and_leaves_grey_alone() -> None:
    grey = apply_fixed("grey", PICTURE)
    assert np.array_equal(grey[..., 0], grey[..., 1])
    assert np.array_equal(grey[..., 1], grey[..., 2])
    assert apply_fixed("grey", grey) == pytest.approx(grey, abs=1e-6)


def test_night_is_darker_and_bluer_and_sepia_is_brown() -> None:
    night, sepia = apply_fixed("night", PICTURE), apply_fixed("sepia", PICTURE)
    assert night.mean() < PICTURE.mean()
    assert night[..., 2].mean() > night[..., 0].mean()
    assert (sepia[..., 0] >= sepia[..., 1]).all()
    assert (sepia[..., 1] >= sepia[..., 2]).all()


def test_held_out_phrases_are_not_trained_on() -> None:
    random = np.random.default_rng(0)
    training = {looks_wording(random, held_out=False)[0] for _ in range(300)}
    held_out = {looks_wording(random, held_out=True)[0] for _ in range(300)}
    assert training == {*OPEN_PHRASES, *(text for texts in FIXED_PHRASES.values() for text in texts)}
    assert HELD_OUT_OPEN_PHRASE in held_out - training
    assert training | held_out == set(all_phrases())


def test_a_text_fixes_the_look_that_it_names() -> None:
    random = np.random.default_rng(0)
    for text, name in (looks_wording(random, held_out=True) for _ in range(100)):
        assert (name is None) is not any(look in text for look in FIXED_PHRASES)
        assert name is None or name in text
