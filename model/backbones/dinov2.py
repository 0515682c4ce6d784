"""DINOv2 as the segment descriptor (paper supplement D.2, Algorithm 2).

The paper leaves the variant open: ours is the class token after the last norm, facebook/dinov2-base unless another
folder is given, averaged over the frames of a segment. Frames are scaled to 224x224 pixels (bilinear, antialiased, not
cropped: what stands at the edge belongs to the segment) and normalised with ImageNet's mean and deviation.
"""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float32
from torch import Tensor
from transformers import Dinov2Model

from model.backbones.model_folder import require_safe_part
from model.descriptor import Frames
from model.errors import WeightsError, first_line

SIDE = 224
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 16


class Dinov2Descriptor:
    """Mean class token of a segment's frames. `folder` is a local folder or the id of a model already downloaded.

    Its `name` holds a hash of the weights, so that vectors of two models are never compared, whatever their folders.

    Raises:
        WeightsError: the weights are missing, or of another model.
    """

    def __init__(self, folder: str, device: str = "cpu") -> None:
        _require_dinov2(folder)
        try:
            model = Dinov2Model.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, RuntimeError) as fault:
            raise WeightsError(f"{folder}: DINOv2 does not load: {first_line(fault)}") from fault
        self.name = f"dinov2-{model.config.hidden_size}-{_hash_weights(model)[:12]}"
        self._model = model.eval()
        self._model.to(torch.device(device))  # type: ignore[arg-type] - the stub of `to` is wrong
        self.size = int(model.config.hidden_size)

    @torch.no_grad()
    def describe(self, frames: Frames) -> Float32[np.ndarray, " size"]:
        """The descriptor of a segment's frames `[frame, height, width, 3]`, uint8 or uint16."""
        return self._all_class_tokens(frames).mean(dim=0).float().cpu().numpy()

    @torch.no_grad()
    def describe_each(self, frames: Frames) -> Float32[np.ndarray, "frame size"]:
        """The class token of every frame by itself."""
        return self._all_class_tokens(frames).float().cpu().numpy()

    def _all_class_tokens(self, frames: Frames) -> Tensor:
        return torch.cat([self._class_tokens(frames[start : start + BATCH]) for start in range(0, len(frames), BATCH)])

    def _class_tokens(self, frames: Frames) -> Tensor:
        pixels = torch.from_numpy(frames.astype(np.float32) / np.iinfo(frames.dtype).max).permute(0, 3, 1, 2)
        small = F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        return self._model(((small - mean) / deviation).to(self._model.device)).pooler_output


def _hash_weights(model: Dinov2Model) -> str:
    digest = sha256()
    for name, weights in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weights.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _require_dinov2(folder: str) -> None:
    config = Path(folder) / "config.json"
    if not Path(folder).is_dir():
        return  # a hub id: transformers looks for it among the downloaded models
    try:
        kind = json.loads(config.read_text()).get("model_type")
    except (OSError, ValueError):
        raise WeightsError(f"{config}: missing or no JSON; expected a DINOv2 folder") from None
    if kind != "dinov2":
        raise WeightsError(f"{folder}: a model of type {kind}; expected dinov2")
    require_safe_part(Path(folder))
