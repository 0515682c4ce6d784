"""Extenders and the Encoder at work: what is no fault of a pair ends the run, or costs it nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.backbones.tiny import build_tiny_lucy_edit
from model.backbones.tiny_framepack import build_tiny_framepack
from model.config import ExtensionConfig
from model.errors import LostActorError, WeightsError
from storage.datasets.pairs import Entry, Pair
from tasks.actors.extender import ExtendJob
from tasks.extending import extend_together

JOB = ExtendJob(32, 48, 33, 33, 0, ExtensionConfig())


def test_a_model_that_does_not_load_ends_the_run_before_a_pair_is_tried(cluster: None, tmp_path: Path) -> None:
    """Else each pair would be extended, at great cost, and then be blamed for it."""
    framepack, weights = build_tiny_framepack(tmp_path / "framepack"), build_tiny_lucy_edit(tmp_path / "weights")
    next((weights / "vae").glob("*.safetensors")).unlink()
    video = tmp_path / "video.mp4"
    pairs = iter([Pair(Entry(name, "film", "swap"), video, video) for name in "ab"])
    with pytest.raises(WeightsError, match=f"{weights}: its codec does not load"):
        list(extend_together(pairs, str(framepack), str(weights), "cpu", 1, lambda pair: JOB))
    assert len(list(pairs)) == 2


class Deadly(int):
    """A number that ends each process of the actors `of` which is given it."""

    of: str

    def __reduce__(self) -> tuple[object, tuple[str]]:
        title = "open('/proc/self/cmdline').read()"
        return eval, (f"__import__('os')._exit(1) if 'ray::{self.of}' in {title} else {int(self)}",)


def deadly(value: int, of: str) -> Deadly:
    number = Deadly(value)
    number.of = of
    return number


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_pair_that_ends_a_process_takes_no_other_along(count: int, cluster: None, tmp_path: Path) -> None:
    """Two are in flight on an Extender, and those of all Extenders at the Encoder."""
    framepack, weights = build_tiny_framepack(tmp_path / "framepack"), build_tiny_lucy_edit(tmp_path / "weights")
    short = np.zeros((9, 32, 48, 3), np.uint8)  # than a segment, and so not continued
    pairs = [Pair(Entry(name, "film", "swap"), short, short) for name in "abcdefgh"]
    jobs = {
        "c": replace(JOB, seed=deadly(0, "Extender")),
        "f": replace(JOB, segment_frames=deadly(33, "Encoder")),
    }
    made = extend_together(pairs, str(framepack), str(weights), "cpu", count, lambda pair: jobs.get(pair.entry.id, JOB))
    outcomes = {pair.entry.id: outcome for pair, outcome in made}
    assert sorted(outcomes) == list("abcdefgh")
    assert {name for name, outcome in outcomes.items() if isinstance(outcome, LostActorError)} == set("cf")
    assert all(outcome.clip_frames == 9 for name, outcome in outcomes.items() if name not in "cf")
