"""Two Editors are nearly twice as fast as one, for one video and for a catalog, and never faster than can be."""

import json
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.schedule import Order, order
from model.types import Segment, Span
from scale import archive, as_markdown
from scale_measures import SHORT, measure_catalog, measure_video, speed_up

ROOM = 1.02  # of rounding


@pytest.fixture
def figures(cluster: None, tmp_path: Path) -> dict:
    return {"one video": measure_video(SHORT, tmp_path), "catalog": measure_catalog(SHORT, tmp_path)}


@pytest.mark.slow
def test_two_editors_do_nearly_what_the_bound_allows(figures: dict) -> None:
    _, two = figures["one video"]["runs"].values()
    assert two["speed-up"]["median"] > 1.5
    assert 0.5 < two["share of the bound"] < ROOM
    alone, both = figures["catalog"]["runs"]
    assert both["segments a second"] > 1.5 * alone["segments a second"]
    assert all(0.5 < run["share of the ideal"] < ROOM for run in (alone, both))
    assert 0 < both["driver s a segment"] < both["all s a segment"]
    assert json.loads(json.dumps(figures)) == figures
    assert "anchors:2 on 2" in as_markdown(figures)


def makespan(planned: Order, editors: int) -> int:
    """Turns of the clock until all is done, each segment taking one."""
    return len(planned.line) + ceil(len(planned.fan) / editors)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 8))
def test_speed_up_is_what_the_order_gives(count: int, anchors: int, editors: int) -> None:
    anchors = min(anchors, count)
    segments = [Segment(index, 0, Span(index, index + 5), 5) for index in range(count)]
    planned = order(segments, f"anchors:{anchors}", editors)
    assert speed_up(count, anchors, editors) == pytest.approx(count / makespan(planned, editors))


@pytest.mark.parametrize(("editors", "expected"), [(1, 1.0), (2, 40 / 22), (4, 40 / 13), (8, 40 / 9)])
def test_speed_up_of_forty_segments_and_four_anchors(editors: int, expected: float) -> None:
    assert speed_up(40, 4, editors) == pytest.approx(expected)


def test_an_archive_takes_hours_by_the_seconds_of_a_segment() -> None:
    real = {"driver s a segment": 6.0, "bytes a segment": {"latents": 8_000_000}}
    catalog, growth = {"driver milliseconds a second of an Editor at work": 0.0}, {"prefect bytes a segment": 1000}
    told = archive({"real window": real, "catalog": catalog, "growth": growth})
    rows = told["by seconds a segment"]
    assert told["segments"] == 10_800_000, "10,000 hours of 24 frames a second, 80 a segment"
    assert rows[60]["Editor hours"] == 180_000
    assert rows[60]["Editors a driver core feeds"] == 10
    assert rows[180]["driver cores needed"] == pytest.approx(rows[20]["driver cores needed"], rel=0.02)
    assert told["terabytes"]["latents"] == 86.4
