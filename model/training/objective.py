"""What is learned: the velocity from data to noise along straight lines (rectified flow; paper section 4.1).

x_t = (1 - t) x_0 + t noise, and the velocity is noise - x_0. Memories run at timestep 0; a little noise on them keeps
the model from copying them blindly (supplement E). Knows one batch and one backbone, no optimiser.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.backbones.backbone import MEMORY, PREVIOUS
from model.camera.trajectory import Trajectory
from model.config import MergeConfig, MixConfig
from model.memory.conditioning import Conditioning
from model.memory.sequence import ConditionVideo
from model.memory.tokenizers import BASE_PATCH
from model.training.samples import Batch

TIMESTEPS = 1000  # of the schedulers: the transformer is told t * 1000


@dataclass(frozen=True)
class TextStates:
    """Text states of instructions, made once `[1, words, text_dim]`; the empty one is what cached memory reads."""

    by_instruction: Mapping[str, Tensor]

    def of(self, instructions: tuple[str, ...]) -> Float[Tensor, "batch words width"]:
        return torch.cat([self.by_instruction[each] for each in instructions])

    @property
    def empty(self) -> Float[Tensor, "1 words width"]:
        return self.by_instruction[""]


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
) -> Float[Tensor, ""]:
    """Mean squared error of the velocity, regions weighing 1 + `region_weight`.

    The source is on the transformer's channels (LucyEdit); that of novel views is a condition (ReCamMaster).
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
        attention_kwargs={"conditioning": conditioning_of(batch, text, mix, random)},
    )
    errors = (output.sample.float() - (noise - clean)).square()
    weights = 1 + region_weight * torch.from_numpy(batch.regions).to(device)[:, None].float()
    return (errors * weights).mean() / weights.mean()


def conditioning_of(batch: Batch, text: TextStates, mix: MixConfig, random: torch.Generator) -> Conditioning:
    """The memories of a batch as the transformer takes them, behind the user's video where views are rendered."""
    device = text.empty.device
    views = batch.cameras is not None
    deviation = float(torch.rand((), generator=random, device=random.device)) * mix.memory_noise
    videos = _user_video(batch, mix, random, device) if views else []
    for memory in batch.memories:
        edited = torch.from_numpy(memory.edited).to(random.device)
        edited = edited + deviation * torch.randn(edited.shape, generator=random, device=random.device)
        edited = edited.to(device)
        source = torch.from_numpy(memory.source).to(device)
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
    return Conditioning(
        videos=tuple(videos),
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
