"""Extenders continue clips with FramePack; the Encoder makes latents of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from model.config import ExtensionConfig, precision
from model.types import WindowRecord
from storage.datasets.clip import Frames
from storage.datasets.media import read_media, read_pair
from storage.datasets.pairs import Pair

if TYPE_CHECKING:
    from model.backbones.backbone import Codec
    from model.backbones.framepack import FramePack

EXTENDER_SHARE = 0.75  # of a GPU; the Encoder has the rest of one


@dataclass(frozen=True)
class ExtendJob:
    """What an Extender and the Encoder need besides the pair."""

    height: int
    width: int
    clip_frames: int
    segment_frames: int
    seed: int
    config: ExtensionConfig


@ray.remote(max_restarts=-1, max_task_retries=0)
class Extender:
    """Continues clips with FramePack."""

    def __init__(self, framepack: str, device: str) -> None:
        self._place, self._device = Path(framepack), device
        self._model: FramePack | None = None

    def load(self) -> None:
        """Load FramePack, if it is not there yet.

        Raises:
            WeightsError: it does not load.
        """
        self._loaded()

    @ray.method(num_returns=2)
    def extend(self, pair: Pair, job: ExtendJob) -> tuple[tuple[Frames, Frames, Frames], tuple[WindowRecord, ...]]:
        """Frames of source, target and extension, and how each window of the extension was made.

        A clip shorter than a segment will be rejected, and is not continued.

        Raises:
            VideoError: a video is damaged, of a kind that is refused, or too short.
            WeightsError: FramePack does not load.
        """
        from model.metrics.drift import measure_drift

        source, target = read_pair(pair, job.height, job.width, job.clip_frames)
        if len(source) < job.segment_frames:
            return (source, target, target[:0]), ()
        end = None if pair.end is None else read_media(pair.end, job.height, job.width, 1)
        model = self._loaded()
        prompt, frames, seed = pair.entry.instruction, job.config.frames, job.seed
        made = model.extend(target, prompt, frames, seed, job.config, measure_drift, end)
        return (source, target, made.frames), made.windows

    def _loaded(self) -> "FramePack":
        if self._model is None:
            from model.backbones.framepack import FramePack

            self._model = FramePack.from_pretrained(self._place, precision(self._device), self._device)
        return self._model


@ray.remote(max_restarts=-1, max_task_retries=0)
class Encoder:
    """Turns frames into the latents of the model that will be trained."""

    def __init__(self, weights: str, device: str) -> None:
        self._place, self._device = Path(weights), device
        self._codec: Codec | None = None

    def load(self) -> None:
        """Load the codec, and nothing else of the model: FramePack needs the memory.

        Raises:
            WeightsError: it does not load.
        """
        self._loaded()

    def encode(self, pictures: tuple[Frames, Frames, Frames], length: int) -> tuple[np.ndarray, np.ndarray]:
        """Latents by segment of `length` frames: of the source, and of the target followed by its extension.

        Frames beyond the last whole segment of either are left out; of clips shorter than one nothing is left.

        Raises:
            WeightsError: the codec does not load.
        """
        from model.training.run import encode_segments

        if len(pictures[0]) < length:
            return np.empty(0), np.empty(0)
        codec = self._loaded()
        whole = [frames[: len(frames) // length * length] for frames in pictures]
        source, target, *rest = (encode_segments(codec, frames, length) for frames in whole if len(frames))
        return source, np.concatenate([target, *rest])

    def _loaded(self) -> "Codec":
        if self._codec is None:
            from model.backbones.backbone import Codec

            self._codec = Codec.load(self._place, self._device)
        return self._codec


def start_extenders(framepack: str, weights: str, device: str, count: int) -> tuple[list[Any], Any]:
    """Create `count` Extenders, which share GPUs with the Encoder; where there is none, each takes a core."""
    cuda = device.startswith("cuda")
    needs: dict[str, Any] = {"num_gpus": EXTENDER_SHARE} if cuda else {"num_cpus": 1}
    extenders = [Extender.options(**needs).remote(framepack, device) for _ in range(count)]
    return extenders, Encoder.options(num_gpus=1 - EXTENDER_SHARE if cuda else 0, num_cpus=0).remote(weights, device)
