"""Compile the blocks of a toy transformer and compare: `python -m tests.model.backbones.compiled [BACKEND]`.

A program of its own, since the compiler cannot see through the shape checks that the tests put into the code. Prints
how many graphs were made, and the largest difference.
"""

import sys

import torch

from model.backbones.transformer import Conditioning
from model.config import MergeConfig
from tests.model.toy import TEXT, memories, predict, target, toy_transformer


@torch.no_grad()
def main(backend: str) -> None:
    """In joint attention with merging, where lengths change on the way, and with a cache."""
    model, given = toy_transformer(), target()
    joint = Conditioning(memories(), MergeConfig(fraction=0.5))
    fixed = Conditioning(memories(), cached=True, memory_text=torch.randn(1, 4, TEXT))

    def results() -> list[torch.Tensor]:
        cached = Conditioning(cached=True, cache=model.remember(fixed))
        return [predict(model, given, each) for each in (joint, cached)]

    expected = results()
    model.compile_repeated_blocks(backend=backend, fullgraph=True)
    found = results()
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    difference = max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True))
    print(graphs, difference)


if __name__ == "__main__":
    main(*sys.argv[1:])
