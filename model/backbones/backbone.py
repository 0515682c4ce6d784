"""What the editor asks of a loaded base model, and what all diffusers pipelines of the Wan family share.

A backbone turns pictures into latents and back, and says how the source, the memories and the cameras enter its
transformer. It knows no denoising loop; leaf classes differ only in what enters how. Batch size 1.
"""

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from accelerate import init_empty_weights
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from model.backbones.block_codec import BlockCodec
from model.backbones.model_folder import read_config, read_model_index, read_preset
from model.backbones.placement import place
from model.backbones.transformer import MemoryWanTransformer
from model.camera.trajectory import Trajectory
from model.config import EditConfig, Preset
from model.errors import RequestError, WeightsError, first_line
from model.memory.conditioning import Conditioning
from model.memory.sequence import ConditionVideo

PARTS = {
    "transformer": ("WanTransformer3DModel", "MemoryWanTransformer"),
    "vae": ("AutoencoderKLWan", "BlockCodec"),
    "text_encoder": ("UMT5EncoderModel",),
    "tokenizer": ("T5Tokenizer", "T5TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"),
    "scheduler": ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"),
}
TEXTS_KEPT = 16
MOST_WORDS = 512  # pieces of text that Wan reads, padded to that; a small model's tokeniser may say less
PREVIOUS, MEMORY = 1, 2  # temporal ranges (supplement E); a novel view's user video takes that of the previous segment

CODECS: dict[str, Any] = {"AutoencoderKLWan": AutoencoderKLWan, "BlockCodec": BlockCodec}
_SAFE: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}


Remembered = TypeVar("Remembered")
"""The kind of memory that a backbone takes."""


class Codec:
    """What turns pictures into latents and back. It can be had without its model, of which the rest may fill a GPU."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "Codec":
        """That of a diffusers folder of any kind, in float32.

        Raises:
            WeightsError: a part is missing or of another class, or the codec does not load; or see `place`.
        """
        index = read_model_index(folder, PARTS)
        try:
            vae = load_vae(folder, index)
        except (OSError, ValueError, RuntimeError, KeyError) as fault:
            raise WeightsError(f"{folder}: its codec does not load: {first_line(fault)}") from fault
        return cls(place(vae, torch.device(device)))

    @property
    def device(self) -> torch.device:
        return self.vae.device

    def encode(self, video: Float[Tensor, "1 3 frame height width"]) -> Float[Tensor, "1 channel time row column"]:
        """Normalised latents of a video in [-1, 1]: the mode of the posterior."""
        latents = self.vae.encode(video).latent_dist.mode()
        mean, scale = self._normalisation(latents)
        return (latents - mean) * scale

    def decode(self, latents: Float[Tensor, "1 channel time row column"]) -> Float[Tensor, "1 3 frame height width"]:
        """The video of normalised latents, in [-1, 1] as far as the decoder keeps to it."""
        latents = latents.to(self.vae.dtype)
        mean, scale = self._normalisation(latents)
        return self.vae.decode(latents / scale + mean, return_dict=False)[0]

    def _normalisation(self, like: Tensor) -> tuple[Tensor, Tensor]:
        config = self.vae.config
        mean, deviation = (
            torch.tensor(values).view(1, -1, 1, 1, 1).to(like.device, like.dtype)
            for values in (config.latents_mean, config.latents_std)
        )
        return mean, 1.0 / deviation


class Backbone(ABC, Generic[Remembered]):
    """The loaded parts, and how they are used."""

    pipeline_class: ClassVar[type[DiffusionPipeline]]
    cameras: ClassVar[bool]

    def __init__(self, pipeline: Any, preset: Preset) -> None:
        """`preset` are the settings that the weights were made for."""
        self.pipeline, self.preset = pipeline, preset
        self._read = lru_cache(maxsize=TEXTS_KEPT)(self._encode_text)

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype) -> "Backbone[Remembered]":
        """Load a diffusers folder of this kind into main memory, with or without memory modules.

        Where it has none they start from the base (see `MemoryWanTransformer.inflate_memory`). Its tokeniser is read as
        its file says: transformers' `T5Tokenizer` builds another one from the same pieces, which spells no rare letter.

        Raises:
            WeightsError: a part is missing, of another class, or does not load.
        """
        index = read_model_index(folder, PARTS)
        if any(index.get("transformer_2") or ()):
            raise WeightsError(f"{folder}: has two transformers; expected a model with one")
        try:
            transformer = load_transformer(folder / "transformer", dtype, cls.cameras)
            vae = load_vae(folder, index)
            parts = {"transformer": transformer, "vae": vae, **_tokenizer_of(folder / "tokenizer")}
            pipeline = cls.pipeline_class.from_pretrained(folder, **parts, dtype=dtype, **_SAFE)
        except (OSError, ValueError, RuntimeError, KeyError) as fault:
            raise WeightsError(f"{folder}: does not load: {first_line(fault)}") from fault
        pipeline.register_to_config(expand_timesteps=bool(index.get("expand_timesteps", False)))
        pipeline.vae.to(torch.float32)  # decoding in half precision is visibly worse, and its encoder fails in it
        return cls(pipeline, read_preset(folder))

    @abstractmethod
    def conditioning(
        self,
        source: Tensor,
        memories: Sequence[Remembered],
        trajectory: Trajectory | None,
        config: EditConfig,
    ) -> Conditioning:
        """What the target is conditioned on besides its own input.

        `source` are latents `[1, channel, time, row, column]`, `memories` are best first.

        Raises:
            RequestError: a trajectory is given or missing against the nature of the model.
        """

    @abstractmethod
    def model_input(self, latents: Tensor, source: Tensor) -> Tensor:
        """The target as the transformer sees it, from noisy latents and source latents."""

    def timesteps(self, latents: Tensor, timestep: Tensor, clean: int = 0) -> Tensor:
        """The timestep by sample `[B]`, or by token `[B, L]` where the base wants that (Wan2.2).

        The first `clean` frames have 0. Where all tokens share one it is said once, `[B, 1]`: embedding it thousands of
        times over costs a tenth of a step.
        """
        batch, _, frames, rows, columns = latents.shape
        if clean == 0:
            return timestep.expand(batch, 1) if self.times_by_token else timestep.expand(batch)
        assert self.times_by_token, "clean frames need a timestep by token"
        row_step, column_step = self.transformer.config["patch_size"][1:]
        tokens = -(-rows // row_step) * -(-columns // column_step)
        noisy = torch.arange(frames, device=latents.device) >= clean
        return (noisy * timestep).float().repeat_interleave(tokens).expand(batch, -1)

    def tile(self, pixels: int | None) -> None:
        """Have the VAE work in square tiles of so many pixels, a quarter of which overlaps; None is whole pictures.

        Raises:
            RequestError: the codec of this model knows no tiles.
        """
        vae = self.pipeline.vae
        if not hasattr(vae, "enable_tiling"):
            if pixels is not None:
                raise RequestError(
                    f"tile={pixels}: {type(vae).__name__}, this model's codec, knows no tiles; leave it out"
                )
            return
        if pixels is None:
            vae.disable_tiling()
        else:
            vae.enable_tiling(pixels, pixels, pixels * 3 // 4, pixels * 3 // 4)

    @property
    def window(self) -> int:
        """Latent frames of a segment that the model is made for."""
        return self.preset.window.latent_frames

    @property
    def times_by_token(self) -> bool:
        """Whether every token of the target has a timestep of its own."""
        return self.pipeline.config.expand_timesteps

    @property
    def transformer(self) -> MemoryWanTransformer:
        return self.pipeline.transformer

    @property
    def scheduler(self) -> Any:
        return self.pipeline.scheduler

    @property
    def dtype(self) -> torch.dtype:
        """What the transformer's input and texts are in: asked of its first layer.

        diffusers asks every layer, which at every step costs a small model a twentieth of its time.
        """
        return self.transformer.patch_embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where it computes, which is not where weights lie while they are offloaded."""
        return self.pipeline._execution_device

    @property
    def patch_pixels(self) -> int:
        """Height and width must be multiples of this many pixels: one token of the base."""
        return self.pipeline.vae_scale_factor_spatial * self.transformer.config["patch_size"][1]

    def encode_text(self, instruction: str, negative: str, guided: bool) -> tuple[Tensor, Tensor | None]:
        """Text states of the instruction and, for guidance, of the negative prompt, `[1, words, text_dim]`.

        All segments of a turn ask for the same, so the last ones are kept.
        """
        return self._read(instruction, negative, guided)

    @torch.no_grad()
    def _encode_text(self, instruction: str, negative: str, guided: bool) -> tuple[Tensor, Tensor | None]:
        words = min(MOST_WORDS, self.pipeline.tokenizer.model_max_length)
        text, unwanted = self.pipeline.encode_prompt(
            instruction, negative, do_classifier_free_guidance=guided, max_sequence_length=words, device=self.device
        )
        return text.to(self.dtype), None if unwanted is None else unwanted.to(self.dtype)

    def encode(self, video: Float[Tensor, "1 3 frame height width"]) -> Float[Tensor, "1 channel time row column"]:
        """Normalised latents of a video in [-1, 1], as the model's `Codec` makes them."""
        return Codec(self.pipeline.vae).encode(video)

    def decode(self, latents: Float[Tensor, "1 channel time row column"]) -> Float[Tensor, "1 3 frame height width"]:
        """The video of normalised latents, in [-1, 1] as far as the model's `Codec` keeps to it."""
        return Codec(self.pipeline.vae).decode(latents)


def conditioned(videos: Sequence[ConditionVideo], frames: int, window: int, **how: Any) -> Conditioning:
    """What a target of so many latent frames is conditioned on.

    A temporal range has room for the `window` of the model, in latent frames, and for the longest video: so positions
    are the same however short the videos of one pass are.
    """
    longest = Conditioning(tuple(videos)).range_length(frames)
    return Conditioning(videos=tuple(videos), range_frames=max(window, longest), **how)


def _tokenizer_of(folder: Path) -> dict[str, Any]:
    """The tokeniser of a model by the name of its part; nothing where it has no file of its own, but only pieces."""
    if not (folder / "tokenizer.json").is_file():
        return {}
    return {"tokenizer": PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)}


def load_vae(folder: Path, index: Mapping[str, Any]) -> Any:
    """The codec of a model folder with this index, in float32."""
    return CODECS[index["vae"][1]].from_pretrained(folder / "vae", dtype=torch.float32, **_SAFE)


def load_transformer(folder: Path, dtype: torch.dtype, cameras: bool = False) -> MemoryWanTransformer:
    """A transformer with its memory modules; those that the folder lacks start from the base, none stays empty.

    With `cameras` it has camera modules too, which in a plain Wan folder start as if there were none.

    Raises:
        WeightsError: the folder has memory modules, but not the camera modules wanted.
    """
    if read_config(folder).get("_class_name") == MemoryWanTransformer.__name__:
        model = MemoryWanTransformer.from_pretrained(folder, dtype=dtype, **_SAFE)
        if model.config["cameras"] != cameras:
            raise WeightsError(
                f"{folder}: has {'no ' if cameras else ''}camera modules; expected the other kind of model"
            )
        return model
    base = WanTransformer3DModel.from_pretrained(folder, dtype=dtype, **_SAFE)
    with init_empty_weights():  # the weights are those of the base, of which there is no second copy at any time
        model = MemoryWanTransformer.from_config(base.config, cameras=cameras)
    assert isinstance(model, MemoryWanTransformer)
    report = model.load_state_dict(base.state_dict(), strict=False, assign=True)
    assert not report.unexpected_keys, report.unexpected_keys
    model.start_on_base()
    base_parameters = set(base.state_dict())
    for name, parameter in model.named_parameters():
        if name not in base_parameters:
            parameter.data = parameter.data.to(dtype)
    return model.eval()


def write_model(base: Path, folder: Path, transformer: MemoryWanTransformer) -> None:
    """Write a diffusers folder of this transformer, and of all other parts of the model folder `base` as they lie."""
    index = read_model_index(base, PARTS)
    for part in PARTS.keys() - {"transformer"}:
        shutil.copytree(base / part, folder / part)
    transformer.save_pretrained(folder / "transformer", safe_serialization=True)
    index["transformer"] = [MemoryWanTransformer.__module__, MemoryWanTransformer.__name__]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    forget_paths(folder)


def forget_paths(folder: Path) -> None:
    """Leave out of a model folder that was written the path of that which it was loaded from."""
    for path in (folder / "model_index.json", *folder.glob("*/config.json")):
        settings = json.loads(path.read_text())
        if settings.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(settings, indent=2) + "\n")
