"""Edit one segment with its memories: the method's figure as one object (paper Fig. 2; sections 3.1 to 3.4).

    editor = MemoryEditor.from_pretrained("lucy-edit")
    first = editor.edit(frames[:81], "make the hat red", seed=1)
    memory = Memory("first", first.edited, first.source, is_previous=True)
    second = editor.edit(frames[73:154], "make the hat red", memories=[memory], seed=2)

A model for new views takes a trajectory instead of, or besides, an instruction, and `ViewMemory` for memories:

    view = editor.edit(frames, trajectory=preset("arc-left", 81))

Deterministic for a seed on a given machine and version. Knows nothing of videos on disk, of retrieval, or of the order
in which segments are edited; offloading and compilation are applied to `editor.backbone.transformer` from outside.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float32
from torch import Tensor

from model.backbones.backbone import Backbone
from model.backbones.lucy_edit import LucyEdit
from model.backbones.model_folder import read_model_index
from model.backbones.recam import ReCam
from model.camera.trajectory import Trajectory
from model.config import EditConfig
from model.errors import RequestError, WeightsError
from model.memory.conditioning import Conditioning
from model.memory.merging import MergePlan
from model.sampling import Progress, denoise, draw_noise, guide
from model.types import EditedSegment, Memory, ViewMemory

BACKBONES: dict[str, type[LucyEdit] | type[ReCam]] = {"LucyEditPipeline": LucyEdit, "WanPipeline": ReCam}
"""The kind of model by the pipeline class that its folder names."""
Memories = Sequence[Memory] | Sequence[ViewMemory]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class MemoryEditor:
    """A loaded model that edits segments. `merge_plan` tells what the last edit merged (joint: at its first step)."""

    def __init__(self, backbone: Backbone[Any]) -> None:
        self.backbone = backbone
        self.merge_plan: MergePlan | None = None

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: str = "float32", device: str = "cpu") -> "MemoryEditor":
        """Load a model folder in diffusers' format; `dtype` is float32 or bfloat16 (the VAE stays in float32).

        Raises:
            WeightsError: the folder is missing, incomplete, or of another architecture.
        """
        path = Path(folder)
        if not path.is_dir():
            raise WeightsError(f"{folder}: no such model folder; expected a diffusers folder")
        kind = read_model_index(path, {}).get("_class_name")
        if kind not in BACKBONES:
            raise WeightsError(f"{folder}: is a {kind}; expected {' or '.join(BACKBONES)}")
        return cls(BACKBONES[kind].load(path, DTYPES[dtype], torch.device(device)))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model as a diffusers folder, memory modules and all."""
        self.backbone.pipeline.save_pretrained(folder, safe_serialization=True)

    @torch.no_grad()
    def edit(
        self,
        source: Float32[np.ndarray, "frame height width 3"],
        instruction: str = "",
        memories: Memories = (),
        seed: int = 0,
        config: EditConfig | None = None,
        progress: Progress | None = None,
        trajectory: Trajectory | None = None,
    ) -> EditedSegment:
        """Edit `source`, in [0, 1], as `instruction` says, consistently with `memories`, best first.

        A model for new views renders it along `trajectory`, relative to the source's first camera; the instruction
        may then describe what is seen.

        Raises:
            RequestError: the number of frames is not 4k+1, the size does not fit the model, or a trajectory is given
                or missing against the nature of the model.
        """
        self._require_fitting(source)
        config = config or EditConfig()
        watch = _Stopwatch()
        pixels = torch.from_numpy(source).to(self.backbone.device)
        source_latents = self.backbone.encode(rearrange(pixels * 2.0 - 1.0, "f h w c -> 1 c f h w"))
        watch.lap("encode")
        noise = draw_noise(tuple(source_latents.shape), seed, self.backbone.device)
        conditionings = self._conditionings(source_latents, memories, trajectory, config)
        velocity = self._velocity(noise, source_latents, instruction, conditionings, config)
        latents = denoise(self.backbone.scheduler, velocity, noise, config.sampling.steps, progress)
        watch.lap("denoise")
        video = self.backbone.decode(latents)
        frames = rearrange((video / 2 + 0.5).clamp(0, 1), "1 c f h w -> f h w c").float().cpu().numpy()
        watch.lap("decode")
        edited, kept = (each[0].float().cpu().numpy() for each in (latents, source_latents))
        return EditedSegment(frames=frames, edited=edited, source=kept, seconds=watch.seconds())

    def _conditionings(
        self, source: Tensor, memories: Memories, trajectory: Trajectory | None, config: EditConfig
    ) -> tuple[Conditioning | None, Conditioning | None]:
        """What the two guidance branches are conditioned on; the negative one may be without memories."""
        full = self.backbone.conditioning(source, memories, trajectory, config)
        if config.sampling.memory_in_negative:
            return full, full
        return full, self.backbone.conditioning(source, (), trajectory, config)

    def _velocity(
        self,
        noise: Tensor,
        source: Tensor,
        instruction: str,
        conditionings: tuple[Conditioning | None, Conditioning | None],
        config: EditConfig,
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The guided velocity as a function of latents and timestep; texts and cached memory are prepared once."""
        sampling, backbone = config.sampling, self.backbone
        text, negative = backbone.encode_text(instruction, sampling.negative, sampling.guidance > 1)
        remembered = self._remember(noise, source, text, conditionings[0], config)
        forgetful = remembered if sampling.memory_in_negative else conditionings[1]

        def predict(latents: Tensor, timestep: Tensor, words: Tensor, conditioning: Conditioning | None) -> Any:
            return backbone.transformer(
                hidden_states=backbone.model_input(latents, source),
                timestep=backbone.timesteps(latents, timestep),
                encoder_hidden_states=words,
                attention_kwargs={"conditioning": conditioning},
            )

        def velocity(latents: Tensor, timestep: Tensor) -> Tensor:
            output = predict(latents, timestep, text, remembered)
            if self.merge_plan is None:
                self.merge_plan = output.plan
            if negative is None:
                return output.sample
            return guide(output.sample, predict(latents, timestep, negative, forgetful).sample, sampling.guidance)

        return velocity

    def _remember(
        self, noise: Tensor, source: Tensor, text: Tensor, joint: Conditioning | None, config: EditConfig
    ) -> Conditioning | None:
        """The conditioning as the steps use it: where memory is cached, with its keys and values computed."""
        self.merge_plan = MergePlan() if joint is None else None
        if config.attention == "joint" or joint is None or joint.memories == 0:
            return joint
        fixed, _ = self.backbone.encode_text("", "", guided=False)
        cached = replace(joint, cached=True, memory_text=fixed)
        self.merge_plan = self._plan_merges(noise, source, text, cached, config)
        live, memory = (tuple(video for video in joint.videos if video.live == wanted) for wanted in (True, False))
        cache = self.backbone.transformer.remember(replace(cached, videos=memory), self.merge_plan.share(live=False))
        return replace(cached, videos=live, cache=cache, plan=self.merge_plan.share(live=True))

    def _plan_merges(
        self, noise: Tensor, source: Tensor, text: Tensor, conditioning: Conditioning, config: EditConfig
    ) -> MergePlan:
        """What to merge in cached memory, decided once, by the target's queries at the first step."""
        scheduler = self.backbone.scheduler
        scheduler.set_timesteps(config.sampling.steps, device=noise.device)
        timestep = self.backbone.timesteps(noise, scheduler.timesteps[0])
        latents = self.backbone.model_input(noise, source)
        return self.backbone.transformer.plan_merges(latents, timestep, text, conditioning)

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
