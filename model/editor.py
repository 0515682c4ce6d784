"""Edit one segment with its memories: the method's figure as one object (paper Fig. 2; sections 3.1 to 3.4).

    editor = MemoryEditor.from_pretrained("lucy-edit")
    first = editor.edit(frames[:81], "make the hat red", seed=1)
    memory = Memory("first", first.edited, first.source, is_previous=True)
    second = editor.edit(frames[73:154], "make the hat red", memories=[memory], seed=2)

Deterministic for a seed on a given machine and version. Knows nothing of videos on disk, of retrieval, or of the order
in which segments are edited; offloading and compilation are applied to `editor.backbone.transformer` from outside.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Self

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float32
from torch import Tensor

from model.backbones.lucy_edit import LucyEdit
from model.backbones.transformer import Conditioning
from model.config import EditConfig
from model.errors import RequestError, WeightsError
from model.memory.merging import MergePlan
from model.sampling import Progress, denoise, draw_noise, guide
from model.types import EditedSegment, Memory

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class MemoryEditor:
    """A loaded model that edits segments. `merge_plan` tells what the last edit merged at its first step."""

    def __init__(self, backbone: LucyEdit) -> None:
        self.backbone = backbone
        self.merge_plan = MergePlan()

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: str = "float32", device: str = "cpu") -> Self:
        """Load a model folder in diffusers' format; `dtype` is float32 or bfloat16 (the VAE stays in float32).

        Raises:
            WeightsError: the folder is missing, incomplete, or of another architecture.
        """
        path = Path(folder)
        if not path.is_dir():
            raise WeightsError(f"{folder}: no such model folder; expected a diffusers folder")
        return cls(LucyEdit.load(path, DTYPES[dtype], torch.device(device)))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model as a diffusers folder, memory modules and all."""
        self.backbone.pipeline.save_pretrained(folder, safe_serialization=True)

    @torch.no_grad()
    def edit(
        self,
        source: Float32[np.ndarray, "frame height width 3"],
        instruction: str,
        memories: Sequence[Memory] = (),
        seed: int = 0,
        config: EditConfig | None = None,
        progress: Progress | None = None,
    ) -> EditedSegment:
        """Edit `source`, in [0, 1], as `instruction` says, consistently with `memories`, best first.

        Raises:
            RequestError: the number of frames is not 4k+1, or the size does not fit the model.
        """
        self._require_fitting(source)
        config = config or EditConfig()
        watch = _Stopwatch()
        pixels = torch.from_numpy(source).to(self.backbone.device)
        source_latents = self.backbone.encode(rearrange(pixels * 2.0 - 1.0, "f h w c -> 1 c f h w"))
        watch.lap("encode")
        noise = draw_noise(tuple(source_latents.shape), seed, self.backbone.device)
        velocity = self._velocity(noise, source_latents, instruction, memories, config)
        latents = denoise(self.backbone.scheduler, velocity, noise, config.sampling.steps, progress)
        watch.lap("denoise")
        video = self.backbone.decode(latents)
        frames = rearrange((video / 2 + 0.5).clamp(0, 1), "1 c f h w -> f h w c").float().cpu().numpy()
        watch.lap("decode")
        edited, kept = (each[0].float().cpu().numpy() for each in (latents, source_latents))
        return EditedSegment(frames=frames, edited=edited, source=kept, seconds=watch.seconds())

    def _velocity(
        self, noise: Tensor, source: Tensor, instruction: str, memories: Sequence[Memory], config: EditConfig
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The guided velocity as a function of latents and timestep; texts and cached memory are prepared once."""
        sampling, backbone = config.sampling, self.backbone
        text, negative = backbone.encode_text(instruction, sampling.negative, sampling.guidance > 1)
        remembered = self._remember(noise, source, text, memories, config)
        forgetful = remembered if sampling.memory_in_negative else None

        def predict(latents: Tensor, timestep: Tensor, words: Tensor, conditioning: Conditioning | None) -> Tensor:
            return backbone.transformer(
                hidden_states=backbone.model_input(latents, source),
                timestep=backbone.timesteps(latents, timestep),
                encoder_hidden_states=words,
                attention_kwargs={"conditioning": conditioning},
                return_dict=False,
            )[0]

        def velocity(latents: Tensor, timestep: Tensor) -> Tensor:
            conditional = predict(latents, timestep, text, remembered)
            if negative is None:
                return conditional
            return guide(conditional, predict(latents, timestep, negative, forgetful), sampling.guidance)

        return velocity

    def _remember(
        self, noise: Tensor, source: Tensor, text: Tensor, memories: Sequence[Memory], config: EditConfig
    ) -> Conditioning | None:
        """What the target is conditioned on; where memory is cached, with its keys and values computed."""
        self.merge_plan = MergePlan()
        if not memories:
            return None
        videos = self.backbone.conditions(source, memories, config)
        joint = Conditioning(videos=videos, merging=config.merging)
        if config.attention == "joint":
            return joint
        fixed, _ = self.backbone.encode_text("", "", guided=False)
        cached = replace(joint, cached=True, memory_text=fixed)
        if config.merging.mode != "off":
            self.merge_plan = self._plan_merges(noise, source, text, cached, config)
        cache = self.backbone.transformer.remember(cached, self.merge_plan)
        return replace(cached, videos=(), cache=cache, memory_text=None)

    def _plan_merges(
        self, noise: Tensor, source: Tensor, text: Tensor, conditioning: Conditioning, config: EditConfig
    ) -> MergePlan:
        """What to merge in cached memory, decided once, by the target's queries at the first step."""
        scheduler = self.backbone.scheduler
        scheduler.set_timesteps(config.sampling.steps, device=noise.device)
        timestep = self.backbone.timesteps(noise, scheduler.timesteps[0])
        return self.backbone.transformer.predict(
            self.backbone.model_input(noise, source), timestep, text, conditioning
        )[1]

    def _require_fitting(self, source: np.ndarray) -> None:
        frames, height, width, _ = source.shape
        step = self.backbone.patch_pixels
        if frames % 4 != 1:
            raise RequestError(f"{frames} frames: expected 4k+1, such as {max(5, frames - (frames - 1) % 4)}")
        if height % step or width % step:
            raise RequestError(f"{width}x{height} pixels: this model needs multiples of {step}")


class _Stopwatch:
    """Seconds by part, and in all."""

    def __init__(self) -> None:
        self._started = self._last = perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = perf_counter()
        self._laps[name], self._last = now - self._last, now

    def seconds(self) -> dict[str, float]:
        return {**self._laps, "total": perf_counter() - self._started}
