"""Only flat tables of dense tensors come out of a `.ckpt`."""

import os
from pathlib import Path

import pytest
import torch

from model.backbones.checkpoint_file import read_checkpoint
from model.errors import WeightsError


class Tampering:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def saved(tmp_path: Path, content: object) -> Path:
    torch.save(content, tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


@pytest.mark.parametrize("wrap", [lambda table: table, lambda table: {"state_dict": table, "epoch": 3}])
def test_tensors_come_out_as_they_went_in(tmp_path: Path, wrap) -> None:
    table = {"a.weight": torch.randn(2, 3), "b": torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))}
    read = read_checkpoint(saved(tmp_path, wrap(table)))
    assert read.keys() == table.keys()
    assert all(torch.equal(read[name], table[name]) and read[name].dtype == table[name].dtype for name in table)
    assert not read["b"].requires_grad


def test_code_is_not_run(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": Tampering(tmp_path / "canary")})
    with pytest.raises(WeightsError, match="more than tensors"):
        read_checkpoint(path)
    assert not (tmp_path / "canary").exists()
    torch.load(path, weights_only=False)  # the control: without the guard the code runs
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.eye(3).to_sparse()}, "sparse_coo"),
        ({"a": torch.ones(3, dtype=torch.int64)}, "int64"),
        ({"a": [1, 2]}, "'a' in x.ckpt is list"),
        ({7: torch.ones(1)}, "no table of named tensors"),
        ([torch.ones(1)], "no table of named tensors"),
        ({}, "no table of named tensors"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(saved(tmp_path, content))


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": torch.randn(50, 50)})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WeightsError, match="no torch checkpoint"):
        read_checkpoint(path)
    with pytest.raises(WeightsError, match="no torch checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")
    os.mkfifo(tmp_path / "pipe.ckpt")
    with pytest.raises(WeightsError, match="no torch checkpoint"):
        read_checkpoint(tmp_path / "pipe.ckpt")
