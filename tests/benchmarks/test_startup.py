"""What the start-up is held against: the slowest of what the first segment cannot do without."""

import pytest

from benchmarks.startup import slowest, summarise

RUN = {
    **{"understood": 2.0, "ray_begun": 2.0, "ray": 6.0, "prefect_begun": 2.0, "prefect": 9.0},
    **{"actors": 10.0, "weights": 15.0, "prepared": 11.0, "begun": 18.0, "edited": 20.0},
}


def test_the_slowest_is_prefect_or_what_comes_behind_ray() -> None:
    assert slowest(RUN) == 4 + 5
    assert slowest(RUN | {"prefect": 20.0}) == 18
    assert slowest(RUN | {"prepared": 19.0}) == 4 + 9


def test_the_ratio_is_of_each_run() -> None:
    figures = summarise([RUN, RUN | {"begun": 9.0}])
    assert figures["ratio"]["low"] == pytest.approx(1)
    assert figures["ratio"]["high"] == pytest.approx(2)
