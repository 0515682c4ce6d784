"""Weights in parts: workers that use unlike ones step together."""

import json
import subprocess
import sys
from pathlib import Path

WORKER = """
import json
import sys
from datetime import timedelta
from pathlib import Path
import torch
import torch.distributed as dist
from torch import nn
from model.training.sharding import drop_unused, shard, whole

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.always, self.sometimes, self.never = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, given, more):
        return self.sometimes(self.always(given)) if more else self.always(given)

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
meeting = f"file://{folder / 'meeting'}"
dist.init_process_group("gloo", meeting, rank=rank, world_size=2, timeout=timedelta(seconds=60))
model = shard(Model())
model(torch.ones(2, 4), rank == 0).sum().backward()
drop_unused(model.parameters())
with_gradient = [name for name, each in model.named_parameters() if each.grad is not None]
told = [with_gradient, whole(model.sometimes.bias.grad).tolist()]
(folder / f"{rank}.json").write_text(json.dumps(told))
dist.destroy_process_group()
"""


def test_what_one_worker_uses_alone_is_shared_and_what_none_uses_has_no_gradient(tmp_path: Path) -> None:
    """The worker that had no use for a layer stands for zeros: its bias has half of the other's gradient of 2."""
    command = [sys.executable, "-c", WORKER]
    workers = [subprocess.Popen([*command, str(rank), str(tmp_path)], stderr=subprocess.PIPE) for rank in range(2)]
    try:
        faults = [worker.communicate(timeout=120)[1].decode() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    used = [f"{layer}.{kind}" for layer in ("always", "sometimes") for kind in ("weight", "bias")]
    assert [worker.returncode for worker in workers] == [0, 0], faults
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [[used, [1.0] * 4]] * 2
