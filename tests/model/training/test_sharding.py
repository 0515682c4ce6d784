"""Weights in parts: workers that use unlike ones step together."""

from pathlib import Path

from tests.model.training.workers import told_by_workers

UNLIKE = """
from torch import nn
from model.training.sharding import drop_unused, shard, whole

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.always, self.sometimes, self.never = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, given, more):
        return self.sometimes(self.always(given)) if more else self.always(given)

model = shard(Model())
model(torch.ones(2, 4), rank == 0).sum().backward()
drop_unused(model.parameters())
with_gradient = [name for name, each in model.named_parameters() if each.grad is not None]
told = [with_gradient, whole(model.sometimes.bias.grad).tolist()]
"""


def test_what_one_worker_uses_alone_is_shared_and_what_none_uses_has_no_gradient(tmp_path: Path) -> None:
    """The worker that had no use for a layer stands for zeros: its bias has half of the other's gradient of 2."""
    used = [f"{layer}.{kind}" for layer in ("always", "sometimes") for kind in ("weight", "bias")]
    assert told_by_workers(UNLIKE, tmp_path) == [[used, [1.0] * 4]] * 2
