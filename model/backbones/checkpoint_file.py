"""Read a `.ckpt`: the one place that calls `torch.load`, and nothing but tensors comes out of it.

The restricted unpickler has been broken before, and a sparse tensor with false indices crashes on use. So the file
must be a regular one in torch's zip format, and its content a flat table of dense floating-point tensors; converters
compare every name and shape with the model before anything is used. Our own files are safetensors: this is for what
others publish.
"""

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from model.errors import WeightsError, first_line

UnpicklingError = torch.serialization.pickle.UnpicklingError  # pyright: ignore[reportPrivateImportUsage]
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
WRAPPING_KEYS = ("state_dict", "module", "model")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors of `path` by name, on the CPU, as they are stored. Raises `WeightsError` for anything else."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise WeightsError(f"{path.name} is no torch checkpoint; give a .ckpt file as its authors published it")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, UnpicklingError) as error:
        reason = first_line(error)
        raise WeightsError(f"{path.name} holds more than tensors or is damaged and is not opened: {reason}") from error
    return {name: _dense(name, tensor, path.name) for name, tensor in _table(content, path.name).items()}


def _table(content: object, file: str) -> dict[str, object]:
    """The table of tensors itself, which some trainers put under one more key."""
    for key in WRAPPING_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(name, str) for name in content):
        raise WeightsError(f"{file} is no table of named tensors; give a state dict")
    return content


def _dense(name: str, tensor: object, file: str) -> Tensor:
    if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or tensor.dtype not in DTYPES:
        kind = f"a {tensor.layout} tensor of {tensor.dtype}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise WeightsError(f"{name[:80]!r} in {file} is {kind}; only dense floating-point tensors are accepted")
    return tensor.detach()
