"""Camera moves in a sentence: what they do, how they share out the frames, and what is said of nonsense."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from model.camera.presets import preset
from model.camera.sentence import VERBS, parse_sentence
from model.errors import RequestError


def poses(sentence: str, frames: int = 81) -> np.ndarray:
    return parse_sentence(sentence).follow(frames).poses


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ("pan right 20deg", "pan-right"),
        ("pan left 20 degrees", "pan-left"),
        ("Tilt Up 10°", "tilt-up"),
        ("tilt down 10deg over 81 frames", "tilt-down"),
        ("zoom in 2m", "zoom-in"),
        ("dolly out 200cm", "zoom-out"),
        ("move back 2000 mm", "zoom-out"),
        ("arc left 30deg", "arc-left"),
        ("orbit right 30deg around 4 metres", "arc-right"),
    ],
)
def test_a_sentence_can_say_what_a_preset_does(sentence: str, name: str) -> None:
    assert_allclose(poses(sentence), preset(name, 81).poses, atol=1e-12)


@pytest.mark.parametrize(
    ("sentence", "place"),
    [
        ("truck left 1m", (-1, 0, 0)),
        ("move right 1m", (1, 0, 0)),
        ("pedestal up 50cm", (0, -0.5, 0)),
        ("move down 1m", (0, 1, 0)),
        ("dolly forward 1m", (0, 0, 1)),
        ("pan right 90deg, then dolly in 1m", (1, 0, 0)),
        ("pan right 90deg and dolly in 1m", (0, 0, 1)),
        ("tilt up 90deg, then dolly in 1m", (0, -1, 0)),
        ("tilt up 45deg, then pedestal up 1m", (0, -1, 0)),
        ("roll right 45deg, then truck right 1m", (1, 0, 0)),
        ("orbit right 180deg around 3m", (0, 0, 6)),
        ("orbit right 180deg around 3m and dolly in 1m", (0, 0, 5)),
    ],
)
def test_where_moves_end(sentence: str, place: tuple[float, ...]) -> None:
    assert_allclose(poses(sentence)[-1, :3, 3], place, atol=1e-12)


def test_roll_to_the_right_lowers_the_right_side() -> None:
    right = poses("roll right 30deg")[-1, :3, 0]
    assert_allclose(right, [np.cos(np.pi / 6), 0.5, 0], atol=1e-12)


@given(st.floats(0, 60), st.floats(0, 180), st.floats(0, 90))
def test_the_horizon_stays_level_unless_the_camera_rolls(up: float, aside: float, around: float) -> None:
    sentence = f"tilt up {up:.3f}deg, then pan right {aside:.3f}deg and orbit left {around:.3f}deg"
    assert_allclose(poses(sentence, 9)[:, 1, 0], 0, atol=1e-12)


@given(st.floats(1, 90), st.floats(0.5, 9), st.floats(0, 40))
def test_an_orbit_keeps_its_subject_in_the_middle_at_the_same_distance(angle: float, away: float, up: float) -> None:
    path = poses(f"tilt up {up:.4f}deg over 2 frames, then orbit left {angle:.4f}deg around {away:.4f}m", 7)
    subject = path[1, :3, 3] + round(away, 4) * path[1, :3, 2]
    for pose in path[1:]:
        assert_allclose((subject - pose[:3, 3]) @ pose[:3, :3], [0, 0, round(away, 4)], atol=1e-9)


def test_steps_follow_one_another_at_constant_speed() -> None:
    sideways = np.linalg.norm(
        np.diff(poses("dolly in 2m over 41 frames, then truck right 3m")[:, :3, 3], axis=0), axis=1
    )
    assert_allclose(sideways, [2 / 40] * 40 + [3 / 40] * 40)


@pytest.mark.parametrize(
    ("sentence", "frames", "counts"),
    [
        ("hold", 5, [5]),
        ("pan right 1deg then hold then tilt up 1deg", 81, [27, 27, 27]),
        ("pan right 1deg then hold then tilt up 1deg", 80, [27, 27, 26]),
        ("pan right 1deg, then stay over 60 frames, then tilt up 1deg", 80, [10, 60, 10]),
        ("hold over 1 frame, then pan right 1deg", 3, [1, 2]),
        ("pan right 1deg over 3 frames", 9, [3]),
    ],
)
def test_frames_are_shared_out(sentence: str, frames: int, counts: list[int]) -> None:
    parsed = parse_sentence(sentence)
    assert parsed.share_out(frames) == counts
    assert len(parsed.follow(frames)) == frames


def test_the_camera_stands_still_when_all_is_said() -> None:
    path = poses("pan right 10deg over 3 frames", 9)
    assert_allclose(path[2:], np.tile(path[2], (7, 1, 1)))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([(verb, way) for verb, ways in VERBS.items() for way in ways]),
            st.integers(0, 100),
            st.integers(2, 9),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_every_sentence_of_the_grammar_ends_where_its_steps_do(steps: list) -> None:
    """As many frames as are said, the first at the origin; what a step adds does not depend on what follows."""
    texts = [
        f"{verb} {way} {amount}{'deg' if verb in ('pan', 'tilt', 'roll', 'orbit', 'arc') else 'cm'} over {count} frames"
        for (verb, way), amount, count in steps
    ]
    counts = [count for _, _, count in steps]
    whole = poses(", then ".join(texts), sum(counts))
    assert_allclose(whole[0], np.eye(4), atol=1e-12)
    assert_allclose(whole[: counts[0]], poses(texts[0], counts[0]), atol=1e-12)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("fly right 2m", "'fly' was not understood; expected a move: pan, tilt"),
        ("pan-right 20deg", "'pan-right' was not understood; expected a move"),
        ("pan up 20deg", "'up' was not understood; expected left or right"),
        ("pan right", "too early; expected an amount, such as 20deg"),
        ("pan right -20deg", "'-' was not understood; expected an amount"),
        ("pan right 20", "too early; expected a unit: deg"),
        ("pan right 2m", "'m' was not understood; expected a unit: deg"),
        ("dolly in 20deg", "'deg' was not understood; expected a unit: m"),
        ("dolly in 0,5m", "',' was not understood; expected a unit"),
        ("pan right 20deg dolly in 1m", "'dolly' was not understood; expected 'and', 'over', 'then' or the end"),
        ("pan right 20deg, dolly in 1m", "'dolly' was not understood; expected 'then'"),
        ("pan right 20deg, then", "too early; expected a move"),
        ("pan right 20deg over 2.5 frames", "2.5 frames; expected a whole number"),
        ("pan right 20deg over 0 frames", "0 frames; expected a whole number"),
        ("pan right 20deg over 9999999 frames", "9999999 frames; expected a whole number"),
        ("pan right 20deg over 20", "too early; expected 'frames'"),
        ("pan right 20deg and pan left 5deg", r"twice in one step \(pan\)"),
        ("dolly in 1m and zoom in 1m", r"twice in one step \(forward\)"),
        ("pan right 20deg around 4m", "'around' was not understood"),
        ("orbit right 20deg around 0m", "at 0 m"),
        ("pan right 3601deg", "3601deg is too far"),
        (f"dolly in {'9' * 400}m", "too far"),
        ("hold and pan right 20deg", "'and' was not understood"),
        ("", "too early; expected a move"),
        ("pan " * 300, "longer than 1000 characters"),
    ],
)
def test_nonsense_is_named(sentence: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        parse_sentence(sentence)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    assert sentence[:30] in str(caught.value)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("pan right 20deg over 81 frames, then dolly in 1m", "at least 82 frames, there are 81"),
        ("pan right 20deg over 100 frames", "at least 100 frames, there are 81"),
        ("pan right 20deg over 1 frame, then hold", "give the first step 2 frames or more"),
    ],
)
def test_frames_that_do_not_suffice_are_named(sentence: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        parse_sentence(sentence).follow(81)
    assert sentence in str(caught.value)
