"""From options to a request."""

from pathlib import Path

import pytest

from flows.request import build_request
from model.errors import RequestError

FIXED = {"video": Path("a.mp4"), "instruction": "make it night", "out": Path("out"), "weights": "untrained"}
NOTHING = {"window": {}, "retrieval": {}, "sampling": {}}


def test_what_the_user_says_wins_over_the_preset() -> None:
    default = build_request(FIXED, NOTHING)
    chosen = build_request(FIXED, NOTHING | {"window": {"frames": 9}, "sampling": {"steps": 3, "guidance": None}})
    assert chosen.window.frames == 9 != default.window.frames
    assert chosen.window.width == default.window.width
    assert chosen.edit.sampling.steps == 3
    assert chosen.edit.sampling.guidance == default.edit.sampling.guidance


@pytest.mark.parametrize(
    ("fixed", "choices", "message"),
    [
        ({"instruction": ""}, {}, "instruction"),
        ({"seed": -1}, {}, "seed"),
        ({}, {"window": {"frames": 80}}, "nearest are 77 and 81"),
        ({}, {"window": {"frames": 9, "overlap": 8}}, "overlap 8 must be at most half"),
    ],
)
def test_nonsense_is_named(fixed: dict[str, object], choices: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        build_request(FIXED | fixed, NOTHING | choices)
    assert "\n" not in str(caught.value)
