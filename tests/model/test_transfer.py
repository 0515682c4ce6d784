"""What an edit did to the colours comes out at full size as sharp as the source; what is new is enlarged."""

import cv2
import numpy as np
import pytest

from model.transfer import CENTRED, COSITED, LOSS, ColourChange, enlarge, fit_change, resize

HEIGHT, WIDTH, FACTOR = 432, 768, 4
LOOKS = {
    "sepia": np.array([[0.9, 0, 0, 0.02], [0, 0.1, 0, 0.42], [0, 0, 0.1, 0.5]]),
    "night": np.array([[0.4, 0.1, 0, 0], [0, 0.8, 0, 0.15], [0, 0, 0.6, 0.18]]),
    "hue": np.array([[1, 0, 0, 0], [0, 0, -1, 1], [0, 1, 0, 0]]),
}


def texture(seed: int = 0) -> np.ndarray:
    """Detail of all sizes, down to single pixels, in three channels in [0, 1]."""
    chance = np.random.default_rng(seed)
    layers = [
        size * cv2.resize(chance.random((HEIGHT // size + 1, WIDTH // size + 1, 3)), (WIDTH, HEIGHT))
        for size in (1, 2, 4, 16, 64)
    ]
    picture = sum(layers)
    return (0.5 + 0.16 * (picture - picture.mean()) / picture.std()).clip(0, 1).astype(np.float32)


def look(name: str, picture: np.ndarray) -> np.ndarray:
    """A look of the whole picture: an affine one, or a curve that grows weaker towards the edges."""
    if name != "contrast":
        return (picture @ LOOKS[name][:, :3].T + LOOKS[name][:, 3]).clip(0, 1).astype(np.float32)
    rows, columns = (np.linspace(-1, 1, side) for side in picture.shape[:2])
    centre = 1 - 0.3 * (rows[:, None] ** 2 + columns[None] ** 2) / 2
    curve = picture[..., 0] ** 2 * (3 - 2 * picture[..., 0]) * centre
    return np.dstack([curve, picture[..., 1:]]).astype(np.float32)


def small(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (WIDTH // FACTOR, HEIGHT // FACTOR), interpolation=cv2.INTER_AREA)


def planes(picture: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(cv2.split(picture))


def psnr(made: tuple[np.ndarray, ...], wanted: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((np.dstack(made) - wanted) ** 2)))


def lossy(picture: np.ndarray, rms: float) -> np.ndarray:
    """As a codec leaves it: with blotches as large as two pixels."""
    noise = cv2.GaussianBlur(np.random.default_rng(1).normal(size=picture.shape), (0, 0), 0.8)
    return (picture + rms * noise / noise.std()).astype(np.float32)


@pytest.mark.parametrize("loss", [0, 0.02])
@pytest.mark.parametrize("name", [*LOOKS, "contrast"])
def test_looks_come_out_as_sharp_as_the_source(name: str, loss: float) -> None:
    source = texture()
    edit = lossy(look(name, small(source)), loss)
    change = fit_change(small(source), edit)
    guided = psnr(change.apply(planes(source), edit), look(name, source))
    upscaled = psnr(enlarge(edit, [source.shape[:2]] * 3), look(name, source))
    assert guided > max(32, upscaled + 6), f"{guided:.1f} dB, upscaled {upscaled:.1f} dB"
    assert change.unexplained.max() == 0


def test_no_edit_is_the_source() -> None:
    source = texture()
    made = fit_change(small(source), small(source)).apply(planes(source), small(source))
    np.testing.assert_allclose(np.dstack(made), source, atol=1e-3)


def test_what_is_new_is_enlarged() -> None:
    """A board of red squares that the source has nothing of."""
    source = texture()
    edit = small(source)
    edit[30:70, 60:120] = (np.indices((40, 60)).sum(axis=0) // 5 % 2)[..., None] * np.float32([0.8, 0.1, 0.1])
    change = fit_change(small(source), edit)
    assert change.unexplained[35:65, 65:115].min() > 0.9
    assert change.unexplained[:20].max() == change.unexplained[80:].max() == 0
    made, plain = np.dstack(change.apply(planes(source), edit)), np.dstack(enlarge(edit, [source.shape[:2]] * 3))
    np.testing.assert_allclose(made[150:250, 280:440], plain[150:250, 280:440], atol=0.1)
    np.testing.assert_allclose(made[:70], source[:70], atol=2e-2)


def test_what_a_codec_loses_is_not_new() -> None:
    source = small(texture())
    assert fit_change(source, lossy(source, 0.8 * LOSS)).unexplained.max() < 0.05
    assert fit_change(source, lossy(source, 4 * LOSS)).unexplained.min() > 0.5


def test_chroma_of_fewer_samples() -> None:
    """A look is as true on 4:2:0 as it can be told there."""
    source = cv2.GaussianBlur(texture(), (0, 0), 2)
    guide = (planes(source)[0], *(_cosited(plane) for plane in planes(source)[1:]))
    edit = look("hue", small(source))
    made = fit_change(small(source), edit).apply(guide, edit)
    assert [plane.shape for plane in made] == [plane.shape for plane in guide]
    wanted = planes(look("hue", source))
    assert np.abs(made[1] - _cosited(wanted[1])).max() < 0.02
    assert np.abs(made[0] - wanted[0]).max() < 0.02


def _cosited(plane: np.ndarray) -> np.ndarray:
    """Every second column, and the mean of two rows."""
    return np.ascontiguousarray((plane[::2, ::2] + plane[1::2, ::2]) / 2)


@pytest.mark.parametrize(("site", "first"), [(CENTRED, 0.5), (COSITED, 0.0)])
def test_samples_are_taken_for_where_they_lie(site: float, first: float) -> None:
    """A ramp is the same ramp at twice the size."""
    ramp = np.tile(np.arange(40, dtype=np.float32) * 2 + first, (20, 1))
    wide = resize(ramp, (40, 80), site, CENTRED)
    np.testing.assert_allclose(wide[20, 8:-8], np.arange(8, 72), atol=0.04)
    narrow = resize(np.tile(np.arange(20, dtype=np.float32), (10, 1)), (20, 40), CENTRED, site)
    np.testing.assert_allclose(narrow[10, 4:-4], (np.arange(4, 36) * 2 + first + 0.5) / 4 - 0.5, atol=0.04)


def test_an_edit_of_which_nothing_is_explained_is_only_enlarged() -> None:
    edit = small(texture(2))
    nothing = np.zeros((*edit.shape[:2], 4), np.float32)
    change = ColourChange((nothing, nothing, nothing), np.ones(edit.shape[:2], np.float32))
    made = change.apply(planes(texture()), edit)
    np.testing.assert_allclose(np.dstack(made), np.dstack(enlarge(edit, [(HEIGHT, WIDTH)] * 3)), atol=1e-6)
