"""Fit and pad: even, inside, as large as can be, and of the right aspect."""

from dataclasses import dataclass
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from storage.geometry import fit


@dataclass(frozen=True)
class Source:
    width: int
    height: int
    sample_aspect: Fraction = Fraction(1)


sides = st.integers(16, 8192)
sources = st.builds(Source, sides, sides, st.fractions(Fraction(1, 2), 2, max_denominator=99)).filter(
    lambda s: Fraction(1, 8) <= s.width * s.sample_aspect / s.height <= 8
)


@given(sources, st.sampled_from([(480, 832), (64, 96), (512, 512), (832, 480)]))
def test_the_picture_lies_centred_inside_the_canvas_on_even_pixels(source: Source, size: tuple[int, int]) -> None:
    result = fit(source, *size)
    width, height = result.model
    box = result.inner
    assert all(value % 2 == 0 for value in (box.width, box.height, box.x, box.y))
    assert 0 < box.width <= width
    assert 0 < box.height <= height
    assert 0 <= (width - box.width) - 2 * box.x <= 2
    assert 0 <= (height - box.height) - 2 * box.y <= 2
    assert width in (box.width, box.width + 1) or height in (box.height, box.height + 1)
    assert sorted(result.model) == sorted(size)
    assert result.source == (source.width, source.height)


@given(sources)
def test_the_displayed_aspect_is_kept_to_a_pixel(source: Source) -> None:
    box = fit(source, 480, 832).inner
    aspect = source.width * source.sample_aspect / source.height
    assert abs(box.width - box.height * aspect) <= 1 + aspect or abs(box.height - box.width / aspect) <= 1 + 1 / aspect


def test_portrait_sources_turn_the_canvas() -> None:
    assert fit(Source(1080, 1920), 480, 832).model == (480, 832)
    assert fit(Source(1920, 1080), 480, 832).model == (832, 480)
    assert fit(Source(720, 720), 480, 832).model == (832, 480)


def test_anamorphic_sources_are_widened() -> None:
    assert fit(Source(720, 576, Fraction(64, 45)), 480, 832).inner.width == 832
    assert fit(Source(720, 576), 480, 832).inner.width == 600


def test_a_source_of_the_models_size_is_left_alone() -> None:
    result = fit(Source(832, 480), 480, 832)
    assert (result.inner.width, result.inner.height, result.inner.x, result.inner.y) == (832, 480, 0, 0)
