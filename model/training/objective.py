"""What is learned: the velocity from data to noise along straight lines (rectified flow; paper section 4.1).

x_t = (1 - t) x_0 + t noise, and the velocity is noise - x_0. Memories run at timestep 0; a little noise on them keeps
the model from copying them blindly (supplement E). Knows one batch and one backbone, no optimiser.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

from model.backbones.backbone import MEMORY, PREVIOUS, conditioned
from model.camera.trajectory import Trajectory
from model.config import MergeConfig, MixConfig, Preset
from model.memory.conditioning import Conditioning
from model.memory.sequence import ConditionVideo
from model.memory.tokenizers import BASE_PATCH
from model.training.samples import Batch

TIMESTEPS = 1000  # of the schedulers: the transformer is told t * 1000
ROOM = 4 * 2**30  # bytes of texts in each worker: some ten thousand instructions of twenty words at width 4096


class TextStates:
    """Text states of instructions, `[1, words, text_dim]`: read once, and kept in main memory while there is room.

    `read` makes those of one instruction, where they are wanted; `room` is for so many bytes, without padding. Texts
    beyond it are read whenever they are asked for. `empty` are those of the empty one, which cached memory reads.
    """

    def __init__(self, read: Callable[[str], Tensor], room: int = ROOM) -> None:
        self.empty = read("")
        self._read, self._room = read, room
        self._kept: dict[str, Tensor] = {}

    def of(self, instructions: Iterable[str]) -> Float[Tensor, "batch words width"]:
        """Their states, one a sample, padded to one length."""
        return torch.cat([self._one(each) for each in instructions])

    def keep(self, instructions: Iterable[str]) -> bool:
        """Read them now; returns whether there was room for all, so that of these none will be read again."""
        for each in instructions:
            self._one(each)
            if each not in self._kept:
                return False
        return True

    def _one(self, instruction: str) -> Tensor:
        if instruction in self._kept:
            kept = self._kept[instruction].to(self.empty.device)
            return F.pad(kept, (0, 0, 0, self.empty.shape[1] - kept.shape[1]))
        with torch.autocast(self.empty.device.type, enabled=False):
            states = self._read(instruction)
        said = states[0].any(dim=1).nonzero()
        words = int(said[-1]) + 1 if len(said) else 0  # the others are zeros behind them
        if words * states[0, 0].nbytes <= self._room:
            self._kept[instruction] = states[:, :words].cpu().clone()
            self._room -= self._kept[instruction].nbytes
        return states


def draw_times(batch: int, shift: float, random: torch.Generator) -> Float[Tensor, " batch"]:
    """Times in (0, 1), one in each of `batch` equal parts, moved towards noise as the sampler's schedule is."""
    where = random.device
    even = (torch.arange(batch, device=where) + torch.rand(batch, generator=random, device=where)) / batch
    return (shift * even / (1 + (shift - 1) * even))[torch.randperm(batch, generator=random, device=where)]


def flow_loss(
    transformer: torch.nn.Module,
    batch: Batch,
    text: TextStates,
    mix: MixConfig,
    shift: float,
    region_weight: float,
    random: torch.Generator,
    preset: Preset | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error of the velocity, regions weighing 1 + `region_weight`.

    The source is on the transformer's channels (LucyEdit); that of novel views is a condition (ReCamMaster). The
    model is to be used with `preset`.
    """
    device = text.empty.device
    clean, source = (torch.from_numpy(latents).to(device) for latents in (batch.target, batch.source))
    noise = torch.randn(clean.shape, generator=random, device=random.device).to(device)
    times = draw_times(len(clean), shift, random).to(device)
    spread = times[:, None, None, None, None]
    noisy = (1 - spread) * clean + spread * noise
    output = transformer(
        hidden_states=torch.cat([noisy, source], dim=1) if batch.cameras is None else noisy,
        timestep=times * TIMESTEPS,
        encoder_hidden_states=text.of(batch.instructions),
        attention_kwargs={"conditioning": conditioning_of(batch, text, mix, random, preset)},
    )
    errors = (output.sample.float() - (noise - clean)).square()
    weights = 1 + region_weight * torch.from_numpy(batch.regions).to(device)[:, None].float()
    return (errors * weights).mean() / weights.mean()


def conditioning_of(
    batch: Batch, text: TextStates, mix: MixConfig, random: torch.Generator, preset: Preset | None = None
) -> Conditioning:
    """The memories of a batch as the transformer takes them, behind the user's video where views are rendered.

    Temporal ranges, and whether memories have their sources, are as with the `preset` that the model is to be used
    with; None is for videos that fill their ranges, and have sources.
    """
    device = text.empty.device
    views = batch.cameras is not None
    sources = preset is None or preset.edit.memory_source
    deviation = float(torch.rand((), generator=random, device=random.device)) * mix.memory_noise
    videos = _user_video(batch, mix, random, device) if views else []
    for memory in batch.memories:
        edited = torch.from_numpy(memory.edited).to(random.device)
        edited = edited + deviation * torch.randn(edited.shape, generator=random, device=random.device)
        edited = edited.to(device)
        source = torch.from_numpy(memory.source if sources else np.zeros_like(memory.source)).to(device)
        videos.append(
            ConditionVideo(
                latents=edited if views else torch.cat([edited, source], dim=1),
                patch=memory.patch,
                start=PREVIOUS if memory.previous and not views else MEMORY,
                reverse=mix.reverse_memory and not views,
                cameras=None if memory.cameras is None else torch.from_numpy(memory.cameras).to(device),
            )
        )
    merges = batch.merge_share is not None
    merging = MergeConfig(mode="merge" if merges else "off", fraction=batch.merge_share, blocks=mix.merge_blocks)
    return conditioned(
        videos,
        batch.target.shape[2],
        preset.window.latent_frames if preset else 1,
        merging=merging,
        target_cameras=None if batch.cameras is None else torch.from_numpy(batch.cameras).to(device),
        cached=batch.cached,
        memory_text=text.empty if batch.cached else None,
    )


def _user_video(batch: Batch, mix: MixConfig, random: torch.Generator, device: torch.device) -> list[ConditionVideo]:
    """The user's video, its camera at rest; now and then there is none, so that memory learns to stand alone (E.1)."""
    if batch.memories and float(torch.rand((), generator=random, device=random.device)) < mix.user_video_dropout:
        return []
    latents = torch.from_numpy(batch.source).to(device)
    still = torch.from_numpy(Trajectory.still(1).latent_rows()).to(device)
    cameras = still.expand(len(latents), latents.shape[2], -1)
    return [ConditionVideo(latents, patch=BASE_PATCH, start=PREVIOUS, cameras=cameras, live=True, remembered=False)]
