"""Edit one segment with its memories: the method's figure as one object (paper Fig. 2; sections 3.1 to 3.4).

    editor = MemoryEditor.from_pretrained("lucy-edit")
    first = editor.edit(frames[:81], "make the hat red", seed=1)
    memory = Memory("first", first.edited, first.source, is_previous=True)
    second = editor.edit(frames[73:154], "make the hat red", memories=[memory], seed=2)

A model with a timestep by token (Wan2.2) can also begin where the segment before ended, without a seam:

    joined = EditConfig(clean_latents=2)  # these two are 5 frames: the overlap that the segments must have
    third = editor.edit(frames[149:230], "make the hat red", config=joined, predecessor=second.edited)

A model for new views takes a trajectory instead of, or besides, an instruction, and `ViewMemory` for memories:

    view = editor.edit(frames, trajectory=preset("arc-left", 81))

Deterministic for a seed on a given machine and version. Knows nothing of videos on disk, of retrieval, or of the order
in which segments are edited. What makes it faster or smaller is done to its backbone when it is loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32
from torch import Tensor

from model.backbones.acceleration import accelerate
from model.backbones.backbone import Backbone, forget_paths
from model.backbones.lucy_edit import LucyEdit
from model.backbones.model_folder import read_model_index
from model.backbones.placement import require_usable, settle
from model.backbones.recam import ReCam
from model.camera.trajectory import Trajectory
from model.config import PLAIN, EditConfig, Precision, SpeedConfig
from model.errors import RequestError, WeightsError
from model.memory.conditioning import Conditioning
from model.memory.merging import MergePlan
from model.sampling import (
    ForecastVelocity,
    GuidedVelocity,
    Progress,
    Velocity,
    begin_with,
    denoise,
    draw_noise,
    part_of,
)
from model.types import EditedSegment, Memory, Merge, ViewMemory

BACKBONES: dict[str, type[LucyEdit] | type[ReCam]] = {"LucyEditPipeline": LucyEdit, "WanPipeline": ReCam}
"""The kind of model by the pipeline class that its folder names."""
Memories = Sequence[Memory] | Sequence[ViewMemory]
DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class MemoryEditor:
    """A loaded model that edits segments. `merge_plan` tells what the last edit merged (joint: at its first step).

    Of `speed` it obeys what concerns the steps; what concerns the model has been done to the backbone.
    """

    def __init__(self, backbone: Backbone[Any], speed: SpeedConfig = PLAIN) -> None:
        self.backbone, self.speed = backbone, speed
        self.merge_plan: MergePlan | None = None

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        dtype: Precision = "float32",
        device: str = "cpu",
        speed: SpeedConfig = PLAIN,
    ) -> "MemoryEditor":
        """Load a model folder in diffusers' format; `dtype` is float32 or bfloat16 (the VAE stays in float32).

        What a small card has no room for visits it from main memory (`model.backbones.placement`).

        Raises:
            WeightsError: the folder is missing, incomplete, or of another architecture; or the device cannot hold it.
            RequestError: this machine cannot do what `speed` asks for.
        """
        path = Path(folder)
        if not path.is_dir():
            raise WeightsError(f"{folder}: no such model folder; expected a diffusers folder")
        kind = read_model_index(path, {}).get("_class_name")
        if kind not in BACKBONES:
            raise WeightsError(f"{folder}: is a {kind}; expected {' or '.join(BACKBONES)}")
        target = torch.device(device)
        require_usable(target)
        backbone = BACKBONES[kind].load(path, DTYPES[dtype])
        accelerate(backbone.transformer, speed, target)
        settle(backbone.pipeline, target)
        return cls(backbone, speed)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a diffusers folder with memory modules and preset, without the path that the model was loaded from."""
        self.backbone.pipeline.save_pretrained(folder, safe_serialization=True)
        forget_paths(Path(folder))
        self.backbone.preset.write(Path(folder))

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
        predecessor: Float32[np.ndarray, "channel time row column"] | None = None,
        source_latents: Float32[np.ndarray, "channel time row column"] | None = None,
    ) -> EditedSegment:
        """Edit `source`, in [0, 1], as `instruction` says, consistently with `memories`, best first.

        A model for new views renders it along `trajectory`, relative to the source's first camera; the instruction
        may then describe what is seen. `predecessor` are the edited latents of the segment before: its last
        `config.clean_latents` frames begin this one, untouched (see `EditConfig.clean_overlap`). `source_latents` are
        those of `source` where they are known, as of an earlier edit's result: then nothing is encoded.

        Raises:
            RequestError: the number of frames is not 4k+1, the size does not fit the model, a trajectory is given or
                missing against the nature of the model, or latents do not fit.
        """
        self._require_fitting(source)
        config = config or EditConfig()
        watch = _Stopwatch()
        self.backbone.tile(config.tile)
        encoded = self._encode(source) if source_latents is None else self._known(source_latents, len(source))
        watch.lap("encode")
        clean = self._clean_latents(encoded, predecessor, config)
        noise = begin_with(clean, draw_noise(tuple(encoded.shape), seed, self.backbone.device))
        conditionings = self._conditionings(encoded, memories, trajectory, config)
        given = _Given(encoded, noise, clean, config.sampling.scale(recalls=bool(memories)))
        drafts = 1 if memories or trajectory is not None else config.sampling.first_drafts
        latents = self._denoise(given, instruction, conditionings, config, part_of(progress, 0, drafts))
        for number in range(1, drafts):
            draft = Memory("draft", _as_array(latents), _as_array(encoded))
            again = self._conditionings(encoded, [draft], None, config)
            given = replace(given, guidance=config.sampling.scale(recalls=True))
            latents = self._denoise(given, instruction, again, config, part_of(progress, number, drafts))
        watch.lap("denoise")
        video = self.backbone.decode(latents)
        frames = rearrange((video / 2 + 0.5).clamp(0, 1), "1 c f h w -> f h w c").float().cpu().numpy()
        watch.lap("decode")
        return EditedSegment(
            frames=frames,
            edited=_as_array(latents),
            source=_as_array(encoded),
            seconds=watch.seconds(),
            merges=self._merges(conditionings[0], len(memories)) if memories else (),
        )

    def _denoise(
        self,
        given: "_Given",
        instruction: str,
        conditionings: tuple[Conditioning, Conditioning],
        config: EditConfig,
        progress: Progress | None,
    ) -> Float[Tensor, "1 channel time row column"]:
        """One way from noise to the edited latents."""
        velocity = self._velocity(given, instruction, conditionings, config)
        return denoise(self.backbone.scheduler, velocity, given.noise, config.sampling.steps, progress, given.clean)

    def _merges(self, given: Conditioning, memories: int) -> tuple[Merge, ...]:
        """What was merged of the memories, which come last among the videos that were given."""
        return self.merge_plan.merges(len(given.videos) - memories) if self.merge_plan else ()

    def held_bytes(self) -> int:
        """Bytes of the GPU that this process holds; 0 on a processor."""
        return torch.cuda.memory_reserved() if self.backbone.device.type == "cuda" else 0

    def _encode(self, source: np.ndarray) -> Float[Tensor, "1 channel time row column"]:
        pixels = torch.from_numpy(source * 2.0 - 1.0).to(self.backbone.device)
        return self.backbone.encode(rearrange(pixels, "f h w c -> 1 c f h w"))

    def _known(self, latents: np.ndarray, frames: int) -> Float[Tensor, "1 channel time row column"]:
        if latents.shape[1] != (frames - 1) // 4 + 1:
            raise RequestError(f"source_latents {latents.shape}: expected those of {frames} frames")
        return torch.tensor(latents)[None].to(self.backbone.device)

    def _clean_latents(
        self, source: Tensor, predecessor: np.ndarray | None, config: EditConfig
    ) -> Float[Tensor, "1 channel clean row column"] | None:
        """The last latents of the predecessor, which begin this segment; None where none are wanted or there are none.

        They are handed on as they are: nothing is decoded and encoded again.
        """
        wanted = config.clean_latents
        if predecessor is None or wanted == 0:
            return None
        if not self.backbone.times_by_token:
            raise RequestError(f"clean_latents={wanted}: this model has one timestep for all tokens; set it to 0")
        frames, picture = source.shape[2], (source.shape[1], *source.shape[3:])
        if wanted >= frames or wanted > predecessor.shape[1]:
            fewest = min(frames - 1, predecessor.shape[1])
            raise RequestError(f"clean_latents={wanted}: expected at most {fewest} for segments of these lengths")
        if picture != (predecessor.shape[0], *predecessor.shape[2:]):
            raise RequestError(f"the predecessor has latents {predecessor.shape}; expected another size, {picture}")
        return torch.tensor(predecessor[:, -wanted:])[None].to(source)

    def _conditionings(
        self, source: Tensor, memories: Memories, trajectory: Trajectory | None, config: EditConfig
    ) -> tuple[Conditioning, Conditioning]:
        """What the two guidance branches are conditioned on; the negative one may be without memories."""
        full = self.backbone.conditioning(source, memories, trajectory, config)
        if config.sampling.memory_in_negative:
            return full, full
        return full, self.backbone.conditioning(source, (), trajectory, config)

    def _velocity(
        self,
        given: "_Given",
        instruction: str,
        conditionings: tuple[Conditioning, Conditioning],
        config: EditConfig,
    ) -> Velocity:
        """The guided velocity as a function of latents and timestep; what is the same at every step is made once."""
        sampling = config.sampling
        alike = instruction == sampling.negative and conditionings[0].memories == conditionings[1].memories
        guides = given.guidance > 1 and not alike  # away from the very same leads nowhere, at twice the time
        text, negative = self.backbone.encode_text(instruction, sampling.negative, guides)
        remembered, self.merge_plan = self._remember(given, text, conditionings[0], config)
        forgetful = remembered
        if negative is not None and not sampling.memory_in_negative:
            forgetful, _ = self._remember(given, negative, conditionings[1], config)

        prepare, frames = self.backbone.transformer.prepare, given.noise.shape[2]
        told = prepare(text, remembered, frames)

        def conditional(latents: Tensor, timestep: Tensor) -> Tensor:
            output = self._predict(latents, timestep, given, text, told)
            if self.merge_plan is None:
                self.merge_plan = output.plan
            return output.sample

        def without(text: Tensor) -> Velocity:
            told = prepare(text, forgetful, frames)
            return lambda latents, timestep: self._predict(latents, timestep, given, text, told).sample

        unconditional = None if negative is None else without(negative)
        computed = ceil(self.speed.guided_share * sampling.steps)
        guided = GuidedVelocity(conditional, unconditional, given.guidance, computed)
        return ForecastVelocity(guided, self.speed.forecast) if self.speed.forecast else guided

    def _predict(
        self, latents: Tensor, timestep: Tensor, given: "_Given", text: Tensor, conditioning: Conditioning
    ) -> Any:
        """One forward pass of the transformer."""
        return self.backbone.transformer(
            hidden_states=self.backbone.model_input(latents, given.source),
            timestep=self.backbone.timesteps(latents, timestep, given.clean_frames),
            encoder_hidden_states=text,
            attention_kwargs={"conditioning": conditioning},
        )

    def _remember(
        self, given: "_Given", text: Tensor, joint: Conditioning, config: EditConfig
    ) -> tuple[Conditioning, MergePlan | None]:
        """The conditioning as the steps use it: where memory is cached, with its keys and values computed.

        With it, what is merged; None where that is decided at every step.
        """
        if config.attention == "joint" or all(video.live for video in joint.videos):
            return joint, None
        fixed, _ = self.backbone.encode_text("", "", guided=False)
        cached = replace(joint, cached=True, memory_text=fixed)
        plan = self._plan_merges(given, text, cached, config)
        live, memory = (tuple(video for video in joint.videos if video.live == wanted) for wanted in (True, False))
        cache = self.backbone.transformer.remember(replace(cached, videos=memory), plan.share(live=False))
        return replace(cached, videos=live, cache=cache, plan=plan.share(live=True)), plan

    def _plan_merges(self, given: "_Given", text: Tensor, conditioning: Conditioning, config: EditConfig) -> MergePlan:
        """What to merge in cached memory, decided once, by the target's queries at the first step."""
        scheduler = self.backbone.scheduler
        scheduler.set_timesteps(config.sampling.steps, device=given.noise.device)
        timestep = self.backbone.timesteps(given.noise, scheduler.timesteps[0], given.clean_frames)
        latents = self.backbone.model_input(given.noise, given.source)
        return self.backbone.transformer.plan_merges(latents, timestep, text, conditioning)

    def _require_fitting(self, source: np.ndarray) -> None:
        frames, height, width, _ = source.shape
        step = self.backbone.patch_pixels
        if frames % 4 != 1:
            raise RequestError(f"{frames} frames: expected 4k+1, such as {max(5, frames - (frames - 1) % 4)}")
        if height % step or width % step:
            raise RequestError(f"{width}x{height} pixels: this model needs multiples of {step}")


@dataclass(frozen=True)
class _Given:
    """What a segment starts from, `[1, channel, time, row, column]`: the source, noise, and clean first frames.

    `guidance` is the scale by which its text is followed.
    """

    source: Tensor
    noise: Tensor
    clean: Tensor | None
    guidance: float

    @property
    def clean_frames(self) -> int:
        return 0 if self.clean is None else self.clean.shape[2]


def _as_array(latents: Float[Tensor, "1 channel time row column"]) -> Float[np.ndarray, "channel time row column"]:
    return latents[0].float().cpu().numpy()


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
