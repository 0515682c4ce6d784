"""Wan's video transformer with a memory: the only block loop of this project.

A subclass of diffusers' `WanTransformer3DModel` with dynamic tokenisers (section 3.2), adaptive merging (section 3.3),
hierarchical positions (supplement E) and, where the base has them, cameras by video (Eq. 17). Conditions are appended
behind the target's tokens and cut off before the output. Without conditions, and without cameras, it calls the base
class: equal bit for bit. It knows latents and tokens; what they show, how they were chosen and how noise becomes a
video are the business of others.

Legend: B batch, L tokens, D width, T latent frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from diffusers import ModelMixin, WanTransformer3DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from einops import rearrange
from torch import Tensor, nn

from model.camera.encoder import CameraEncoder
from model.config import MergeConfig
from model.memory.attention import KeyValue, MemoryCache, attend, project_query_key, token_presence, visibility
from model.memory.merging import (
    FrameMerger,
    MergePlan,
    MergeStep,
    choose_frames,
    frame_keys,
    merge_blocks,
    merge_fraction,
    merge_parts,
    responsiveness,
)
from model.memory.rope import memory_rotary
from model.memory.sequence import (
    ConditionVideo,
    Part,
    flatten,
    flatten_cameras,
    flatten_rotary,
    split,
)
from model.memory.tokenizers import BASE_PATCH, MemoryTokenizer, pad_to_multiple

__all__ = ["Conditioning", "MemoryWanTransformer", "ModelMixin"]  # diffusers finds a pipeline's model by ModelMixin

FINE, COARSE = 4, 8


@dataclass(frozen=True)
class Conditioning:
    """What the target is conditioned on in one forward pass.

    `videos` are ordered: the user's video where there is one, then memories, best first. `target_cameras` are `[R|t]`
    by latent frame, `[B, T, 12]`. `cached` lets memory attend to memory only, under `memory_text` `[B, words, text_dim]`;
    with `cache` its keys and values are not computed again, and `videos` holds the live ones alone. A `plan` is obeyed
    instead of scoring.
    """

    videos: tuple[ConditionVideo, ...] = ()
    merging: MergeConfig = field(default_factory=lambda: MergeConfig(mode="off"))
    target_cameras: Tensor | None = None
    cached: bool = False
    memory_text: Tensor | None = None
    cache: MemoryCache | None = None
    plan: MergePlan | None = None

    @property
    def memories(self) -> int:
        return sum(not video.live for video in self.videos)


@dataclass(frozen=True)
class Surroundings:
    """What a block is told besides its hidden states: the mask, the texts by token, the cameras, the cached memory."""

    target_length: int
    visible: Tensor | None = None
    memory_text: Tensor | None = None
    live_length: int = 0
    cameras: Tensor | None = None
    past: KeyValue | None = None


class MemoryBlock(WanTransformerBlock):
    """A Wan block that can be given surroundings; without any it is the base block.

    With `cameras` it has ReCamMaster's two modules: `camera`, added to the modulated input of self-attention, and
    `projector` behind it. They start as zero and as the identity.
    """

    def __init__(self, *arguments: Any, cameras: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if cameras:
            width = self.scale_shift_table.shape[-1]
            self.camera, self.projector = CameraEncoder(width), nn.Linear(width, width)
            nn.init.eye_(self.projector.weight)
            nn.init.zeros_(self.projector.bias)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        rotary_emb: tuple[Tensor, Tensor],
        around: Surroundings | None = None,
    ) -> Tensor:
        """The block's output `[B, L, D]`."""
        if around is None:
            return super().forward(hidden_states, encoder_hidden_states, temb, rotary_emb)
        return self.attend_and_keep(hidden_states, encoder_hidden_states, temb, rotary_emb, around)[0]

    def attend_and_keep(
        self, hidden: Tensor, text: Tensor, temb: Tensor, rotary: tuple[Tensor, Tensor], around: Surroundings
    ) -> tuple[Tensor, KeyValue]:
        """The output, and the keys and values of self-attention. `temb` is `[B, 6, D]`, or `[B, L, 6, D]` by token."""
        shift, scale, gate, ff_shift, ff_scale, ff_gate = self._modulation(temb)
        entering = self._enter(hidden, shift, scale, around.cameras)
        mixed, kept = attend(self.attn1, entering, rotary, around.visible, around.past)
        if hasattr(self, "projector"):
            mixed = self.projector(mixed)
        hidden = (hidden.float() + mixed * gate).type_as(hidden)
        hidden = hidden + self._read(self.norm2(hidden.float()).type_as(hidden), text, around)
        entering = (self.norm3(hidden.float()) * (1 + ff_scale) + ff_shift).type_as(hidden)
        return (hidden.float() + self.ffn(entering).float() * ff_gate).type_as(hidden), kept

    def query_key(
        self, hidden: Tensor, temb: Tensor, rotary: tuple[Tensor, Tensor], cameras: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Queries and keys as this block's self-attention sees them, heads side by side, `[B, L, D]`."""
        shift, scale, *_ = self._modulation(temb)
        query, key = project_query_key(self.attn1, self._enter(hidden, shift, scale, cameras), rotary)
        return query.flatten(2), key.flatten(2)

    def _modulation(self, temb: Tensor) -> tuple[Tensor, ...]:
        table = self.scale_shift_table if temb.ndim == 3 else self.scale_shift_table.unsqueeze(0)
        parts = (table + temb.float()).chunk(6, dim=-2)
        return tuple(parts) if temb.ndim == 3 else tuple(part.squeeze(2) for part in parts)

    def _enter(self, hidden: Tensor, shift: Tensor, scale: Tensor, cameras: Tensor | None) -> Tensor:
        entering = (self.norm1(hidden.float()) * (1 + scale) + shift).type_as(hidden)
        return entering if cameras is None else entering + self.camera(cameras.type_as(hidden))

    def _read(self, hidden: Tensor, text: Tensor, around: Surroundings) -> Tensor:
        """Cross-attention; cached memory always reads its one fixed text."""
        if around.memory_text is None:
            return self.attn2(hidden, text, None, None)
        live, memory = hidden[:, : around.live_length], hidden[:, around.live_length :]
        read = [self.attn2(live, text, None, None)] if around.live_length else []
        if memory.shape[1]:
            read.append(self.attn2(memory, around.memory_text, None, None))
        return torch.cat(read, dim=1)


class MemoryWanTransformer(WanTransformer3DModel):
    """Wan with a memory. All configuration of the base, and `cameras`: whether the blocks have camera modules."""

    _no_split_modules = ["MemoryBlock"]  # noqa: RUF012 - diffusers reads these from the class
    _repeated_blocks = ["MemoryBlock"]  # noqa: RUF012

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, ...] = (1, 2, 2),
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        in_channels: int = 16,
        out_channels: int = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 13824,
        num_layers: int = 40,
        cross_attn_norm: bool = True,
        qk_norm: str | None = "rms_norm_across_heads",
        eps: float = 1e-6,
        image_dim: int | None = None,
        added_kv_proj_dim: int | None = None,
        rope_max_seq_len: int = 1024,
        pos_embed_seq_len: int | None = None,
        cameras: bool = False,
    ) -> None:
        base = {name: value for name, value in locals().items() if name not in ("self", "__class__", "cameras")}
        super().__init__(**base)
        width = num_attention_heads * attention_head_dim
        sizes = (width, ffn_dim, num_attention_heads, qk_norm, cross_attn_norm, eps, added_kv_proj_dim)
        self.blocks = nn.ModuleList([MemoryBlock(*sizes, cameras=cameras) for _ in range(num_layers)])
        tokenizers = {str(patch): MemoryTokenizer(in_channels, width, patch) for patch in (FINE, COARSE)}
        self.memory_tokenizers = nn.ModuleDict(tokenizers)
        self.merger = FrameMerger(width)
        self.inflate_memory()

    def inflate_memory(self) -> None:
        """Start all memory modules from the base: a model that nobody has trained for memory yet is sane."""
        for tokenizer in self.memory_tokenizers.values():
            tokenizer.inflate(self.patch_embedding)
        self.merger.start_as_mean()

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_hidden_states_image: Tensor | None = None,
        return_dict: bool = True,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Predict the velocity of the target `[B, channel, T, row, column]`.

        `attention_kwargs` may hold `conditioning`, a `Conditioning`. `timestep` is `[B]`, or `[B, L]` by target token.
        """
        conditioning: Conditioning | None = (attention_kwargs or {}).get("conditioning")
        if conditioning is None:
            return super().forward(
                hidden_states,
                timestep,
                encoder_hidden_states,
                encoder_hidden_states_image,
                return_dict,
                attention_kwargs,
            )
        output, _ = self.predict(hidden_states, timestep, encoder_hidden_states, conditioning)
        return Transformer2DModelOutput(sample=output) if return_dict else (output,)

    def predict(
        self, latents: Tensor, timestep: Tensor, text: Tensor, conditioning: Conditioning
    ) -> tuple[Tensor, MergePlan]:
        """The velocity of the target, and what was merged on the way."""
        run = self._begin(latents, timestep, text, conditioning)
        hidden, plan, _ = self._run_blocks(run)
        return self._finish(hidden[:, : run.target_length], run), plan

    def remember(self, conditioning: Conditioning, plan: MergePlan | None = None) -> MemoryCache:
        """Keys and values of all memories in all blocks, once for all steps and both guidance branches.

        `conditioning` holds the memories alone and the fixed text. What to merge is told by `plan`.
        """
        assert conditioning.memory_text is not None, "cached memory runs under one fixed text"
        assert all(not video.live for video in conditioning.videos), "only memory is cached"
        parts = self.tokenize(conditioning.videos)
        text, zero = self._embed(conditioning.memory_text, torch.zeros(1, device=parts[0].tokens.device))[1:]
        run = _Run(
            target=parts[0].tokens.new_zeros(parts[0].tokens.shape[0], 0, parts[0].tokens.shape[-1]),
            target_length=0,
            grid=(0, 0, 0),
            rotary=None,
            target_temb=None,
            memory_temb=zero,
            output_temb=None,
            text=text,
            parts=parts,
            conditioning=replace(conditioning, plan=plan or MergePlan(), cached=True),
            memory_text=text,
        )
        _, _, cache = self._run_blocks(run)
        return cache

    def tokenize(self, videos: Sequence[ConditionVideo]) -> list[Part]:
        """Tokens of all conditions; neighbours under one tokeniser become one part."""
        parts: list[Part] = []
        for number, video in enumerate(videos):
            part = self._tokenize_one(video, number)
            if parts and _joinable(parts[-1], part):
                part = _join(parts.pop(), part)
            parts.append(part)
        return parts

    def _tokenize_one(self, video: ConditionVideo, number: int) -> Part:
        batch, _, frames, rows, columns = video.latents.shape
        if video.patch == BASE_PATCH:
            padded = pad_to_multiple(video.latents, BASE_PATCH)
            tokens = rearrange(self.patch_embedding(padded), "b d t r c -> b t r c d")
        else:
            tokens = self.memory_tokenizers[str(video.patch)](video.latents)
        device = video.latents.device
        numbers = torch.arange(frames, device=device) + number * frames
        rotary = memory_rotary(
            frames,
            rows,
            columns,
            self.config.attention_head_dim,
            patch=video.patch,
            start=video.start,
            reverse=video.reverse,
            device=device,
        )
        return Part(
            tokens=tokens,
            rotary=rotary,
            frames=numbers.expand(batch, -1),
            cameras=video.cameras,
            present=None if video.present is None else video.present[:, None].expand(-1, frames),
            live=video.live,
            mergeable=video.mergeable,
        )

    def _begin(self, latents: Tensor, timestep: Tensor, text: Tensor, conditioning: Conditioning) -> "_Run":
        """Tokens, positions, modulation and texts of one forward pass."""
        grid = tuple(size // patch for size, patch in zip(latents.shape[2:], self.config.patch_size, strict=True))
        target = rearrange(self.patch_embedding(latents), "b d t r c -> b (t r c) d").contiguous()
        output_temb, embedded, target_temb = self._embed(text, timestep)
        memory_text, memory_temb = None, None
        parts = self.tokenize(conditioning.videos)
        if any(not part.live for part in parts):
            zero = torch.zeros(latents.shape[0], device=latents.device)
            fixed = conditioning.memory_text if conditioning.cached else None
            _, fixed, memory_temb = self._embed(text if fixed is None else fixed, zero)
            memory_text = fixed if conditioning.cached else None
        return _Run(
            target=target,
            target_length=target.shape[1],
            grid=grid,
            rotary=self.rope(latents),
            target_temb=target_temb,
            memory_temb=memory_temb,
            output_temb=output_temb,
            text=embedded,
            parts=parts,
            conditioning=conditioning,
            memory_text=memory_text,
        )

    def _embed(self, text: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Output modulation, text, and block modulation `[B, 6, D]` or, for a timestep by token, `[B, L, 6, D]`."""
        by_token = timestep.shape[1] if timestep.ndim == 2 else None
        temb, projected, text, _ = self.condition_embedder(timestep.flatten(), text, None, timestep_seq_len=by_token)
        return temb, text, projected.unflatten(-1, (6, -1))

    def _run_blocks(self, run: "_Run") -> tuple[Tensor, MergePlan, MemoryCache]:
        """The block loop: merge where it is due, then attend. Returns hidden states, the merges, and memory's keys."""
        conditioning, depth = run.conditioning, len(self.blocks)
        due = merge_blocks(conditioning.merging, depth) if conditioning.plan is None else ()
        planned = {step.block: step for step in conditioning.plan.steps} if conditioning.plan else {}
        hidden = flatten(run.target, run.parts)
        steps: list[MergeStep] = []
        kept: list[KeyValue] = []
        presence: list[Tensor | None] = []
        layout = run.lay_out(self)
        for index, block in enumerate(self.blocks):
            if index + 1 in due or index + 1 in planned:
                hidden, step = self._merge(index, hidden, run, layout, planned.get(index + 1))
                steps += [step] if step else []
                layout = run.lay_out(self)
            around = layout.surroundings(conditioning.cache, index)
            hidden, pair = self._call(block, hidden, layout, around)
            if conditioning.cached and run.target_length == 0:
                kept.append(pair)
                presence.append(_all_present(run.parts))
        return hidden, MergePlan(tuple(steps)), MemoryCache(tuple(kept), tuple(presence))

    def _call(
        self, block: nn.Module, hidden: Tensor, layout: "_Layout", around: Surroundings
    ) -> tuple[Tensor, KeyValue]:
        arguments = (hidden, layout.text, layout.temb, layout.rotary, around)
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(block.attend_and_keep, *arguments)
        return block.attend_and_keep(*arguments)

    def _merge(
        self, index: int, hidden: Tensor, run: "_Run", layout: "_Layout", planned: MergeStep | None
    ) -> tuple[Tensor, MergeStep | None]:
        """Score the frames with this block's own queries and keys, and merge. `run.parts` become the new parts."""
        target, parts = split(hidden, run.target_length, run.parts)
        merging = run.conditioning.merging
        if planned is not None:
            chosen = planned.chosen
        else:
            scores = self._score(index, hidden, run, layout)
            fraction = merge_fraction(merging, run.conditioning.memories)
            chosen = tuple(None if each is None else choose_frames(each, fraction, merging.mode) for each in scores)
        if all(each is None for each in chosen):
            return hidden, None
        run.parts, frames = merge_parts(parts, chosen, self.merger, merging.mode)
        return flatten(target, run.parts), MergeStep(index + 1, chosen, frames)

    def _score(self, index: int, hidden: Tensor, run: "_Run", layout: "_Layout") -> list[Tensor | None]:
        """Responsiveness of the frames of each part that can be merged, `[B, F]`; None for the others."""
        query, key = self.blocks[index].query_key(hidden, layout.temb, layout.rotary, layout.cameras)
        _, key_parts = split(key, run.target_length, run.parts)
        candidates = [part.whole and part.mergeable for part in run.parts]
        rows = [part for part, wanted in zip(key_parts, candidates, strict=True) if wanted]
        if not rows:
            return [None] * len(candidates)
        keys = torch.cat([frame_keys(part.tokens.flatten(1, 3), part) for part in rows], dim=1)
        present = _all_frames_present(rows)
        scores = responsiveness(query[:, : run.target_length], keys, present)
        shares = iter(scores.split([part.frames.shape[1] for part in rows], dim=1))
        return [next(shares) if wanted else None for wanted in candidates]

    def _finish(self, hidden: Tensor, run: "_Run") -> Tensor:
        """Output norm and projection of the target's tokens, back to latents."""
        temb = run.output_temb
        assert temb is not None
        by_token = temb.ndim == 3
        table = self.scale_shift_table.unsqueeze(0) if by_token else self.scale_shift_table
        shift, scale = (table.to(temb.device) + temb.unsqueeze(-2)).chunk(2, dim=-2)
        if by_token:
            shift, scale = shift.squeeze(2), scale.squeeze(2)
        hidden = self.proj_out((self.norm_out(hidden.float()) * (1 + scale) + shift).type_as(hidden))
        time, rows, columns = run.grid
        patch_t, patch_r, patch_c = self.config.patch_size
        pattern = "b (t r c) (pt pr pc d) -> b d (t pt) (r pr) (c pc)"
        return rearrange(hidden, pattern, t=time, r=rows, c=columns, pt=patch_t, pr=patch_r, pc=patch_c)


@dataclass
class _Run:
    """One forward pass; `parts` change where frames are merged."""

    target: Tensor
    target_length: int
    grid: tuple[int, ...]
    rotary: tuple[Tensor, Tensor] | None
    target_temb: Tensor | None
    memory_temb: Tensor | None
    output_temb: Tensor | None
    text: Tensor
    parts: list[Part]
    conditioning: Conditioning
    memory_text: Tensor | None

    def lay_out(self, model: MemoryWanTransformer) -> "_Layout":
        """Everything that depends on the present length of the sequence."""
        conditioning = self.conditioning
        per_frame = self.grid[1] * self.grid[2]
        poses = conditioning.target_cameras
        if self.target_length == 0 and self.parts[0].cameras is not None:
            poses = self.parts[0].cameras[:, :0]
        return _Layout(
            run=self,
            rotary=flatten_rotary(self.rotary, self.parts),
            temb=self._modulation(),
            text=self.text,
            cameras=flatten_cameras(poses, per_frame, self.parts),
        )

    def _modulation(self) -> Tensor:
        """The target's, and the live conditions', timestep; 0 for memory. By token only where they differ."""
        assert self.target_temb is not None or self.memory_temb is not None
        if self.target_temb is None or not self.parts:
            return self.target_temb if self.memory_temb is None else self.memory_temb  # type: ignore[return-value]
        by_token = self.target_temb.ndim == 4
        if self.memory_temb is None and not by_token:
            return self.target_temb
        rows = [self.target_temb if by_token else _by_token(self.target_temb, self.target_length)]
        live = self.target_temb.amax(dim=1) if by_token else self.target_temb
        for part in self.parts:
            rows.append(_by_token(live if part.live else self.memory_temb, part.length))
        return torch.cat(rows, dim=1)


@dataclass(frozen=True)
class _Layout:
    run: _Run
    rotary: tuple[Tensor, Tensor]
    temb: Tensor
    text: Tensor
    cameras: Tensor | None

    def surroundings(self, cache: MemoryCache | None, index: int) -> Surroundings:
        """What block `index` is told."""
        run = self.run
        past, presence = (None, None) if cache is None else (cache.blocks[index], cache.present[index])
        past_length = 0 if past is None else past[0].shape[1]
        live = run.target_length + sum(part.length for part in run.parts if part.live)
        return Surroundings(
            target_length=run.target_length,
            visible=visibility(run.target_length, run.parts, run.conditioning.cached, presence, past_length),
            memory_text=run.memory_text,
            live_length=live,
            cameras=self.cameras,
            past=past,
        )


def _by_token(temb: Tensor | None, length: int) -> Tensor:
    assert temb is not None
    return temb[:, None].expand(-1, length, -1, -1)


def _joinable(one: Part, other: Part) -> bool:
    same_grid = one.tokens.shape[2:] == other.tokens.shape[2:]
    return same_grid and one.live == other.live and one.mergeable == other.mergeable


def _join(one: Part, other: Part) -> Part:
    """Two parts with the same token grid as one."""
    rotary = tuple(torch.cat(pair, dim=1) for pair in zip(one.rotary, other.rotary, strict=True))
    return replace(
        one,
        tokens=torch.cat([one.tokens, other.tokens], dim=1),
        rotary=type(one.rotary)(*rotary),
        frames=torch.cat([one.frames, other.frames], dim=1),
        cameras=None if one.cameras is None else torch.cat([one.cameras, other.cameras], dim=1),
        present=_join_presence(one, other),
    )


def _join_presence(one: Part, other: Part) -> Tensor | None:
    if one.present is None and other.present is None:
        return None
    full = [torch.ones_like(p.frames, dtype=torch.bool) if p.present is None else p.present for p in (one, other)]
    return torch.cat(full, dim=1)


def _all_frames_present(parts: Sequence[Part]) -> Tensor | None:
    if all(part.present is None for part in parts):
        return None
    full = [torch.ones_like(p.frames, dtype=torch.bool) if p.present is None else p.present for p in parts]
    return torch.cat(full, dim=1)


def _all_present(parts: Sequence[Part]) -> Tensor | None:
    rows = [token_presence(part) for part in parts]
    if all(row is None for row in rows):
        return None
    full = [
        row if row is not None else torch.ones(p.tokens.shape[0], p.length, dtype=torch.bool, device=p.tokens.device)
        for p, row in zip(parts, rows, strict=True)
    ]
    return torch.cat(full, dim=1)
