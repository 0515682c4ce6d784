"""Names of drawings cover all that they are made from."""

from pathlib import Path

import numpy as np

from model.config import FootageSource, SyntheticSource, WorldConfig
from storage.datasets.rendered import PAINTERS, Drawing, draw_clip, drawings_of, painters
from storage.datasets.synthetic import training_clip

SMALL = WorldConfig(size=32, segments=6)


def test_a_source_is_its_seeds() -> None:
    source = SyntheticSource(kind="synthetic", clips=3, first_seed=7, world=SMALL)
    assert [drawing.seed for drawing in drawings_of(source)] == [7, 8, 9]


def test_footage_has_as_many_looks_as_its_source_says() -> None:
    source = FootageSource(kind="footage", clips=2, versions=5, recoloured=0.5, world=SMALL)
    assert {(drawing.versions, drawing.recoloured) for drawing in drawings_of(source)} == {(5, 0.5)}


def test_whatever_changes_a_clip_changes_its_name() -> None:
    one = Drawing("synthetic", "training", SMALL, 0)
    others = [
        Drawing("footage", "training", SMALL, 0),
        Drawing("synthetic", "held-out", SMALL, 0),
        Drawing("synthetic", "training", WorldConfig(size=32, segments=7), 0),
        Drawing("synthetic", "training", SMALL, 1),
        Drawing("footage", "training", SMALL, 0, versions=3),
        Drawing("footage", "training", SMALL, 0, recoloured=0.5),
    ]
    names = {drawing.name("codec") for drawing in (one, *others)} | {one.name("another codec")}
    assert len(names) == len(others) + 2
    assert one.name("codec") == Drawing("synthetic", "training", WorldConfig(size=32, segments=6), 0).name("codec")


def test_the_code_that_draws_is_part_of_it() -> None:
    assert len(set(painters().values())) == len(PAINTERS)


def test_the_clip_is_that_of_the_source() -> None:
    drawn = draw_clip(Drawing("synthetic", "held-out", SMALL, 4), Path("nowhere"))
    assert np.array_equal(drawn.source, training_clip(SMALL, 4, "held-out").source)
