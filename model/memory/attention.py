"""Who attends to whom, and self-attention that can be told so.

`joint` (the paper): every token attends to every token. `cached` (ours): memory attends to memory only, and what the
user gave and the target attend to everything. Memory then runs at timestep 0 under one fixed text, so its keys and
values are the same at every step and in both guidance branches: computed once a segment, kept by block.
Legend: B batch, L tokens, K keys, N heads, H head size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor, nn

from model.memory.sequence import Part

KeyValue = tuple[Tensor, Tensor]
"""Keys, after norm and rotation, and values of one block, `[B, K, N, H]`."""


@dataclass(frozen=True)
class MemoryCache:
    """Keys and values of all memory tokens, by block; `present` `[B, K]` by block where samples differ."""

    blocks: tuple[KeyValue, ...]
    present: tuple[Tensor | None, ...]


def attend(
    attention: nn.Module,
    hidden: Tensor,
    rotary: tuple[Tensor, Tensor],
    visible: Tensor | None = None,
    past: KeyValue | None = None,
) -> tuple[Tensor, KeyValue]:
    """Self-attention of a Wan block over `hidden` `[B, L, D]` and, where given, `past` keys and values behind it.

    `visible` is boolean, `[B or 1, 1, L, K]`. Returns the output and the own keys and values, the past ones aside.
    """
    query, key = project_query_key(attention, hidden, rotary)
    value = attention.to_v(hidden).unflatten(2, (attention.heads, -1))
    own = (key, value)
    if past is not None:
        batch = key.shape[0]
        key, value = (
            torch.cat([mine, theirs.to(mine.dtype).expand(batch, -1, -1, -1)], dim=1)
            for mine, theirs in zip(own, past, strict=True)
        )
    backend = attention.processor._attention_backend
    mixed = dispatch_attention_fn(query, key, value, attn_mask=visible, backend=backend).flatten(2, 3).type_as(query)
    return attention.to_out[1](attention.to_out[0](mixed)), own


def project_query_key(
    attention: nn.Module, hidden: Tensor, rotary: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Queries and keys `[B, L, N, H]`, normalised and, where positions are given, rotated."""
    projections = (attention.norm_q(attention.to_q(hidden)), attention.norm_k(attention.to_k(hidden)))
    query, key = (each.unflatten(2, (attention.heads, -1)) for each in projections)
    return (query, key) if rotary is None else (rotate(query, rotary), rotate(key, rotary))


def rotate(states: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate pairs of `[B, L, N, H]` by the angles of `rotary` `[B or 1, L, 1, H]`."""
    cos, sin = rotary[0][..., 0::2], rotary[1][..., 1::2]
    first, second = states.unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return rotated.flatten(-2).type_as(states)


def visibility(
    target_length: int, parts: Sequence[Part], cached: bool, past_present: Tensor | None = None, past_length: int = 0
) -> Tensor | None:
    """The mask `[B or 1, 1, L, K]`, True where a query may look; None where everybody may look everywhere.

    Keys are the own tokens, then `past_length` cached ones.
    """
    absent = any(part.present is not None for part in parts) or past_present is not None
    secluded = cached and any(not part.live for part in parts)
    if not absent and not secluded:
        return None
    device = parts[0].tokens.device if parts else past_present.device  # type: ignore[union-attr]
    memory = torch.cat([_label(target_length, False, device), *(_label(p.length, not p.live, device) for p in parts)])
    looks_ahead = ~memory[:, None] | memory[None, :]
    allowed = looks_ahead if cached else torch.ones_like(looks_ahead)
    allowed = torch.nn.functional.pad(allowed, (0, past_length), value=True)[None]
    keys = _present(target_length, parts, past_present, past_length)
    return (allowed if keys is None else allowed & keys[:, None, :])[:, None]


def token_presence(part: Part) -> Tensor | None:
    """Which tokens of a part a sample really has, `[B, L]`."""
    return None if part.present is None else part.present.repeat_interleave(part.tokens_per_frame, dim=1)


def _present(target_length: int, parts: Sequence[Part], past_present: Tensor | None, past_length: int) -> Tensor | None:
    known = [part.present for part in parts if part.present is not None] + (
        [] if past_present is None else [past_present]
    )
    if not known:
        return None
    batch, device = known[0].shape[0], known[0].device
    everywhere = torch.ones(batch, 1, dtype=torch.bool, device=device)
    columns = [everywhere.expand(-1, target_length)]
    for part in parts:
        presence = token_presence(part)
        columns.append(everywhere.expand(-1, part.length) if presence is None else presence)
    columns.append(everywhere.expand(-1, past_length) if past_present is None else past_present)
    return torch.cat(columns, dim=1)


def _label(length: int, value: bool, device: torch.device) -> Tensor:
    return torch.full((length,), value, dtype=torch.bool, device=device)
