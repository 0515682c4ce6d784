"""Each module still makes of a seed what it made before (see `modules.py` for how to write the numbers anew)."""

import json

import pytest

from tests.model.golden.modules import MODULES, NUMBERS, numbers_of

GOLDEN = json.loads(NUMBERS.read_text())


def test_every_module_has_its_numbers() -> None:
    assert list(GOLDEN) == list(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_a_seed_still_makes_the_same(name: str) -> None:
    assert numbers_of(name) == pytest.approx(GOLDEN[name], rel=1e-3, abs=2e-5)
