"""States on disk: all of what the next step depends on, the newest two, whole or not at all."""

from pathlib import Path

import pytest
import torch
from torch import nn

from model.errors import StoreError
from model.training.checkpoint import load_state, save_state, state_of


class Learner:
    """A layer of which one parameter has never had a gradient."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.layer = nn.Linear(3, 2)
        self.weights = dict(self.layer.named_parameters())
        self.mean = {name: torch.randn(parameter.shape) for name, parameter in self.weights.items()}
        self.optimiser = torch.optim.AdamW(self.layer.parameters(), lr=0.1)

    def step(self) -> None:
        self.layer.weight.grad = torch.ones(2, 3)
        self.optimiser.step()

    def save(self, folder: Path, step: int) -> Path:
        return save_state(folder, step, state_of(self.weights, self.mean, [self.optimiser]))

    def load(self, folder: Path) -> int:
        return load_state(folder, self.weights, self.mean, [self.optimiser])


def test_the_next_step_is_the_same(tmp_path: Path) -> None:
    one, other = Learner(0), Learner(1)
    one.step()
    one.save(tmp_path, 7)
    assert other.load(tmp_path) == 7
    one.step()
    other.step()
    for name, parameter in one.weights.items():
        assert torch.equal(parameter, other.weights[name])
        assert torch.equal(one.mean[name], other.mean[name])


def test_an_empty_folder_is_the_beginning(tmp_path: Path) -> None:
    assert Learner(0).load(tmp_path / "nothing") == 0


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    learner = Learner(0)
    learner.step()
    for step in (1, 2, 10):
        learner.save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000002.safetensors",
        "step-00000010.safetensors",
    ]
    (tmp_path / "step-00000011.unfinished").write_bytes(b"cut off")
    assert learner.load(tmp_path) == 10
    (tmp_path / "step-00000010.safetensors").write_bytes(b"")
    assert learner.load(tmp_path) == 2, "a disk may lose what was written last"
    (tmp_path / "step-00000002.safetensors").write_bytes(b"")
    with pytest.raises(StoreError, match="is damaged, and so is every state before it"):
        learner.load(tmp_path)
