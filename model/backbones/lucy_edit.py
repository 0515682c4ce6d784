"""LucyEdit (Wan2.2, or Wan2.1 at other sizes) with a memory: text-guided editing of long videos (paper section 3.4).

The source enters by channels: the patch embedding sees [noisy latents, source latents]. A memory enters the same way,
as [its edited latents, its source latents]: what the base sees near t = 0. It runs at timestep 0. The parts and their
recipe are diffusers' `LucyEditPipeline`; without memories our loop gives its very bits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderKLWan, LucyEditPipeline, WanTransformer3DModel
from jaxtyping import Float
from torch import Tensor

from model.backbones.model_folder import read_config, read_model_index
from model.backbones.transformer import COARSE, FINE, MemoryWanTransformer
from model.config import EditConfig
from model.errors import WeightsError
from model.memory.sequence import ConditionVideo
from model.types import Memory

PARTS = {
    "transformer": ("WanTransformer3DModel", "MemoryWanTransformer"),
    "vae": ("AutoencoderKLWan",),
    "text_encoder": ("UMT5EncoderModel",),
    "tokenizer": ("T5Tokenizer", "T5TokenizerFast"),
    "scheduler": ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"),
}
PREVIOUS, MEMORY = 1, 2  # temporal ranges (supplement E.2)


class LucyEdit:
    """The loaded parts, and how they are used. Batch size 1."""

    def __init__(self, pipeline: LucyEditPipeline) -> None:
        self.pipeline = pipeline

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype, device: torch.device) -> Self:
        """Load a diffusers folder of the LucyEdit kind, with or without memory modules.

        Where it has none they start from the base (see `MemoryWanTransformer.inflate_memory`).

        Raises:
            WeightsError: a part is missing, of another class, or does not load.
        """
        index = read_model_index(folder, PARTS)
        try:
            transformer = load_transformer(folder / "transformer", dtype)
            vae = AutoencoderKLWan.from_pretrained(folder / "vae", **_SAFE)
            pipeline = LucyEditPipeline.from_pretrained(folder, transformer=transformer, vae=vae, dtype=dtype, **_SAFE)
        except (OSError, ValueError, RuntimeError, KeyError) as fault:
            raise WeightsError(
                f"{folder}: does not load: {(str(fault) or type(fault).__name__).splitlines()[0]}"
            ) from fault
        pipeline.register_to_config(expand_timesteps=bool(index.get("expand_timesteps", False)))
        pipeline.vae.to(torch.float32)  # decoding in half precision is visibly worse, and its encoder fails in it
        return cls(pipeline.to(device))

    @property
    def transformer(self) -> MemoryWanTransformer:
        return self.pipeline.transformer

    @property
    def scheduler(self) -> Any:
        return self.pipeline.scheduler

    @property
    def device(self) -> torch.device:
        return self.transformer.device

    @property
    def patch_pixels(self) -> int:
        """Height and width must be multiples of this many pixels: one token of the base."""
        return self.pipeline.vae_scale_factor_spatial * self.transformer.config.patch_size[1]

    def encode_text(self, instruction: str, negative: str, guided: bool) -> tuple[Tensor, Tensor | None]:
        """Text states of the instruction and, for guidance, of the negative prompt, `[1, words, text_dim]`."""
        text, unwanted = self.pipeline.encode_prompt(
            instruction, negative, do_classifier_free_guidance=guided, max_sequence_length=512, device=self.device
        )
        dtype = self.transformer.dtype
        return text.to(dtype), None if unwanted is None else unwanted.to(dtype)

    def encode(self, video: Float[Tensor, "1 3 frame height width"]) -> Float[Tensor, "1 channel time row column"]:
        """Normalised latents of a video in [-1, 1]: the mode of the posterior."""
        latents = self.pipeline.vae.encode(video).latent_dist.mode()
        mean, scale = self._normalisation(latents)
        return (latents - mean) * scale

    def decode(self, latents: Float[Tensor, "1 channel time row column"]) -> Float[Tensor, "1 3 frame height width"]:
        """The video of normalised latents, in [-1, 1] as far as the decoder keeps to it."""
        latents = latents.to(self.pipeline.vae.dtype)
        mean, scale = self._normalisation(latents)
        return self.pipeline.vae.decode(latents / scale + mean, return_dict=False)[0]

    def conditions(self, source: Tensor, memories: Sequence[Memory], config: EditConfig) -> tuple[ConditionVideo, ...]:
        """Memories, best first, as the transformer takes them: the best finely, the others coarsely tokenised."""
        return tuple(
            ConditionVideo(
                latents=self._both(memory, source),
                patch=FINE if rank < config.tokens.fine else COARSE,
                start=PREVIOUS if memory.is_previous else MEMORY,
                reverse=config.reverse_memory,
            )
            for rank, memory in enumerate(memories)
        )

    def model_input(self, latents: Tensor, source: Tensor) -> Tensor:
        """What the transformer sees: noisy latents and source latents on the channels."""
        return torch.cat([latents, source], dim=1).to(self.transformer.dtype)

    def timesteps(self, latents: Tensor, timestep: Tensor) -> Tensor:
        """The timestep by sample, or by token where the base wants that."""
        if not self.pipeline.config.expand_timesteps:
            return timestep.expand(latents.shape[0])
        ones = torch.ones(latents.shape, dtype=torch.float32, device=latents.device)
        return (ones[0][0][:, ::2, ::2] * timestep).flatten().unsqueeze(0).expand(latents.shape[0], -1)

    def _both(self, memory: Memory, like: Tensor) -> Tensor:
        pair = [torch.from_numpy(latents)[None].to(like.device) for latents in (memory.edited, memory.source)]
        return torch.cat(pair, dim=1).to(self.transformer.dtype)

    def _normalisation(self, like: Tensor) -> tuple[Tensor, Tensor]:
        config = self.pipeline.vae.config
        mean, deviation = (
            torch.tensor(values).view(1, -1, 1, 1, 1).to(like.device, like.dtype)
            for values in (config.latents_mean, config.latents_std)
        )
        return mean, 1.0 / deviation


_SAFE: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}


def load_transformer(folder: Path, dtype: torch.dtype) -> MemoryWanTransformer:
    """A transformer with its memory modules; those that the folder lacks start from the base, none stays empty."""
    if read_config(folder).get("_class_name") == MemoryWanTransformer.__name__:
        return MemoryWanTransformer.from_pretrained(folder, dtype=dtype, **_SAFE)
    base = WanTransformer3DModel.from_pretrained(folder, dtype=dtype, **_SAFE)
    model = MemoryWanTransformer.from_config(base.config)
    report = model.load_state_dict(base.state_dict(), strict=False, assign=True)
    assert not report.unexpected_keys, report.unexpected_keys
    model.inflate_memory()
    model.memory_tokenizers.to(dtype)
    model.merger.to(dtype)
    return model.eval()
