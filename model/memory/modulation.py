"""What time it is for every token: the target's timestep, or 0 for memory, which is clean.

A timestep may be given by token (Wan2.2), but few of them differ: each distinct one is embedded once, and blocks look
their modulation up by token, one of its six parts at a time. Nothing of length tokens x 6 x width is ever made.
Legend: B batch, G distinct times, L tokens, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.memory.sequence import Part


@dataclass(frozen=True)
class Times:
    """Distinct timesteps `values` `[B, G]`, and which of them each target token has, `target` `[L]`.

    Behind the target's own stands that of memory, 0, in column `memory`, where there is memory.
    """

    values: Tensor
    target: Tensor
    memory: int

    def of_sequence(self, parts: Sequence[Part]) -> Tensor:
        """The column of every token of the sequence `[L]`; live videos have the last target token's."""
        columns = [self.target]
        for part in parts:
            own = self.target[-1:] if part.live else self.target.new_full((1,), self.memory)
            columns.append(own.expand(part.length))
        return torch.cat(columns)


@dataclass(frozen=True)
class Modulation:
    """Shifts, scales and gates `values` `[B, G, parts, D]`, and the column of each token `[L]` (None: all the same)."""

    values: Tensor
    columns: Tensor | None = None

    def added_to(self, table: Tensor) -> tuple[Tensor, ...]:
        """The parts, each `[B, G, D]` in float32, with a layer's own `table` `[1, parts, D]` added."""
        return (table[:, None].to(self.values.device) + self.values.float()).unbind(2)

    def by_token(self, part: Tensor) -> Tensor:
        """One part `[B, G, D]` by token, `[B, L, D]`, or `[B, 1, D]` where all have the same."""
        return part[:, :1] if self.columns is None else part[:, self.columns]


def times_of(timestep: Tensor, target_length: int, tokens_per_frame: int, memory: bool) -> Times:
    """Times of a timestep `[B]` or `[B, 1]`, or `[B, L]` by target token and the same within a frame; 0 for memory."""
    distinct = timestep[:, None] if timestep.ndim == 1 else timestep[:, ::tokens_per_frame]
    count = distinct.shape[1]
    target = torch.arange(count, device=timestep.device).repeat_interleave(target_length // count)
    values = torch.cat([distinct, torch.zeros_like(distinct[:, :1])], dim=1) if memory else distinct
    return Times(values, target, count)
