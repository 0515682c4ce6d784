"""FramePack continues a clip: windows of latents, each denoised behind a compressed history (section 4.1, long edits).

diffusers' pipeline starts from one image. Here the history is seeded with all latents of a clip, and a window whose
pictures drift away from the clip is drawn again, or the clip ends before it. Everything else is the pipeline's: its
encoders, its scheduler, the order of its random draws, its blending. From one frame on, both give the same bits.

Two ways to sample. `forward` (the pipeline's "vanilla", as F1 was trained) appends windows. `inverted`, where the last
frame is given, draws the windows from the end to the start, so that the end is reached whatever happens in between.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_framepack import (
    HunyuanVideoFramepackPipeline,
    calculate_shift,
    retrieve_timesteps,
)
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from model.backbones.model_folder import read_model_index
from model.backbones.placement import require_usable, settle
from model.config import ExtensionConfig, Precision
from model.errors import WeightsError, first_line
from model.types import WindowRecord

PARTS = {
    "transformer": ("HunyuanVideoFramepackTransformer3DModel",),
    "vae": ("AutoencoderKLHunyuanVideo",),
    "text_encoder": ("LlamaModel",),
    "text_encoder_2": ("CLIPTextModel",),
    "tokenizer": ("LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"),
    "tokenizer_2": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "scheduler": ("FlowMatchEulerDiscreteScheduler",),
    "image_encoder": ("SiglipVisionModel",),
    "feature_extractor": ("SiglipImageProcessor", "SiglipImageProcessorFast", "SiglipImageProcessorPil"),
}
HISTORY = (16, 2, 1)  # latent frames behind a window, seen by 4x8x8, 2x4x4 and 1x2x2 kernels; the last is the newest
MOST_SHIFT = 7.0
PACKED = 4  # frames in a latent frame, the first one aside

Frames = UInt8[np.ndarray, "_ height width 3"]
Latents = Float[Tensor, "1 channel _ row column"]
Pictures = Float[Tensor, "1 3 _ height width"]
Drift = Callable[[Frames, Frames, Frames], Mapping[str, float]]
"""How far new frames have drifted, by kind, given the clip, all frames so far, and the new ones."""


@dataclass(frozen=True)
class Extension:
    """What follows a clip. Fewer frames than wanted where a window was given up."""

    frames: Frames
    windows: tuple[WindowRecord, ...]


class FramePack:
    """A loaded FramePack, which extends clips."""

    def __init__(self, pipeline: HunyuanVideoFramepackPipeline) -> None:
        self.pipeline: Any = pipeline
        self._say = lru_cache(maxsize=256)(self._encode_prompt)

    @classmethod
    def from_pretrained(cls, folder: Path, dtype: Precision = "float32", device: str = "cpu") -> "FramePack":
        """Load a diffusers folder of FramePack.

        Of one that computes in bfloat16 on a card the codec is in float16, as its authors have it: bfloat16 has too few
        digits for pictures.

        Its tokeniser is read as its file says, whatever class the folder names: transformers' `LlamaTokenizer` cuts
        words as Llama 2 did, and that of FramePack is of Llama 3.

        Raises:
            WeightsError: a part is missing, of another class, or does not load; or the device cannot hold it.
        """
        card = torch.device(device)
        require_usable(card)
        read_model_index(folder, PARTS)
        try:
            pipeline = HunyuanVideoFramepackPipeline.from_pretrained(
                folder,
                tokenizer=PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer", local_files_only=True),
                dtype=_precisions(dtype, card),
                use_safetensors=True,
                local_files_only=True,
            )
        except (OSError, ValueError, RuntimeError, KeyError) as fault:
            raise WeightsError(f"{folder}: does not load: {first_line(fault)}") from fault
        pipeline.set_progress_bar_config(disable=True)
        settle(pipeline, card)
        return cls(pipeline)

    @torch.no_grad()
    def extend(
        self,
        clip: Frames,
        prompt: str,
        frames: int,
        seed: int,
        config: ExtensionConfig,
        drift: Drift | None = None,
        end: Frames | None = None,
    ) -> Extension:
        """Continue a clip of 4k+1 frames, sides multiples of 16, by `frames`; towards `end`, one frame, if given.

        Towards an end whole windows are drawn, so there it may be some frames more. `drift` judges each new window, and
        is what `config.redraws` is about; without it none is drawn again. The same arguments give the same frames on
        the same machine.
        """
        assert len(clip) % PACKED == 1, f"{len(clip)} frames; expected 4k+1"
        assert not any(side % 16 for side in clip.shape[1:3]), f"{clip.shape[1:3]} pixels; expected multiples of 16"
        generator = torch.Generator(self.pipeline._execution_device).manual_seed(seed)
        pictures = self._as_pictures(clip)
        work = _Work(
            words=self._say(prompt),
            image=self._encode_image(pictures[:, :, 0]),
            clip=self._encode(pictures, generator),
            windows=math.ceil(frames / (PACKED * config.window)),
            config=config,
        )
        if end is not None:
            last = self._encode(self._as_pictures(end), generator)
            return self._backward(work, last, generator, clip, drift)
        return self._forward(work, generator, clip, frames, seed, drift)

    def _forward(
        self,
        work: "_Work",
        generator: torch.Generator,
        clip: Frames,
        frames: int,
        seed: int,
        drift: Drift | None,
    ) -> Extension:
        """Window after window, each drawn again while its pictures drift; the first that will not do ends it."""
        story, shown = _Story(work.clip, None), clip
        records: list[WindowRecord] = []
        for number in range(work.windows):
            longer, record = self._draw_window(story, (clip, shown), work, (generator, seed, number), drift)
            records.append(record)
            if not record.kept:
                break
            story, shown = longer, np.concatenate([clip, longer.frames[len(clip) :]])
        return Extension(shown[len(clip) :][:frames], tuple(records))

    def _draw_window(
        self,
        story: "_Story",
        pictures: tuple[Frames, Frames],
        work: "_Work",
        noise: tuple[torch.Generator, int, int],
        drift: Drift | None,
    ) -> tuple["_Story", WindowRecord]:
        """The story with one more window: the first that does not drift, or the last one drawn."""
        generator, seed, number = noise
        draw = 0
        while True:
            longer = self._next(story, work, generator if draw == 0 else _another(generator, seed, number, draw))
            record = _judge(drift, (*pictures, longer.frames[-PACKED * work.config.window :]), draw + 1, work.config)
            if record.kept or draw == work.config.redraws:
                return longer, record
            draw += 1

    def _next(self, story: "_Story", work: "_Work", generator: torch.Generator) -> "_Story":
        """The story with one more window, cross-faded over the one before."""
        history = torch.cat([story.latents, self._denoise(work, *_behind(story.latents, work), generator)], dim=2)
        if story.video is None:
            return _Story(history, self._decode(history))
        newest = self._decode(history[:, :, -2 * work.config.window :])
        return _Story(history, self._blend(story.video, newest, work.config.window))

    def _backward(
        self,
        work: "_Work",
        last: Latents,
        generator: torch.Generator,
        clip: Frames,
        drift: Drift | None,
    ) -> Extension:
        """From the end to the start; nothing is known of the start but one latent, so windows are judged at the end."""
        future, video = None, None
        window = work.config.window
        for number, padding in enumerate(_paddings(work.windows)):
            latents = self._denoise(work, *_ahead(future, last, padding, work), generator)
            first = number == work.windows - 1
            joined = [work.clip] if first else []
            future = torch.cat([*joined, latents, *([] if future is None else [future])], dim=2)
            seen = 2 * window + (work.clip.shape[2] if first else 0)
            shown = self._decode(future[:, :, :seen] if video is not None else future)
            video = shown if video is None else self._blend(shown, video, window)
        assert video is not None
        made = _as_frames(video)[len(clip) :]
        length = PACKED * window
        parts = [made[start : start + length] for start in range(0, len(made), length)]
        before = [clip, *parts[:-1]]
        records = [_judge(drift, (clip, *pair), 1, work.config) for pair in zip(before, parts, strict=True)]
        return Extension(made if all(record.kept for record in records) else made[:0], tuple(records))

    def _denoise(
        self,
        work: "_Work",
        clean: Latents,
        older: tuple[Latents, Latents],
        indices: Mapping[str, Tensor],
        generator: torch.Generator,
    ) -> Latents:
        """One window from noise, as the pipeline does it."""
        pipe, dtype = self.pipeline, self.pipeline.transformer.dtype
        device = pipe._execution_device
        rows, columns = work.clip.shape[3:]
        latents = pipe.prepare_latents(
            1,
            pipe.transformer.config.in_channels,
            rows * pipe.vae_scale_factor_spatial,
            columns * pipe.vae_scale_factor_spatial,
            PACKED * (work.config.window - 1) + 1,
            dtype=torch.float32,
            device=device,
            generator=generator,
        )
        sigmas: Any = np.linspace(1.0, 0.0, work.config.steps + 1)[:-1]
        times, _ = retrieve_timesteps(pipe.scheduler, work.config.steps, device, sigmas=sigmas, mu=self._shift(latents))
        words, pooled, mask = work.words
        guidance = torch.tensor([work.config.guidance], dtype=dtype, device=device) * 1000.0
        for time in torch.as_tensor(times):
            velocity = pipe.transformer(
                hidden_states=latents.to(dtype),
                timestep=time.expand(1),
                encoder_hidden_states=words,
                encoder_attention_mask=mask,
                pooled_projections=pooled,
                image_embeds=work.image,
                guidance=guidance,
                latents_clean=clean.to(dtype),
                latents_history_2x=older[1].to(dtype),
                latents_history_4x=older[0].to(dtype),
                return_dict=False,
                **indices,
            )[0]
            latents = pipe.scheduler.step(velocity.float(), time, latents, return_dict=False)[0]
        return latents

    def _shift(self, latents: Latents) -> float:
        """Longer sequences are denoised later, up to a limit."""
        settings = self.pipeline.scheduler.config
        tokens = latents[0, 0].numel() / self.pipeline.transformer.config.patch_size**2
        shift = calculate_shift(
            tokens,  # type: ignore[arg-type] - the pipeline passes a quotient too
            settings.get("base_image_seq_len", 256),
            settings.get("max_image_seq_len", 4096),
            settings.get("base_shift", 0.5),
            settings.get("max_shift", 1.15),
        )
        return min(shift, math.log(MOST_SHIFT))

    def _blend(self, first: Pictures, second: Pictures, window: int) -> Pictures:
        return self.pipeline._soft_append(first, second, PACKED * (window - 1) + 1)

    def _decode(self, latents: Latents) -> Pictures:
        vae = self.pipeline.vae
        return vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]

    def _encode(self, pictures: Pictures, generator: torch.Generator) -> Latents:
        vae = self.pipeline.vae
        drawn = vae.encode(pictures.to(vae.dtype)).latent_dist.sample(generator=generator)
        return (drawn * vae.config.scaling_factor).to(torch.float32)

    def _encode_image(self, picture: Float[Tensor, "1 3 height width"]) -> Tensor:
        """Without torchvision its processor reads pictures in main memory alone."""
        pipe = self.pipeline
        return pipe.encode_image(picture.cpu(), device=pipe._execution_device).to(pipe.transformer.dtype)

    def _encode_prompt(self, prompt: str) -> tuple[Tensor, Tensor, Tensor]:
        """Words, the pooled text, and the mask of the words."""
        words, pooled, mask = self.pipeline.encode_prompt(prompt=prompt, prompt_2=None)
        dtype = self.pipeline.transformer.dtype
        return words.to(dtype), pooled.to(dtype), mask.to(dtype)

    def _as_pictures(self, frames: Frames) -> Pictures:
        """`[1, 3, frame, height, width]` in [-1, 1], just as the pipeline reads an image."""
        pixels = rearrange(torch.tensor(frames), "f h w c -> f c h w").float() / 255.0
        return rearrange(2.0 * pixels - 1.0, "f c h w -> 1 c f h w").to(self.pipeline._execution_device)


@dataclass(frozen=True)
class _Work:
    """What stays the same over all windows of a clip."""

    words: tuple[Tensor, Tensor, Tensor]
    image: Tensor
    clip: Latents
    windows: int
    config: ExtensionConfig


@dataclass(frozen=True)
class _Story:
    """Latents of a clip and what was drawn behind it, and their pictures, once anything was drawn."""

    latents: Latents
    video: Pictures | None

    @property
    def frames(self) -> Frames:
        assert self.video is not None, "nothing was drawn yet"
        return _as_frames(self.video)


def _precisions(dtype: Precision, card: torch.device) -> dict[str, torch.dtype]:
    """By part, as diffusers takes them."""
    codec = torch.float16 if (dtype, card.type) == ("bfloat16", "cuda") else getattr(torch, dtype)
    return {"default": getattr(torch, dtype), "vae": codec}


def _judge(
    drift: Drift | None, pictures: tuple[Frames, Frames, Frames], draws: int, config: ExtensionConfig
) -> WindowRecord:
    found = drift(*pictures) if drift else {}
    return WindowRecord(found, draws, max(found.values(), default=0) <= config.most_drift)


def _behind(history: Latents, work: _Work) -> tuple[Latents, tuple[Latents, Latents], dict[str, Tensor]]:
    """History of a window that follows: the newest latents, nothing where there are too few, and the very first one."""
    wanted = sum(HISTORY)
    nothing = history.new_zeros(1, history.shape[1], wanted, *history.shape[3:])
    oldest, older, newest = torch.cat([nothing, history], dim=2)[:, :, -wanted:].split(HISTORY, dim=2)
    prefix, at_4x, at_2x, at_1x, own = torch.arange(1 + wanted + work.config.window).split(
        [1, *HISTORY, work.config.window]
    )
    indices = _named(own, torch.cat([prefix, at_1x]), at_2x, at_4x)
    return torch.cat([work.clip[:, :, :1], newest], dim=2), (oldest, older), indices


def _ahead(
    future: Latents | None, last: Latents, padding: int, work: _Work
) -> tuple[Latents, tuple[Latents, Latents], dict[str, Tensor]]:
    """History of a window that leads up to what is known: the end at first, then the windows drawn so far.

    The prefix is the newest latent of the clip, `padding` windows before this one.
    """
    wanted, sizes = sum(HISTORY), tuple(reversed(HISTORY))
    nothing = last.new_zeros(1, last.shape[1], wanted, *last.shape[3:])
    known = nothing if future is None else torch.cat([future, nothing], dim=2)[:, :, :wanted]
    nearest, farther, farthest = known.split(sizes, dim=2)
    nearest = last if future is None else nearest
    between, window = padding * work.config.window, work.config.window
    prefix, _, own, at_1x, at_2x, at_4x = torch.arange(1 + between + window + wanted).split(
        [1, between, window, *sizes]
    )
    indices = _named(own, torch.cat([prefix, at_1x]), at_2x, at_4x)
    return torch.cat([work.clip[:, :, -1:], nearest], dim=2), (farthest, farther), indices


def _named(own: Tensor, clean: Tensor, at_2x: Tensor, at_4x: Tensor) -> dict[str, Tensor]:
    return {
        "indices_latents": own,
        "indices_latents_clean": clean,
        "indices_latents_history_2x": at_2x,
        "indices_latents_history_4x": at_4x,
    }


def _paddings(windows: int) -> Sequence[int]:
    """Windows between the start and each window, from the last one back; what FramePack was trained with."""
    if windows > 4:
        return [3, *[2] * (windows - 3), 1, 0]
    return list(reversed(range(windows)))


def _another(generator: torch.Generator, seed: int, window: int, draw: int) -> torch.Generator:
    """Other noise for the same window, whatever was drawn before."""
    state = np.random.SeedSequence([seed, window, draw]).generate_state(1, np.uint64)[0]
    return torch.Generator(generator.device).manual_seed(int(state >> np.uint64(1)))


def _as_frames(pictures: Pictures) -> Frames:
    """Pixels of pictures in [-1, 1]."""
    pixels = (pictures[0].float() / 2 + 0.5).clamp(0, 1) * 255
    return rearrange(pixels.round().to(torch.uint8), "c f h w -> f h w c").cpu().numpy()
