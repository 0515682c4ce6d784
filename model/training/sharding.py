"""Weights, gradients and the optimiser's moments in parts, one to a worker (FSDP): whole tensors come out and go in.

The transformer is one unit: a forward pass gathers all of it, since merging asks blocks for their queries and keys from
outside. What is saved is what training holds between passes, most of which are moments. Every function that makes a
tensor whole waits for all workers.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(transformer: nn.Module) -> nn.Module:
    """Spread its parameters over all workers of this process group; every parameter becomes another one.

    What only some workers use at a step, where their clips allow unlike numbers of memories, the others share as zeros:
    otherwise they would wait for one another for ever.

    They are gathered anew for every pass: left gathered, as is the default, those of a validation with averaged weights
    would be what the next step is taken with.
    """
    device = next(transformer.parameters()).device.type
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    fully_shard(transformer, mesh=mesh, reshard_after_forward=True).set_reduce_scatter_unused_params(True)
    return transformer


def drop_unused(parameters: Iterable[nn.Parameter]) -> None:
    """Take away gradients that are zeros on all workers, so that what none of them used stays as it is."""
    parts = [each for each in parameters if isinstance(each.grad, DTensor)]
    if not parts:
        return
    gradients: list[Any] = [each.grad for each in parts]
    used = torch.stack([gradient.to_local().count_nonzero() for gradient in gradients])
    dist.all_reduce(used, dist.ReduceOp.MAX)
    for each, count in zip(parts, used.tolist(), strict=True):
        if count == 0:
            each.grad = None


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or all parts of it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed_as(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of `like`, and in parts if that is."""
    moved = tensor.to(like.device)
    if not isinstance(like, DTensor):
        return moved
    mesh: Any = like.device_mesh
    return distribute_tensor(moved, mesh, like.placements)
