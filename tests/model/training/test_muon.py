"""Muon: directions kept, stretches evened out, and steps that are torch's own but for its bfloat16."""

from pathlib import Path

import pytest
import torch
from torch import nn

from model.training.muon import Muon, orthogonalise
from tests.model.training.workers import told_by_workers

SHAPES = [(24, 24), (16, 48), (48, 16)]


def some_matrix(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_all_directions_are_stretched_alike(shape: tuple[int, int]) -> None:
    matrix = some_matrix(shape)
    left, before, right = torch.linalg.svd(matrix, full_matrices=False)
    assert before.max() / before.min() > 3
    after = torch.diagonal(left.T @ orthogonalise(matrix) @ right.T)
    assert 0.5 < after.min() <= after.max() < 1.3
    assert orthogonalise(matrix) == pytest.approx(left @ torch.diag(after) @ right, abs=1e-4)


def test_nothing_stays_nothing() -> None:
    assert torch.equal(orthogonalise(torch.zeros(3, 5)), torch.zeros(3, 5))


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_are_those_of_torch(shape: tuple[int, int]) -> None:
    ours, theirs = (nn.Parameter(some_matrix(shape)) for _ in range(2))
    one = Muon([{"params": [ours], "lr": 0.01}], weight_decay=0.1)
    other = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    begun = ours.detach().clone()
    for seed in range(1, 4):
        for each, optimiser in ((ours, one), (theirs, other)):
            each.grad = some_matrix(shape, seed)
            optimiser.step()
    moved = theirs.detach() - begun
    assert (ours.detach() - begun).norm() == pytest.approx(float(moved.norm()), rel=0.02)
    assert (ours.detach() - theirs.detach()).norm() < 0.05 * moved.norm()


def test_what_has_no_gradient_does_not_move() -> None:
    still = nn.Parameter(some_matrix((4, 4)))
    optimiser = Muon([{"params": [still], "lr": 0.1}], weight_decay=0.1)
    optimiser.step()
    assert torch.equal(still, some_matrix((4, 4)))
    assert not optimiser.state


SHARED = """
from model.training import muon
from tests.model.training.test_muon import SHAPES, some_matrix

alone = []
def counted(matrix, orthogonalise=muon.orthogonalise):
    alone.append(list(matrix.shape))
    return orthogonalise(matrix)
muon.orthogonalise = counted
told = [[each.tolist() for each in muon.share_out([some_matrix(shape) for shape in SHAPES])], alone]
"""


def test_workers_share_the_work_and_have_the_bits_of_one_that_does_all(tmp_path: Path) -> None:
    whole = [orthogonalise(some_matrix(shape)).tolist() for shape in SHAPES]
    first, second = told_by_workers(SHARED, tmp_path)
    assert first[0] == second[0] == whole
    assert [first[1], second[1]] == [[[24, 24], [48, 16]], [[16, 48]]]
