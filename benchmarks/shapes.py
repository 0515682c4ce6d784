"""What is edited in benchmarks of the transformer: base models at their real sizes, a source, and memories.

`lucy` has the source on the channels, `recam` on the frames. Variants of how memories are treated:

    uniform       every memory in 1x2x2 patches: the naive way
    dynamic       the three best in 1x4x4, the others in 1x8x8
    merge_memory  dynamic, and half of the memories' frames merged behind block 10, half of the rest behind block 20
    merge_all     the same of all conditions, the user's video too
    cached        dynamic, memory computed once for all steps and both guidance branches
    cached_merge  cached and merge_all
    cached_user   cached, and the user's video, where it is on the frames, cached as the memories are
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor

from model.backbones.transformer import MemoryWanTransformer
from model.config import MergeConfig, TokenConfig
from model.memory.conditioning import Conditioning
from model.memory.merging import MergePlan
from model.memory.sequence import ConditionVideo
from model.memory.tokenizers import BASE_PATCH, memory_patch

STYLES, MEMORIES = ("lucy", "recam"), (0, 1, 3, 5, 10)
VARIANTS = ("uniform", "dynamic", "merge_memory", "merge_all", "cached", "cached_merge")


@dataclass(frozen=True)
class Base:
    """Sizes of a base model and of its latents. Blocks come in three phases, before, between and behind the merges."""

    heads: int
    head_dim: int
    ffn: int
    channels: int
    latent: tuple[int, int, int]
    text: tuple[int, int] = (512, 4096)
    phases: tuple[int, int, int] = (10, 10, 10)

    @property
    def width(self) -> int:
        return self.heads * self.head_dim


REAL = {
    "wan-1.3b": Base(heads=12, head_dim=128, ffn=8960, channels=16, latent=(21, 60, 104)),
    "wan-5b": Base(heads=24, head_dim=128, ffn=14336, channels=48, latent=(21, 30, 52)),
}
SMALL = {
    "small-recam": Base(4, 64, 1024, 16, latent=(6, 16, 32), text=(32, 64), phases=(2, 2, 2)),
    "small-lucy": Base(6, 64, 1792, 16, latent=(6, 16, 32), text=(32, 64), phases=(2, 2, 2)),
}
"""The same shapes as far as a processor goes: as many channels to a feed-forward, tokens of eight rows and more."""
HALF = MergeConfig(fraction=0.5, blocks=(2, 3))
"""Half of the frames, before the second and the third of the stand-in's blocks."""


@dataclass(frozen=True)
class Case:
    """One base model with a source and memories; on the meta device nothing is computed."""

    base: Base
    style: str
    memories: int
    merging: MergeConfig = HALF
    device: str = "meta"
    dtype: torch.dtype = torch.float32

    def with_memories(self, memories: int) -> "Case":
        return replace(self, memories=memories)

    def at_depth(self, phases: tuple[int, int, int]) -> "Case":
        """The same with so many blocks in each phase, frames being merged between them."""
        blocks = (phases[0] + 1, phases[0] + phases[1] + 1)
        merging = self.merging.model_copy(update={"blocks": blocks})
        return replace(self, base=replace(self.base, phases=phases), merging=merging)

    def model(self, phases: Sequence[int] = (1, 1, 1)) -> MemoryWanTransformer:
        """With random weights, in the precisions that loading keeps."""
        base, source_on_channels = self.base, self.style == "lucy"
        with torch.device(self.device):
            model = MemoryWanTransformer(
                num_attention_heads=base.heads,
                attention_head_dim=base.head_dim,
                in_channels=base.channels * (1 + source_on_channels),
                out_channels=base.channels,
                text_dim=base.text[1],
                ffn_dim=base.ffn,
                num_layers=sum(phases),
                cameras=not source_on_channels,
            )
        return in_precision(model.eval(), self.dtype)

    def conditioning(self, variant: str) -> Conditioning:
        """What the target is conditioned on."""
        uniform, merged = variant == "uniform", variant in ("merge_memory", "merge_all", "cached_merge")
        patches = [BASE_PATCH if uniform else memory_patch(rank, TokenConfig()) for rank in range(self.memories)]
        videos = tuple(self._video(patch, live=False) for patch in patches)
        if self.style == "recam":
            live, mergeable = variant != "cached_user", variant != "merge_memory"
            videos = (self._video(BASE_PATCH, live, mergeable), *videos)
        if not videos:
            return Conditioning()
        merging = self.merging if merged else MergeConfig(mode="off")
        return Conditioning(videos=videos, merging=merging, target_cameras=self._cameras())

    def _video(self, patch: int, live: bool, mergeable: bool = True) -> ConditionVideo:
        cameras, start = self._cameras(), 1 if patch == BASE_PATCH else 2
        return ConditionVideo(self.latents(), patch, start, cameras=cameras, live=live, mergeable=mergeable)

    def latents(self) -> Tensor:
        channels = self.base.channels * (2 if self.style == "lucy" else 1)
        return self._drawn(1, channels, *self.base.latent)

    def words(self) -> Tensor:
        return self._drawn(1, *self.base.text)

    def timestep(self) -> Tensor:
        """By sample, or for LucyEdit by token, all at once."""
        return torch.full((1, 1) if self.style == "lucy" else (1,), 900.0, device=self.device)

    def _cameras(self) -> Tensor | None:
        return self._drawn(1, self.base.latent[0], 12) if self.style == "recam" else None

    def _drawn(self, *shape: int) -> Tensor:
        return torch.randn(shape, device=self.device, dtype=self.dtype)

    def run(self, model: MemoryWanTransformer, conditioning: Conditioning | None) -> Tensor:
        """One forward."""
        asked = {"conditioning": conditioning}
        return model(self.latents(), self.timestep(), self.words(), attention_kwargs=asked).sample

    def run_stock(self, model: WanTransformer3DModel) -> Tensor:
        """One forward as diffusers' own pipeline makes it; LucyEdit's says the timestep to every token."""
        frames, rows, columns = self.base.latent
        tokens = frames * (rows // 2) * (columns // 2)
        timestep = self.timestep().expand(1, tokens) if self.style == "lucy" else self.timestep()
        return model(self.latents(), timestep, self.words()).sample  # type: ignore[arg-type]

    def plan(self, model: MemoryWanTransformer, conditioning: Conditioning) -> MergePlan:
        """What is merged, as the model chooses: on the meta device scores have no values, but choices have sizes."""
        return model.plan_merges(self.latents(), self.timestep(), self.words(), conditioning)

    def planned(self, model: MemoryWanTransformer, variant: str) -> Conditioning:
        """The conditioning with its plan, so that nothing is scored."""
        given = self.conditioning(variant)
        return replace(given, plan=self.plan(model, given))

    def remember(self, model: MemoryWanTransformer, given: Conditioning) -> Conditioning:
        """The conditioning of every later forward, the memories' keys and values computed."""
        plan = given.plan
        assert plan is not None
        live, memory = (tuple(video for video in given.videos if video.live == wanted) for wanted in (True, False))
        given = replace(given, cached=True, memory_text=self.words())
        cache = model.remember(replace(given, videos=memory), plan.share(live=False))
        return replace(given, videos=live, cache=cache, plan=plan.share(live=True))

    def ready(self, model: MemoryWanTransformer, variant: str) -> Conditioning:
        """The conditioning as the steps of an edit use it: what none of them changes is computed."""
        given = self.conditioning(variant)
        if variant.startswith("cached") and not all(video.live for video in given.videos):
            given = self.remember(model, replace(given, plan=self.plan(model, given)))
        return model.prepare(self.words(), given, self.base.latent[0])


def in_precision(model: MemoryWanTransformer, dtype: torch.dtype) -> MemoryWanTransformer:
    """In `dtype`, but for what diffusers keeps in float32 when it loads a model."""
    kept = model._keep_in_fp32_modules or ()
    for name, parameter in model.named_parameters():
        full = any(part in name.split(".") for part in kept)
        parameter.data = parameter.data.to(torch.float32 if full else dtype)
    return model


def stock_of(model: MemoryWanTransformer) -> WanTransformer3DModel:
    """diffusers' own transformer with the very weights of `model`."""
    config = {name: value for name, value in model.config.items() if not name.startswith("_") and name != "cameras"}
    with torch.device("meta"):
        stock = WanTransformer3DModel(**config)
    left = stock.load_state_dict(model.state_dict(), strict=False, assign=True)
    assert not left.missing_keys, left.missing_keys
    stock.rope = type(stock.rope)(  # its tables are not in the state
        stock.rope.attention_head_dim, stock.rope.patch_size, stock.rope.max_seq_len
    ).to(model.device)
    return stock.eval()
