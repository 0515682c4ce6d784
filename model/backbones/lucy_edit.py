"""LucyEdit (Wan2.2, or Wan2.1 at other sizes) with a memory: text-guided editing of long videos (paper section 3.4).

The source enters by channels: the patch embedding sees [noisy latents, source latents]. A memory enters the same way,
as [its edited latents, its source latents]: what the base sees near t = 0. It runs at timestep 0. The parts and their
recipe are diffusers' `LucyEditPipeline`; without memories our loop gives its very bits in float32.
"""

from collections.abc import Sequence

import torch
from diffusers.pipelines.lucy.pipeline_lucy_edit import LucyEditPipeline
from torch import Tensor

from model.backbones.backbone import MEMORY, PREVIOUS, Backbone, conditioned
from model.camera.trajectory import Trajectory
from model.config import EditConfig
from model.errors import RequestError
from model.memory.conditioning import Conditioning
from model.memory.sequence import ConditionVideo
from model.memory.tokenizers import memory_patch
from model.types import Memory


class LucyEdit(Backbone[Memory]):
    """Edits as an instruction says."""

    pipeline_class = LucyEditPipeline
    cameras = False

    def conditioning(
        self, source: Tensor, memories: Sequence[Memory], trajectory: Trajectory | None, config: EditConfig
    ) -> Conditioning:
        """The memories alone: the source enters with the target."""
        if trajectory is not None:
            raise RequestError("this model takes no camera trajectory; give an instruction, or choose another model")
        videos = tuple(
            ConditionVideo(
                latents=self._both(memory, source, config.memory_source),
                patch=memory_patch(rank, config.tokens),
                start=PREVIOUS if memory.is_previous else MEMORY,
                reverse=config.reverse_memory,
            )
            for rank, memory in enumerate(memories)
        )
        return conditioned(videos, source.shape[2], self.window, merging=config.merging)

    def model_input(self, latents: Tensor, source: Tensor) -> Tensor:
        """Noisy latents and source latents, on the channels."""
        return torch.cat([latents, source], dim=1).to(self.dtype)

    def _both(self, memory: Memory, like: Tensor, with_source: bool) -> Tensor:
        edited, source = (torch.tensor(latents)[None].to(like.device) for latents in (memory.edited, memory.source))
        pair = [edited, source if with_source else torch.zeros_like(source)]
        return torch.cat(pair, dim=1).to(self.dtype)
