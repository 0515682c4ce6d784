"""Who attends to whom, and self-attention that can be told so.

`joint` (the paper): every token attends to every token. `cached` (ours): memory attends to memory only, and what the
user gave and the target attend to everything. Memory then runs at timestep 0 under one fixed text, so its keys and
values are the same at every step and in both guidance branches: computed once a segment, kept by block. Seclusion takes
two calls of the attention kernel, never a mask of length squared; only samples that lack a memory need a mask, by key.
Legend: B batch, L tokens, K keys, N heads, H head size, D width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor

KeyValue = tuple[Tensor, Tensor]
"""Keys, after norm and rotation, and values of one block, `[B, K, N, H]`."""


@dataclass(frozen=True)
class MemoryCache:
    """Keys and values of all memory tokens, by block; `present` `[B, K]` by block where samples differ."""

    blocks: tuple[KeyValue, ...]
    present: tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Visibility:
    """Who may look where.

    With `live_length` only so many tokens look everywhere, and those behind them at one another alone. `present`
    `[B, K]` are the keys that a sample really has, own and past; None where all have all.
    """

    live_length: int | None = None
    present: Tensor | None = None


EVERYWHERE = Visibility()


def attend(
    attention: Any,
    hidden: Tensor,
    rotary: tuple[Tensor, Tensor],
    visible: Visibility = EVERYWHERE,
    past: KeyValue | None = None,
) -> tuple[Tensor, KeyValue]:
    """Self-attention of a Wan block over `hidden` `[B, L, D]` and, where given, `past` keys and values behind it.

    Returns the output, and the own keys and values, the past ones aside.
    """
    query, key = queries(attention, hidden, rotary), keys(attention, hidden, rotary)
    value = attention.to_v(hidden).unflatten(2, (attention.heads, -1))
    seen = (key, value) if past is None else _behind((key, value), past)
    mixed = _look(attention, query, seen, visible).flatten(2, 3).type_as(query)
    return attention.to_out[1](attention.to_out[0](mixed)), (key, value)


def read(attention: Any, hidden: Tensor, text: KeyValue) -> Tensor:
    """Cross-attention of a Wan block over the keys and values of a text, `[B, L, D]`."""
    query = attention.norm_q(attention.to_q(hidden)).unflatten(2, (attention.heads, -1))
    mixed = _mix(attention, query, text, None).flatten(2, 3).type_as(query)
    return attention.to_out[1](attention.to_out[0](mixed))


def text_keys(attention: Any, text: Tensor) -> KeyValue:
    """Keys, normalised, and values of a text `[B, words, D]`: all that cross-attention wants of it."""
    key, value = attention.norm_k(attention.to_k(text)), attention.to_v(text)
    return key.unflatten(2, (attention.heads, -1)), value.unflatten(2, (attention.heads, -1))


def queries(attention: Any, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Queries `[B, L, N, H]`, normalised and rotated."""
    return rotate(attention.norm_q(attention.to_q(hidden)).unflatten(2, (attention.heads, -1)), rotary)


def keys(attention: Any, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Keys `[B, L, N, H]`, normalised and rotated."""
    return rotate(attention.norm_k(attention.to_k(hidden)).unflatten(2, (attention.heads, -1)), rotary)


def rotate(states: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate pairs of `[B, L, N, H]` by the angles of `rotary` `[B or 1, L, 1, H]`."""
    cos, sin = rotary[0][..., 0::2], rotary[1][..., 1::2]
    first, second = states.unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return rotated.flatten(-2).type_as(states)


def _behind(own: KeyValue, past: KeyValue) -> KeyValue:
    """Own keys and values with the past ones behind them, for every sample."""
    batch, dtype = own[0].shape[0], own[0].dtype
    key, value = (
        torch.cat([mine, theirs.to(dtype).expand(batch, -1, -1, -1)], dim=1)
        for mine, theirs in zip(own, past, strict=True)
    )
    return key, value


def _look(attention: Any, query: Tensor, seen: KeyValue, visible: Visibility) -> Tensor:
    """What every query sees, `[B, L, N, H]`."""
    live = visible.live_length
    if live is None or live == query.shape[1]:
        return _mix(attention, query, seen, visible.present)
    memory = slice(live, query.shape[1])
    own = None if visible.present is None else _never_blind(visible.present[:, memory])
    secluded = _mix(attention, query[:, memory], (seen[0][:, memory], seen[1][:, memory]), own)
    if live == 0:
        return secluded
    return torch.cat([_mix(attention, query[:, :live], seen, visible.present), secluded], dim=1)


def _mix(attention: Any, query: Tensor, seen: KeyValue, present: Tensor | None) -> Tensor:
    mask = None if present is None else present[:, None, None, :]
    backend = attention.processor._attention_backend
    return dispatch_attention_fn(query, *seen, attn_mask=mask, backend=backend)


def _never_blind(present: Tensor) -> Tensor:
    """A query without any key would be NaN: a sample that has no memory at all may look at its empty places."""
    return present | ~present.any(dim=1, keepdim=True)
