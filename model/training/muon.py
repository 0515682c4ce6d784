"""Muon (Jordan et al. 2024): momentum, its matrix turned into one that stretches all its directions alike.

torch has it too, in bfloat16 alone, which takes twenty times as long on processors that have no such products, and
many a small model is trained on one. Here it is float32 there, and bfloat16 on a card. Knows no model.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

ROUNDS = 5
LINEAR, CUBIC, QUINTIC = 3.4445, -4.775, 2.0315  # Jordan's: they bring singular values near 1, to some .7 to 1.2
SIZE_OF_ADAM = 0.2  # root mean square of an update by AdamW


class Muon(Optimizer):
    """For matrices alone; `groups` have `params`, and `lr`. The state of a matrix is its `momentum_buffer`.

    Updates are scaled to the size of AdamW's (Liu et al. 2025, section 2.2), so that rates mean the same.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        super().__init__(groups, {"lr": 1e-3, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move every matrix that has a gradient."""
        assert closure is None, "losses are not computed again"
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._move(matrix, matrix.grad, group)

    def _move(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        momentum, rate = group["momentum"], group["lr"]
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        mean = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        update = orthogonalise(gradient.lerp(mean, momentum))  # a step ahead, as Nesterov looks
        matrix.mul_(1 - rate * group["weight_decay"])
        matrix.add_(update, alpha=-rate * SIZE_OF_ADAM * math.sqrt(max(matrix.shape)))


def orthogonalise(matrix: Tensor) -> Tensor:
    """The `[rows, columns]` matrix with singular values near 1, by Newton and Schulz' iteration."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide.to(torch.bfloat16 if matrix.is_cuda else torch.float32)
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(ROUNDS):
        squared = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(squared, squared, squared, beta=CUBIC, alpha=QUINTIC), wide, beta=LINEAR)
    return (wide if matrix.shape[0] <= matrix.shape[1] else wide.T).to(matrix.dtype)
