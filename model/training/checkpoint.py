"""The state of a training run on disk: all that the next step depends on, so that a resumed run is the same run.

One safetensors file by step: weights, their running mean, and the optimiser's moments, by parameter name. Random
numbers need no state, since each step draws its own. Written whole or not at all; the newest two are kept.
"""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.errors import StoreError

STEP = re.compile(r"step-(\d{8})\.safetensors")
KEPT = 2
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of AdamW; a parameter that had no gradient yet has none


def save_state(
    folder: Path, step: int, weights: dict[str, nn.Parameter], mean: dict[str, Tensor], optimiser: torch.optim.Optimizer
) -> Path:
    """Write the state after `step` steps, and remove those before the last two."""
    tensors = {f"weights/{name}": parameter.detach() for name, parameter in weights.items()}
    tensors |= {f"mean/{name}": tensor for name, tensor in mean.items()}
    for name, parameter in weights.items():
        tensors |= {f"{kind}/{name}": value for kind, value in optimiser.state[parameter].items()}
    path = folder / f"step-{step:08d}.safetensors"
    unfinished = path.with_suffix(".unfinished")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, unfinished)
    unfinished.rename(path)
    for _, old in _states(folder)[:-KEPT]:
        old.unlink()
    return path


def load_state(
    folder: Path, weights: dict[str, nn.Parameter], mean: dict[str, Tensor], optimiser: torch.optim.Optimizer
) -> int:
    """Put back the newest state; returns its step, 0 where there is none.

    Raises:
        StoreError: the state is of another model.
    """
    states = _states(folder)
    if not states:
        return 0
    step, path = states[-1]
    tensors = load_file(path)
    if missing := [name for name in weights if f"weights/{name}" not in tensors]:
        raise StoreError(f"{path}: lacks {missing[0]} of the model to be trained; choose another folder")
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(tensors[f"weights/{name}"])
            mean[name].copy_(tensors[f"mean/{name}"])
            kept = {kind: tensors[f"{kind}/{name}"] for kind in MOMENTS if f"{kind}/{name}" in tensors}
            optimiser.state[parameter] = {kind: value.to(_home(kind, parameter)) for kind, value in kept.items()}
    return step


def _home(kind: str, parameter: Tensor) -> torch.device:
    """Adam counts its steps on the CPU."""
    return torch.device("cpu") if kind == "step" else parameter.device


def _states(folder: Path) -> list[tuple[int, Path]]:
    found = ((STEP.fullmatch(path.name), path) for path in folder.glob("step-*.safetensors"))
    return sorted((int(match[1]), path) for match, path in found if match)
