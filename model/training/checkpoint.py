"""The state of a training run on disk: all that the next step depends on, so that a resumed run is the same run.

One safetensors file by step: weights, their running mean, and the optimiser's moments, by parameter name. Random
numbers need no state, since each step draws its own. Written whole or not at all; the newest two are kept, so that a
run goes on from the older one where a disk lost the newest.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from model.errors import StoreError
from model.training.sharding import placed_as, whole

STEP = re.compile(r"step-(\d{8})\.safetensors")
KEPT = 2
MOMENTS = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")  # of AdamW, and of Muon; none before a first gradient


def state_of(
    weights: dict[str, nn.Parameter], mean: dict[str, Tensor], optimisers: Sequence[Optimizer]
) -> dict[str, Tensor]:
    """All tensors of a state, whole, on the CPU. All workers call it together."""
    tensors = {f"weights/{name}": parameter.detach() for name, parameter in weights.items()}
    tensors |= {f"mean/{name}": tensor for name, tensor in mean.items()}
    owners = _owners(optimisers)
    for name, parameter in weights.items():
        moments = owners[parameter].state.get(parameter, {})
        tensors |= {f"{kind}/{name}": value for kind, value in moments.items()}
    return {name: whole(tensor.detach()).cpu().contiguous() for name, tensor in tensors.items()}


def save_state(folder: Path, step: int, tensors: dict[str, Tensor]) -> Path:
    """Write the state after `step` steps, and remove those before the last two."""
    path = folder / f"step-{step:08d}.safetensors"
    unfinished = path.with_suffix(".unfinished")
    save_file(tensors, unfinished)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())  # a power cut leaves no empty file of the final name
    unfinished.rename(path)
    for _, old in _states(folder)[:-KEPT]:
        old.unlink()
    return path


def load_state(
    folder: Path, weights: dict[str, nn.Parameter], mean: dict[str, Tensor], optimisers: Sequence[Optimizer]
) -> int:
    """Put back the newest state that can be read; returns its step, 0 where there is none.

    Raises:
        StoreError: the state is of another model, or none of them can be read.
    """
    states = _states(folder)
    if not states:
        return 0
    step, path, tensors = _newest_whole(states)
    if missing := [name for name in weights if f"weights/{name}" not in tensors]:
        raise StoreError(f"{path}: lacks {missing[0]} of the model to be trained; choose another folder")
    owners = _owners(optimisers)
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(placed_as(tensors[f"weights/{name}"], parameter))
            mean[name].copy_(placed_as(tensors[f"mean/{name}"], parameter))
            kept = {kind: tensors[f"{kind}/{name}"] for kind in MOMENTS if f"{kind}/{name}" in tensors}
            owners[parameter].state[parameter] = {kind: _placed(kind, value, parameter) for kind, value in kept.items()}
    return step


def _newest_whole(states: Sequence[tuple[int, Path]]) -> tuple[int, Path, dict[str, Tensor]]:
    for step, path in reversed(states):
        try:
            return step, path, load_file(path)
        except SafetensorError:
            continue
    raise StoreError(f"{states[-1][1]}: is damaged, and so is every state before it; remove them to begin anew")


def _owners(optimisers: Sequence[Optimizer]) -> dict[nn.Parameter, Optimizer]:
    """Which of them moves a parameter."""
    return {each: one for one in optimisers for group in one.param_groups for each in group["params"]}


def _placed(kind: str, value: Tensor, parameter: Tensor) -> Tensor:
    """Adam counts its steps on the CPU."""
    return value if kind == "step" else placed_as(value, parameter)


def _states(folder: Path) -> list[tuple[int, Path]]:
    found = ((STEP.fullmatch(path.name), path) for path in folder.glob("step-*.safetensors"))
    return sorted((int(match[1]), path) for match, path in found if match)
