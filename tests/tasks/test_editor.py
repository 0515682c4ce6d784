"""What the Editor hands back is finite, or its attempt has failed."""

from dataclasses import replace

import numpy as np
import pytest

from model.errors import RunError
from model.types import EditedSegment
from tasks.actors.editor import as_stored

MADE = EditedSegment(
    frames=np.full((5, 8, 8, 3), 0.5, np.float32),
    edited=np.linspace(-4, 4, 64, dtype=np.float32).reshape(4, 2, 4, 2),
    source=np.linspace(-3, 5, 64, dtype=np.float32).reshape(4, 2, 4, 2),
)


def test_latents_are_kept_as_float16() -> None:
    for kept, made in zip(as_stored(MADE), (MADE.edited, MADE.source), strict=True):
        assert kept.dtype == np.float16
        np.testing.assert_array_equal(kept, made.astype(np.float16))


@pytest.mark.parametrize("part", ["edited", "source", "frames"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_kept(part: str, value: float) -> None:
    spoilt = getattr(MADE, part).copy()
    spoilt[0, 1, 0, :2] = value
    with pytest.raises(RunError, match=f"2 of {spoilt.size} numbers of the .*{part}.* are NaN.*--seed") as caught:
        as_stored(replace(MADE, **{part: spoilt}))
    assert "\n" not in str(caught.value)


def test_what_is_too_large_to_be_kept_has_failed_as_well() -> None:
    with pytest.raises(RunError, match="of the edited latents are NaN, infinite or beyond float16"):
        as_stored(replace(MADE, edited=MADE.edited * np.float32(30_000)))
