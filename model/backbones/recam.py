"""ReCamMaster (Wan2.1) with a memory: a video seen anew along camera trajectories, turn after turn (paper section 3.2).

The user's video enters by frames: it is tokenised as the target is, takes the temporal range behind the target's, and
runs at the target's timestep. Memories follow at timestep 0 and share the next range (supplement E.1). Every video is
told its own cameras (Eq. 17); the user's, unknown, are taken to stand still where all trajectories start. ReCamMaster
alone was trained with the target's cameras on the user's video too: `source_camera="target"` does that. With cached
attention the user's video may be cached too, `cache_user_video`: it then is treated as the memories are (ours).
"""

from collections.abc import Sequence

import torch
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from jaxtyping import Float
from torch import Tensor

from model.backbones.backbone import MEMORY, PREVIOUS, Backbone, conditioned
from model.camera.trajectory import LATENT_STRIDE, Trajectory
from model.config import EditConfig
from model.errors import RequestError
from model.memory.conditioning import Conditioning
from model.memory.sequence import ConditionVideo
from model.memory.tokenizers import BASE_PATCH, memory_patch
from model.types import ViewMemory


class ReCam(Backbone[ViewMemory]):
    """Renders a video along another camera trajectory."""

    pipeline_class = WanPipeline
    cameras = True

    def conditioning(
        self, source: Tensor, memories: Sequence[ViewMemory], trajectory: Trajectory | None, config: EditConfig
    ) -> Conditioning:
        """The user's video, then the memories, all with cameras. A trajectory of another length is resampled."""
        if trajectory is None:
            raise RequestError("this model renders a camera trajectory and was given none; give one, such as a preset")
        target = self._cameras(trajectory, source.shape[2])
        still = self._cameras(Trajectory.still(1), source.shape[2])
        user_video = ConditionVideo(
            latents=source.to(self.dtype),
            patch=BASE_PATCH,
            start=PREVIOUS,
            cameras=target if config.source_camera == "target" else still,
            live=not (config.attention == "cached" and config.cache_user_video),
            remembered=False,
        )
        views = (
            ConditionVideo(
                latents=torch.tensor(memory.edited)[None].to(self.device, self.dtype),
                patch=memory_patch(rank, config.tokens),
                start=MEMORY,
                cameras=self._cameras(memory.trajectory, memory.edited.shape[1]),
            )
            for rank, memory in enumerate(memories)
        )
        return conditioned(
            (user_video, *views), source.shape[2], self.window, merging=config.merging, target_cameras=target
        )

    def model_input(self, latents: Tensor, source: Tensor) -> Tensor:
        """Noisy latents alone."""
        return latents.to(self.dtype)

    def _cameras(self, trajectory: Trajectory, latent_frames: int) -> Float[Tensor, "1 latent 12"]:
        frames = (latent_frames - 1) * LATENT_STRIDE + 1
        path = trajectory if len(trajectory) == frames else trajectory.resampled(frames)
        return torch.from_numpy(path.latent_rows())[None].to(self.device)
