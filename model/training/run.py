"""One worker's share of a training run, from a model folder and clips of latents to a better model folder.

Also what comes before it: a small model made from nothing, and clips turned into latents. Knows neither where clips
come from nor who started it; several workers share gradients through `worker.wrap`, and the first of them writes.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import init_empty_weights
from einops import rearrange
from jaxtyping import Bool, Float16, UInt8
from torch import Tensor

from model.backbones.backbone import Backbone, Codec, write_model
from model.backbones.block_codec import fit_block_codec
from model.backbones.placement import place
from model.backbones.small import build_small_model
from model.backbones.transformer import MemoryWanTransformer
from model.config import OptimConfig, TrainingRunConfig
from model.editor import MemoryEditor
from model.training.loop import CURVE, Point, Worker, train, write_lines
from model.training.objective import TextStates
from model.training.parameters import choose_parameters
from model.training.sharding import whole
from model.types import LATENT_DTYPE, TrainingClip

PACKED = 4  # frames in a latent frame, the first one aside
STATE, MODEL = "state", "model"
Frames = UInt8[np.ndarray, "frame height width 3"]


def build_start(folder: Path, videos: Sequence[Frames], sentences: Sequence[str], config: TrainingRunConfig) -> Path:
    """Write the untrained small model of a config; its codec is fitted to `videos`, of whole segments."""
    assert config.small is not None, "the sizes of a small model are wanted"
    frames = config.preset.window.frames
    segments = (_as_video(each) for video in videos for each in video.reshape(-1, frames, *video.shape[1:]))
    codec = fit_block_codec(segments, config.small.channels)
    seed, shift = config.training.seed, config.training.shift
    return build_small_model(folder, codec, config.small, sentences, config.preset, shift, seed)


@torch.no_grad()
def encode_segments(
    codec: Codec, frames: Frames, length: int
) -> Float16[np.ndarray, "segment channel time row column"]:
    """Latents of a clip, by segment of `length` frames."""
    segments = frames.reshape(-1, length, *frames.shape[1:])
    latents = [codec.encode(_as_video(each).to(codec.device)).cpu().numpy() for each in segments]
    return np.concatenate(latents).astype(LATENT_DTYPE)


def pool_regions(
    regions: Bool[np.ndarray, "frame height width"], length: int, rows: int
) -> Bool[np.ndarray, "segment time row column"]:
    """Latents, `rows` of them in a column, that see any marked pixel."""
    block = regions.shape[1] // rows
    repeats = np.concatenate([[PACKED], np.ones(length - 1, int)])
    whole = np.repeat(regions.reshape(-1, length, *regions.shape[1:]), repeats, axis=1)
    pattern = "s (t f) (r i) (c j) -> s t r c (f i j)"
    return np.any(rearrange(whole, pattern, f=PACKED, i=block, j=block), axis=-1)


def run_training(
    start: Path,
    clips: tuple[Sequence[TrainingClip], Sequence[TrainingClip]],
    instructions: set[str],
    config: TrainingRunConfig,
    out: Path,
    device: str,
    threads: int,
    worker: Worker,
) -> None:
    """Train the model in `start` on clips for training and for validation, going on from the state in `out`.

    `instructions` are all that the clips have, so that none needs to be read for it.

    The first worker writes `out/curve.jsonl` as it grows, and in the end `out/model`.

    Raises:
        WeightsError: the model does not load.
        StoreError: a clip is damaged, or the state is of another model.
        RunError: a gradient is not finite.
    """
    torch.set_num_threads(threads)
    card = torch.device(device)
    backbone = MemoryEditor.from_pretrained(start).backbone  # one part after the other goes to the card
    backbone.pipeline.vae = None  # clips are latents already
    place(backbone.pipeline.text_encoder, card)
    text = encode_texts(backbone, instructions)
    transformer = place(backbone.transformer, card)
    if config.training.checkpointing:
        transformer.enable_gradient_checkpointing()
    report = _CurveFile(out / CURVE).add if worker.rank == 0 else lambda point: None
    train(transformer, *clips, text, config.training, out / STATE, report, worker, config.preset)
    gathered = ((name, whole(tensor)) for name, tensor in transformer.state_dict().items())  # by all workers together
    tensors = {name: tensor.cpu() for name, tensor in gathered if worker.rank == 0}
    if worker.rank == 0:
        save_trained(start, whole_transformer(transformer, tensors, config.training.optim), out / MODEL, config)


def encode_texts(backbone: Backbone[Any], instructions: set[str]) -> TextStates:
    """States of all instructions and of the empty one; the text encoder goes, unless they are more than are kept."""
    text = TextStates(lambda each: backbone.encode_text(each, "", False)[0])
    if text.keep(sorted(instructions | {""})):
        backbone.pipeline.text_encoder = None
    return text


def whole_transformer(
    trained: MemoryWanTransformer, tensors: Mapping[str, Tensor], optim: OptimConfig
) -> MemoryWanTransformer:
    """One that is not in parts, of the weights that were `trained`, as `tensors`: it takes no room beside them."""
    with init_empty_weights():
        transformer = MemoryWanTransformer.from_config(trained.config)
        assert isinstance(transformer, MemoryWanTransformer)
        choose_parameters(transformer, optim)
    transformer.load_state_dict(tensors, assign=True)
    return transformer.eval()


def save_trained(start: Path, transformer: Any, folder: Path, config: TrainingRunConfig) -> None:
    """Write the model with its preset, whole or not at all; adapters become part of the weights they adapt.

    All but the transformer is as it lies in the folder of the model that training began with.
    """
    if config.training.optim.trained == "lora":
        transformer.fuse_lora()
        transformer.unload_lora()
    if config.saved != "float32":
        transformer.to(getattr(torch, config.saved))
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    for stale in (unfinished, folder):
        shutil.rmtree(stale, ignore_errors=True)
    write_model(start, unfinished, transformer)
    config.preset.write(unfinished)
    unfinished.rename(folder)


class _CurveFile:
    """The curve as JSON lines, for whoever watches; points of a killed run that are measured again are replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, point: Point) -> None:
        """Append a point."""
        lines = self._path.read_text().splitlines() if self._path.is_file() else []
        kept = [line for line in lines if json.loads(line)["step"] < point.step]
        write_lines(self._path, [*kept, json.dumps(asdict(point))])


def _as_video(frames: Frames) -> Tensor:
    """`[1, 3, frame, height, width]` in [-1, 1]."""
    return rearrange(torch.tensor(frames).float() / 127.5 - 1, "f h w c -> 1 c f h w")
