"""Time stamps that a file tells wrongly, or not at all, cost no other one."""

from fractions import Fraction

import pytest

from storage.time_stamps import mend


@pytest.mark.parametrize(
    ("told", "mended"),
    [
        ([100, None, None, 130], [100, 110, 120, 130]),
        ([None, 3600, 3600, 9000], [2099, 3600, 6300, 9000]),
        ([50, 90, 10**9, 170, 210], [50, 90, 130, 170, 210]),
        ([10**9, 3000, 4501], [1499, 3000, 4501]),
        ([7, None, None, None], [7, 1508, 3010, 4511]),
        ([7, 8, 8, 9, 10], [7, 1508, 3010, 4511, 6013]),  # there is no room, and below zero there is no time
        ([None, None, None], [0, 1501, 3003]),
        ([], []),
    ],
)
def test_time_stamps_that_are_missing_or_wrong_are_put_between_the_others(
    told: list[int | None], mended: list[int]
) -> None:
    assert list(mend(told, Fraction(3003, 2))) == mended
