"""The loop: it learns, it averages, it goes on where it was, to the same bits."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.config import MixConfig, OptimConfig, TrainingConfig
from model.errors import RunError, StoreError
from model.training.loop import Point, train
from tests.model.toy import CHANNELS, toy_transformer
from tests.model.training.clips import noise_clips, texts

TEXT = texts("add")
TRAINING, VALIDATION = noise_clips(6), noise_clips(3, seed=1)


class KilledError(Exception):
    """Stands for the end of the process."""


def config(**changes: object) -> TrainingConfig:
    optim = {"trained": "all", "rate": 3e-3, "memory_rate": 3e-3, "warmup": 2, "ema": 0.9} | changes.pop("optim", {})
    fields = {"steps": 12, "batch": 3, "shift": 1.0, "validate_every": 3, "validation_batches": 2, "save_every": 3}
    mix = MixConfig(memories=(0.3, 0.4, 0.3), merge_blocks=(2,))
    return TrainingConfig.model_validate({**fields, "mix": mix, "optim": OptimConfig.model_validate(optim), **changes})


def run(folder: Path, settings: TrainingConfig, killed_at: int | None = None) -> tuple[list[Point], dict[str, Tensor]]:
    def report(point: Point) -> None:
        if point.step == killed_at:
            raise KilledError

    model = toy_transformer(in_channels=2 * CHANNELS)
    curve = train(model, TRAINING, VALIDATION, TEXT, settings, folder, report)
    return curve, model.state_dict()


def assert_same(one: tuple[list[Point], dict[str, Tensor]], other: tuple[list[Point], dict[str, Tensor]]) -> None:
    assert one[0] == other[0]
    assert all(torch.equal(tensor, other[1][name]) for name, tensor in one[1].items())


@pytest.mark.parametrize("by", ["adamw", "muon"])
def test_loss_falls(by: str, tmp_path: Path) -> None:
    curve, _ = run(tmp_path, config(steps=40, validate_every=10, save_every=40, optim={"by": by}))
    assert [point.step for point in curve] == [10, 20, 30, 40]
    assert curve[-1].validation < 0.9 * curve[0].validation
    assert curve[-1].loss < curve[0].loss


@pytest.mark.parametrize("by", ["adamw", "muon"])
def test_a_killed_run_goes_on_to_the_same_bits(by: str, tmp_path: Path) -> None:
    settings = config(optim={"by": by})
    quiet = run(tmp_path / "quiet", settings)
    with pytest.raises(KilledError):
        run(tmp_path / "killed", settings, killed_at=9)
    states = sorted(path.name for path in (tmp_path / "killed").glob("step-*"))
    assert states == ["step-00000003.safetensors", "step-00000006.safetensors"]
    assert_same(run(tmp_path / "killed", settings), quiet)
    assert (tmp_path / "killed/curve.jsonl").read_text() == (tmp_path / "quiet/curve.jsonl").read_text()


def test_a_finished_run_trains_nothing(tmp_path: Path) -> None:
    first = run(tmp_path, config())
    assert_same(run(tmp_path, config(), killed_at=3), first)
    lines = (tmp_path / "curve.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [asdict(point) for point in first[0]]


def test_without_decay_the_mean_is_the_last(tmp_path: Path) -> None:
    """And with it, it is not: the saved weights are the mean."""
    _, last = run(tmp_path / "none", config(optim={"ema": 0.0}))
    _, mean = run(tmp_path / "some", config())
    assert any(not torch.equal(tensor, last[name]) for name, tensor in mean.items())


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    assert run(tmp_path / "a", config())[0] != run(tmp_path / "b", config(seed=1))[0]


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    curve, _ = run(tmp_path, config(steps=3, optim={"accumulate": 2}))
    assert [point.step for point in curve] == [3]


def test_state_of_another_model_is_refused(tmp_path: Path) -> None:
    run(tmp_path, config(steps=3, optim={"trained": "memory+attention"}))
    with pytest.raises(StoreError, match="of the model to be trained"):
        run(tmp_path, config(steps=3))


def test_adapters_begin_by_the_seed_alone(tmp_path: Path) -> None:
    settings = config(optim={"trained": "lora", "lora_rank": 2})
    one = run(tmp_path / "one", settings)
    torch.rand(1)  # from the generator that adapters are drawn from
    assert_same(run(tmp_path / "two", settings), one)
    other = run(tmp_path / "other", settings.model_copy(update={"seed": 1}))
    drawn = [name for name in one[1] if "lora_A" in name]
    assert drawn
    assert any(not torch.equal(one[1][name], other[1][name]) for name in drawn)


def test_a_gradient_that_is_no_number_ends_the_run_and_not_the_weights(tmp_path: Path) -> None:
    """The states before it stay, and the weights are those of the last good step."""
    run(tmp_path, config(steps=3))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = [replace(clip, source=np.full_like(clip.source, np.nan)) for clip in TRAINING]
    model = toy_transformer(in_channels=2 * CHANNELS)
    with pytest.raises(RunError, match=r"step 4: the gradient is nan, so no step was taken"):
        train(model, broken, VALIDATION, TEXT, config(steps=6), tmp_path)
    assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
