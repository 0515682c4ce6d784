"""Wan's video transformer with a memory: the only block loop of this project.

A subclass of diffusers' `WanTransformer3DModel` with dynamic tokenisers (section 3.2), adaptive merging (section 3.3),
hierarchical positions (supplement E) and, where the base has them, cameras by video (Eq. 17). Conditions are appended
behind the target's tokens and cut off before the output. Without conditioning it calls the base class, and with nothing
to be conditioned on it gives the same bits. It knows latents and tokens; what they show, how they were chosen and how
noise becomes a video are the business of others.

The way of one pass, all of it in `forward`:

1. `_begin`: the target becomes tokens by the base's patch embedding, with positions, times and the text; where
   `prepare` has run, the text's keys and values by block are there already.
2. `tokenize`: each condition becomes tokens by its own tokeniser, at its temporal range, as a `Part`: tokens with their
   positions, frames and cameras; neighbours of one kind are joined. Where `prepare` has run, they are there too.
3. `_run_blocks`: `flatten` puts the parts behind the target, live ones first, and `lay_out` says once what blocks are
   told of the whole sequence: positions, modulation, cameras, who is there.
4. Before blocks where merging is due, `_merge` scores frames by that block's queries and keys, or obeys a plan, fuses
   what it chose, and the sequence, now shorter, is laid out anew. Each block then attends (`_call`).
5. Joint: all tokens attend to all. Cached: memory attends to memory alone. `remember` is a pass without a target, which
   keeps the keys and values of each block; later passes get them as `cache` and run the target and live videos only.
6. `_finish`: conditions are cut off, and the target's tokens become the velocity.

Legend: B batch, L tokens, D width, T latent frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from einops import rearrange
from torch import Tensor, nn

from model.backbones.block import Answer, MemoryBlock, Surroundings
from model.memory.attention import KeyValue, MemoryCache
from model.memory.conditioning import Conditioning, Prepared
from model.memory.layout import Layout, Pass, Target
from model.memory.merging import (
    Choice,
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
from model.memory.modulation import times_of
from model.memory.rope import memory_rotary, rotary_grid, temporal_positions
from model.memory.sequence import ConditionVideo, Part, flatten, frame_presence, join, split
from model.memory.tokenizers import BASE_PATCH, COARSE, FINE, MemoryTokenizer, pad_to_multiple

__all__ = ["Conditioning", "MemoryWanTransformer", "ModelMixin"]  # diffusers finds a pipeline's model by ModelMixin

TEXT_KEYS = Surroundings(0, 0, answer="text keys")


@dataclass
class MemoryOutput:
    """The velocity of the target, what was merged on the way, and the keys and values of a pass without a target.

    No mapping, as diffusers' outputs are: accelerate's hooks would take it apart and put it together wrongly.
    """

    sample: Tensor | None = None
    plan: MergePlan = field(default_factory=MergePlan)
    cache: MemoryCache | None = None


class MemoryWanTransformer(WanTransformer3DModel):
    """Wan with a memory. All configuration of the base, and `cameras`: whether the blocks have camera modules."""

    _no_split_modules = ["MemoryBlock"]  # noqa: RUF012 - diffusers reads these from the class
    _repeated_blocks = ["MemoryBlock"]  # noqa: RUF012

    @register_to_config
    def __init__(
        self,
        patch_size: Sequence[int] = (1, 2, 2),  # a tuple comes back as a list from a saved configuration
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
            assert isinstance(tokenizer, MemoryTokenizer)
            tokenizer.inflate(self.patch_embedding)
        self.merger.start_as_mean()

    def start_on_base(self) -> None:
        """Make room in main memory for the modules that Wan lacks, of a model whose others are there, and start them.

        What a model holds that was built without its weights: no room is taken, then, for a base that is replaced.
        """
        blocks = [block for block in self.blocks if isinstance(block, MemoryBlock)]
        for module in (
            self.memory_tokenizers,
            self.merger,
            *(each for block in blocks for each in block.camera_modules),
        ):
            module.to_empty(device="cpu")
        self.inflate_memory()
        for block in blocks:
            block.start_cameras()

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_hidden_states_image: Tensor | None = None,
        return_dict: bool = True,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Predict the velocity of the target `[B, channel, T, row, column]`.

        `attention_kwargs` may hold `conditioning`, a `Conditioning`; the result is then a `MemoryOutput`, or with
        `prepare_for`, a number of latent frames, what `prepare` returns. `timestep` is `[B]`, or `[B, L]` by target
        token and the same for all tokens of a frame, or `[B, 1]` for all tokens.
        """
        conditioning: Conditioning | None = (attention_kwargs or {}).get("conditioning")
        if conditioning is None:
            return super().forward(
                hidden_states,
                timestep,  # type: ignore[arg-type] - the base says LongTensor and takes floats
                encoder_hidden_states,
                encoder_hidden_states_image,
                return_dict,
                attention_kwargs,
            )
        if frames := (attention_kwargs or {}).get("prepare_for"):
            return self._prepare(encoder_hidden_states, conditioning, frames)
        given = self._begin(hidden_states, timestep, encoder_hidden_states, conditioning)
        ready = conditioning.prepared
        parts = ready.parts if ready else self.tokenize(conditioning.videos, given.range_frames)
        hidden, output = self._run_blocks(given, parts)
        if given.target.length and not conditioning.plan_only:
            output.sample = self._finish(hidden[:, : given.target.length], given)
        return output if return_dict else (output.sample,)

    def prepare(self, text: Tensor, conditioning: Conditioning, frames: int) -> Conditioning:
        """The conditioning of a target of so many latent frames, with what is the same at every step under `text`.

        Through `forward`, where offloading from outside brings the weights.
        """
        nothing = text[:, :0]
        return self(nothing, nothing, text, attention_kwargs={"conditioning": conditioning, "prepare_for": frames})

    def _prepare(self, text: Tensor, conditioning: Conditioning, frames: int) -> Conditioning:
        states = self.condition_embedder.text_embedder(text)
        keys = tuple(block(states, states, None, None, TEXT_KEYS) for block in self.blocks)
        parts = self.tokenize(conditioning.videos, conditioning.range_length(frames))
        return replace(conditioning, prepared=Prepared(parts, keys))

    def plan_merges(self, latents: Tensor, timestep: Tensor, text: Tensor, conditioning: Conditioning) -> MergePlan:
        """What would be merged at this timestep: the pass is left at the last merge."""
        asked = {"conditioning": replace(conditioning, plan_only=True)}
        return self(latents, timestep, text, attention_kwargs=asked).plan

    def remember(self, conditioning: Conditioning, plan: MergePlan | None = None) -> MemoryCache:
        """Keys and values of all memories in all blocks, once for all steps and both guidance branches.

        `conditioning` holds the memories alone and the fixed text. What to merge is told by `plan`.
        """
        assert conditioning.memory_text is not None, "cached memory runs under one fixed text"
        assert all(not video.live for video in conditioning.videos), "only memory is cached"
        nothing = conditioning.videos[0].latents[:, :, :0]
        zero = torch.zeros(len(nothing), device=nothing.device)
        planned = replace(conditioning, plan=plan or MergePlan(), cached=True, target_cameras=None)
        return self(nothing, zero, conditioning.memory_text, attention_kwargs={"conditioning": planned}).cache

    def tokenize(self, videos: Sequence[ConditionVideo], range_frames: int) -> list[Part]:
        """Tokens of all conditions; neighbours under one tokeniser become one part."""
        return join([self._tokenize_one(video, number, range_frames) for number, video in enumerate(videos)])

    def _tokenize_one(self, video: ConditionVideo, number: int, range_frames: int) -> Part:
        batch, _, frames, rows, columns = video.latents.shape
        if video.patch == BASE_PATCH:
            padded = pad_to_multiple(video.latents, BASE_PATCH)
            tokens = rearrange(self.patch_embedding(padded), "b d t r c -> b t r c d")
        else:
            tokens = self.memory_tokenizers[str(video.patch)](video.latents)
        device, head_dim = video.latents.device, self.config["attention_head_dim"]
        times = temporal_positions(frames, video.start, video.reverse, range_frames)
        return Part(
            tokens=tokens,
            rotary=memory_rotary(times, rows, columns, head_dim, video.patch, device),
            frames=(torch.arange(frames, device=device) + number * range_frames).expand(batch, -1),
            cameras=video.cameras,
            present=None if video.present is None else video.present[:, None].expand(-1, frames),
            live=video.live,
            mergeable=video.mergeable,
        )

    def _begin(self, latents: Tensor, timestep: Tensor, text: Tensor, conditioning: Conditioning) -> Pass:
        """Tokens and positions of the target, all times, and the texts."""
        target = self._tokenize_target(latents)
        memory = any(not video.live for video in conditioning.videos)
        times = times_of(timestep, target.length, target.tokens_per_frame, memory)
        ready, embed_text = conditioning.prepared, self.condition_embedder.text_embedder
        fixed = conditioning.memory_text if conditioning.cached and conditioning.cache is None else None
        return Pass(
            target=target,
            times=times,
            embedded=self._embed_times(times.values, text, by_sample=timestep.ndim == 1 and conditioning.empty),
            text=ready.text if ready else embed_text(text),
            memory_text=None if fixed is None else embed_text(fixed),
            conditioning=conditioning,
            range_frames=conditioning.range_length(target.grid[0]),
        )

    def _tokenize_target(self, latents: Tensor) -> Target:
        if latents.shape[2] == 0:
            width = self.patch_embedding.out_channels
            return Target(latents.new_zeros(len(latents), 0, width), None, (0, 0, 0))
        tokens = rearrange(self.patch_embedding(latents), "b d t r c -> b t r c d")
        time, rows, columns = tokens.shape[1:4]
        rotary = rotary_grid(range(time), rows, columns, self.config["attention_head_dim"], latents.device)
        return Target(tokens.flatten(1, 3), rotary, (time, rows, columns))

    def _embed_times(self, times: Tensor, like: Tensor, by_sample: bool) -> tuple[Tensor, Tensor]:
        """Times `[B, G]` as modulation of the output `[B, G, D]` and of the blocks `[B, G, 6, D]`, typed as `like`.

        The bits are the base's: few rows are multiplied in another order than the many of a base with times by token.
        """
        embedder, rows = self.condition_embedder, times.flatten()
        in_fours = rows if by_sample else torch.cat([rows, rows.new_zeros(-len(rows) % 4)])
        parameter = next(embedder.time_embedder.parameters())
        embedded = embedder.time_embedder(embedder.timesteps_proj(in_fours).to(parameter.dtype)).type_as(like)
        modulation = embedder.time_proj(embedder.act_fn(embedded)).unflatten(-1, (6, -1))
        embedded, modulation = (each[: len(rows)].unflatten(0, times.shape) for each in (embedded, modulation))
        return embedded, modulation

    def _run_blocks(self, given: Pass, parts: list[Part]) -> tuple[Tensor, "MemoryOutput"]:
        """The block loop: merge where it is due, then attend. Without a target, keys and values are kept."""
        conditioning, keep = given.conditioning, given.target.length == 0
        due = merge_blocks(conditioning.merging, len(self.blocks)) if conditioning.plan is None else ()
        planned = {step.block: step for step in conditioning.plan.steps} if conditioning.plan else {}
        hidden, layout = flatten(given.target.tokens, parts), given.lay_out(parts)
        steps: list[MergeStep] = []
        kept: list[tuple[KeyValue, Tensor | None]] = []
        for index, block in enumerate(self.blocks):
            if index + 1 in due or index + 1 in planned:
                hidden, parts, step = self._merge(index, hidden, parts, given, layout, planned.get(index + 1))
                if step:
                    layout = given.lay_out(parts)
                    steps.append(step)
            if conditioning.plan_only and index + 1 >= max(due, default=0):
                break
            hidden, pair = self._call(block, hidden, given, layout, index, keep)
            if keep:
                kept.append((pair, layout.present))
        cache = MemoryCache(tuple(pair for pair, _ in kept), tuple(present for _, present in kept)) if keep else None
        return hidden, MemoryOutput(plan=MergePlan(tuple(steps), given.range_frames), cache=cache)

    def _call(
        self, block: nn.Module, hidden: Tensor, given: Pass, layout: Layout, index: int, keep: bool
    ) -> tuple[Tensor, Any]:
        """One block, checkpointed where that is on; its keys and values only where they are kept."""
        around = _around(given, layout, index, "hidden and keys" if keep else "hidden")
        arguments = (hidden, given.text_of(index), layout.modulation, layout.rotary, around)
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            assert self._gradient_checkpointing_func is not None
            answer = self._gradient_checkpointing_func(block, *arguments)
        else:
            answer = block(*arguments)
        return answer if keep else (answer, None)

    def _merge(
        self, index: int, hidden: Tensor, parts: list[Part], given: Pass, layout: Layout, planned: MergeStep | None
    ) -> tuple[Tensor, list[Part], MergeStep | None]:
        """Choose frames, by a plan or by this block's own queries and keys, and merge them."""
        choices = self._choose(index, hidden, parts, given, layout) if planned is None else planned.choices
        if all(choice is None for choice in choices):
            return hidden, parts, None
        target, parts = split(hidden, given.target.length, parts)
        live = sum(part.live for part in parts)
        parts, frames = merge_parts(parts, choices, self.merger, given.conditioning.merging.mode)
        return flatten(target, parts), parts, MergeStep(index + 1, choices, frames, live)

    @torch.no_grad()
    def _choose(
        self, index: int, hidden: Tensor, parts: list[Part], given: Pass, layout: Layout
    ) -> tuple[Choice | None, ...]:
        """The frames of each part to merge; None for parts that are merged already or never."""
        merging = given.conditioning.merging
        fractions = [merge_fraction(merging, count) for count in given.conditioning.memories_by_sample()]
        wanted = [part.whole and part.mergeable and any(fractions) for part in parts]
        if not any(wanted):
            return (None,) * len(parts)
        around = _around(given, layout, index, "queries and keys")
        query, key = self.blocks[index](hidden, given.text_of(index), layout.modulation, layout.rotary, around)
        _, key_parts = split(key, 0, parts)
        whole = [part for part, each in zip(key_parts, wanted, strict=True) if each]
        frame_key = torch.cat([frame_keys(part.tokens.flatten(1, 3), part) for part in whole], dim=1)
        scores = responsiveness(query, frame_key, frame_presence(whole))
        shares = iter(scores.split([part.frames.shape[1] for part in whole], dim=1))
        return tuple(
            choose_frames(next(shares), fractions, merging.mode, part.present) if each else None
            for part, each in zip(parts, wanted, strict=True)
        )

    def _finish(self, hidden: Tensor, given: Pass) -> Tensor:
        """Output norm and projection of the target's tokens, back to latents."""
        modulation = given.output_modulation()
        shift, scale = (modulation.by_token(part) for part in modulation.added_to(self.scale_shift_table))
        hidden = self.proj_out((self.norm_out(hidden.float()) * (1 + scale) + shift).type_as(hidden))
        time, rows, columns = given.target.grid
        patch_t, patch_r, patch_c = self.config["patch_size"]
        pattern = "b (t r c) (pt pr pc d) -> b d (t pt) (r pr) (c pc)"
        return rearrange(hidden, pattern, t=time, r=rows, c=columns, pt=patch_t, pr=patch_r, pc=patch_c)


def _around(given: Pass, layout: Layout, index: int, answer: Answer) -> Surroundings:
    """What block `index` is told."""
    cache = given.conditioning.cache
    return Surroundings(
        target_length=layout.target_length,
        live_length=layout.live_length,
        visible=given.visibility(layout, index),
        memory_text=given.memory_text,
        cameras=layout.cameras,
        past=None if cache is None else cache.blocks[index],
        answer=answer,
    )
