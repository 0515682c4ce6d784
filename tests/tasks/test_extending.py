"""Extenders and the Encoder at work: what is no fault of a pair ends the run."""

from pathlib import Path

import pytest

from model.backbones.tiny import build_tiny_lucy_edit
from model.backbones.tiny_framepack import build_tiny_framepack
from model.config import ExtensionConfig
from model.errors import WeightsError
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
