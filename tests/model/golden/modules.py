"""Golden numbers: what each module makes of a seed. A change that was not meant to change results must not move them.

    python -m tests.model.golden.modules

writes `numbers.json` beside this file anew; do so only for a change that means to change results, and say why in its
commit. Five numbers a tensor: mean, mean magnitude, and three of its values.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from model.backbones.block import MemoryBlock, Surroundings
from model.backbones.tiny import build_tiny_lucy_edit, build_tiny_recam
from model.backbones.transformer import Conditioning
from model.camera.presets import preset
from model.config import EditConfig, MergeConfig, SamplingConfig
from model.editor import MemoryEditor
from model.memory.attention import Visibility
from model.memory.merging import FrameMerger, responsiveness
from model.memory.modulation import Modulation
from model.memory.rope import memory_rotary, rotary_grid
from model.memory.tokenizers import MemoryTokenizer
from model.sampling import denoise, draw_noise
from model.types import Memory, ViewMemory
from tests.model.toy import FRAMES, TEXT, memories, predict, target, toy_transformer

NUMBERS = Path(__file__).with_name("numbers.json")
CLIP = np.random.default_rng(0).random((9, 64, 96, 3), np.float32)


def tokenizer(patch: int) -> Tensor:
    torch.manual_seed(0)
    return MemoryTokenizer(4, 8, patch)(torch.randn(1, 4, 2, 10, 12))


def inflated(patch: int) -> Tensor:
    torch.manual_seed(0)
    fresh = MemoryTokenizer(4, 8, patch)
    fresh.inflate(torch.nn.Conv3d(4, 8, (1, 2, 2), (1, 2, 2)))
    return fresh(torch.randn(1, 4, 2, 10, 12))


def rope() -> Tensor:
    return torch.cat([part.flatten() for part in memory_rotary(range(6, 3, -1), 10, 12, 24, 8)])


def merger() -> Tensor:
    torch.manual_seed(0)
    fuse = FrameMerger(8)
    for parameter in fuse.parameters():
        torch.nn.init.normal_(parameter)
    return fuse(torch.randn(1, 2, 3, 4, 8))


def scores() -> Tensor:
    torch.manual_seed(0)
    return responsiveness(torch.randn(2, 20, 8), torch.randn(2, 6, 8))


def block(cameras: bool, live: int | None) -> Tensor:
    torch.manual_seed(0)
    one = MemoryBlock(24, 32, 2, "rms_norm_across_heads", True, 1e-6, None, cameras=cameras).eval()
    for name, parameter in one.named_parameters():
        if name.startswith("camera"):
            torch.nn.init.normal_(parameter)
    cos, sin = (each.flatten(1, 3).unsqueeze(2) for each in rotary_grid(range(10), 1, 1, 12))
    poses = torch.randn(2, 10, 12) if cameras else None
    times = Modulation(torch.randn(2, 2, 6, 24), torch.tensor([0] * 6 + [1] * 4))
    around = Surroundings(6, 6, Visibility(live), cameras=poses)
    return one(torch.randn(2, 10, 24), torch.randn(2, 4, 24), times, (cos, sin), around)


def transformer(merging: MergeConfig, cached: bool, cameras: bool = False) -> Tensor:
    torch.manual_seed(1)
    poses = {"cameras": torch.randn(2, FRAMES, 12)} if cameras else {}
    user = replace(memories((2,), 2, seed=5, **poses)[0], start=1, live=True, remembered=False)
    some = memories((8,), 2, seed=6, present=torch.tensor([True, False]), **poses)
    conditioning = Conditioning(
        (user, *memories((2, 4, 8), 2, **poses), *some),
        merging,
        target_cameras=torch.randn(2, FRAMES, 12) if cameras else None,
        cached=cached,
        memory_text=torch.randn(1, 4, TEXT) if cached else None,
    )
    return predict(toy_transformer(cameras=cameras), target(2), conditioning)


def sampling() -> Tensor:
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)
    noise = draw_noise((1, 2, 3, 4, 4), 0, torch.device("cpu"))
    return denoise(scheduler, lambda latents, timestep: torch.tanh(latents) * timestep / 1000, noise, 5)


def edit(attention: str) -> Tensor:
    settings = EditConfig(sampling=SamplingConfig(steps=2, guidance=3.0), attention=attention, clean_latents=1)
    with tempfile.TemporaryDirectory() as folder:
        editor = MemoryEditor.from_pretrained(build_tiny_lucy_edit(Path(folder)))
    first = editor.edit(CLIP, "snow", seed=1, config=settings)
    memory = Memory("first", first.edited, first.source, is_previous=True)
    return torch.tensor(editor.edit(CLIP, "snow", [memory], 2, settings, predecessor=first.edited).frames)


def view(attention: str) -> Tensor:
    settings = EditConfig(sampling=SamplingConfig(steps=2, guidance=3.0), attention=attention)
    with tempfile.TemporaryDirectory() as folder:
        editor = MemoryEditor.from_pretrained(build_tiny_recam(Path(folder)))
    first = editor.edit(CLIP, seed=1, config=settings, trajectory=preset("pan-left", 9))
    memory = ViewMemory("first", first.edited, preset("pan-left", 9))
    second = editor.edit(CLIP, "", [memory], 2, settings, trajectory=preset("arc-left", 9))
    return torch.tensor(second.frames)


HALF, WHOLE = MergeConfig(fraction=0.5), MergeConfig(mode="off")
MODULES: dict[str, Callable[[], Tensor]] = {
    "tokenizer 4": lambda: tokenizer(4),
    "tokenizer 8": lambda: tokenizer(8),
    "tokenizer 4, inflated": lambda: inflated(4),
    "tokenizer 8, inflated": lambda: inflated(8),
    "rope": rope,
    "merger": merger,
    "responsiveness": scores,
    "block, joint": lambda: block(cameras=False, live=None),
    "block, secluded": lambda: block(cameras=False, live=6),
    "block, cameras": lambda: block(cameras=True, live=None),
    "transformer, joint": lambda: transformer(WHOLE, cached=False),
    "transformer, joint, merged": lambda: transformer(HALF, cached=False),
    "transformer, cached": lambda: transformer(WHOLE, cached=True),
    "transformer, cached, merged": lambda: transformer(HALF, cached=True),
    "transformer, discarded": lambda: transformer(HALF.model_copy(update={"mode": "discard"}), cached=False),
    "transformer, views": lambda: transformer(HALF, cached=False, cameras=True),
    "sampling": sampling,
    "edit, joint": lambda: edit("joint"),
    "edit, cached": lambda: edit("cached"),
    "view, joint": lambda: view("joint"),
    "view, cached": lambda: view("cached"),
}


@torch.no_grad()
def numbers_of(name: str) -> list[float]:
    """Mean, mean magnitude, and the first, middle and last value of what a module makes."""
    flat = MODULES[name]().double().flatten()
    return [float(each) for each in (flat.mean(), flat.abs().mean(), flat[0], flat[len(flat) // 2], flat[-1])]


def main() -> None:
    """Write all numbers anew."""
    lines = (f"  {json.dumps(name)}: {json.dumps([round(each, 7) for each in numbers_of(name)])}" for name in MODULES)
    NUMBERS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
