"""Muon (Jordan et al. 2024): momentum, its matrix turned into one that stretches all its directions alike.

torch has it too, in bfloat16 alone, which takes twenty times as long on processors that have no such products, and
many a small model is trained on one. Here it is float32 there, and bfloat16 on a card. Knows no model.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
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
        moving = [(each, group) for group in self.param_groups for each in group["params"] if each.grad is not None]
        updates = share_out([self._lead(matrix, group["momentum"]) for matrix, group in moving])
        for (matrix, group), update in zip(moving, updates, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(update, alpha=-group["lr"] * SIZE_OF_ADAM * math.sqrt(max(matrix.shape)))

    def _lead(self, matrix: Tensor, momentum: float) -> Tensor:
        """The mean of the gradients, a step ahead, as Nesterov looks."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        mean = state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(mean, momentum)


def share_out(matrices: Sequence[Tensor]) -> list[Tensor]:
    """All of them orthogonalised, each by one of the workers that train together, who hold the same ones.

    The bits are those of a worker that does all of it.
    """
    count = dist.get_world_size() if dist.is_initialized() else 1
    if count == 1 or not matrices:
        return [orthogonalise(each) for each in matrices]
    mine = dist.get_rank()
    parts = [
        orthogonalise(each) if number % count == mine else torch.zeros_like(each)
        for number, each in enumerate(matrices)
    ]
    together = torch.cat([part.flatten() for part in parts])
    dist.all_reduce(together)
    whole = together.split([part.numel() for part in parts])
    return [each.view_as(part) for each, part in zip(whole, parts, strict=True)]


def orthogonalise(matrix: Tensor) -> Tensor:
    """The `[rows, columns]` matrix with singular values near 1, by Newton and Schulz' iteration."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide.to(torch.bfloat16 if matrix.is_cuda else torch.float32)
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(ROUNDS):
        squared = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(squared, squared, squared, beta=CUBIC, alpha=QUINTIC), wide, beta=LINEAR)
    return (wide if matrix.shape[0] <= matrix.shape[1] else wide.T).to(matrix.dtype)
