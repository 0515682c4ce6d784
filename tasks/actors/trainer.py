"""The Trainer, with the Renderers that draw clips for it, and the workers of Ray Train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from model.config import TrainingRunConfig
from model.errors import RunError
from model.types import TrainingClip
from storage.content_id import hash_file
from storage.datasets.clip import EditedClip
from storage.datasets.encoded import EncodedClips
from storage.datasets.extended import MANIFEST
from storage.datasets.multicam import Scene, SceneClip
from storage.datasets.rendered import Drawing, draw_clip

if TYPE_CHECKING:
    from model.backbones.backbone import Codec

LOST_WORKERS = 2  # so often training begins again from its last state by itself


@dataclass(frozen=True)
class TrainJob:
    """One training run as its workers see it: files of clips with their shares, by source; `out` is shared by all.

    `manifests` are those of extended datasets among them as the run is named by, by folder, as hashes.
    """

    start: Path
    training: tuple[tuple[tuple[Path, ...], float], ...]
    validation: tuple[tuple[tuple[Path, ...], float], ...]
    config: TrainingRunConfig
    out: Path
    device: str
    threads: int
    manifests: Mapping[Path, str]


@ray.remote(max_restarts=-1, max_task_retries=0)
class Renderer:
    """Draws clips for training, or reads them from films, without torch."""

    def draw(self, drawings: Sequence[Drawing | Scene], footage: Path) -> list[EditedClip | SceneClip]:
        """The clips as pictures; `footage` is the folder with real ones.

        Raises:
            RunError: footage is not there and could not be downloaded.
            RequestError, VideoError: of films, see `Scene.draw`.
        """
        return [one.draw() if isinstance(one, Scene) else draw_clip(one, footage) for one in drawings]


@ray.remote(max_restarts=0, max_task_retries=0)
class Trainer:
    """Builds small models, turns clips into latents, and trains. A run that lost it is started again, and goes on."""

    def __init__(self) -> None:
        self._codec: Codec | None = None

    def build(
        self, folder: Path, clips: Sequence[EditedClip], sentences: Sequence[str], config: TrainingRunConfig
    ) -> None:
        """Write an untrained small model, its codec fitted to `clips`."""
        from model.training.run import build_start

        build_start(folder, [frames for clip in clips for frames in (clip.source, clip.versions[0])], sentences, config)

    def open(self, start: Path, device: str) -> None:
        """Load the codec of a model.

        Raises:
            WeightsError: it does not load.
        """
        from model.backbones.backbone import Codec

        self._codec = Codec.load(start, device)

    def encode(self, clips: Sequence[EditedClip | SceneClip], length: int) -> list[TrainingClip]:
        """Clips as latents, in segments of `length` frames."""
        assert self._codec is not None, "a model is opened first"
        return [_encode(self._codec, clip, length) for clip in clips]

    def train(self, job: TrainJob) -> float:
        """Train, alone or with others; returns the seconds that it took.

        Raises:
            RunError: workers were lost more often than is worth another try, or a dataset is not what it was.
            StoreError: a clip or a state is damaged, or belongs to another model.
        """
        started = perf_counter()
        self._close()
        if job.config.workers == 1:
            _train(job)
        else:
            _train_together(job)
        return perf_counter() - started

    def _close(self) -> None:
        """Give up the codec that is open: workers want all of the card."""
        if self._codec is None:
            return
        from model.backbones.placement import free_card

        self._codec = None
        free_card()


def start_trainer(config: TrainingRunConfig, device: str) -> Any:
    """Create the Trainer; where it trains alone it takes a GPU, or the cores."""
    alone = config.workers == 1
    if device.startswith("cuda"):
        return Trainer.options(num_gpus=1 if alone else 0).remote()
    return Trainer.options(num_cpus=1 if alone else 0).remote()


def start_renderers(count: int) -> list[Any]:
    """Create `count` Renderers, which share a core with whoever waits for them."""
    return [Renderer.options(num_cpus=0).remote() for _ in range(count)]


def _encode(codec: "Codec", clip: EditedClip | SceneClip, length: int) -> TrainingClip:
    from model.training.run import encode_segments, pool_regions

    if isinstance(clip, SceneClip):
        once, views = (encode_segments(codec, each, length) for each in (clip.source, clip.views))
        source = np.concatenate([once] * (len(views) // len(once)))
        nothing = np.zeros((len(source), *source.shape[2:]), bool)
        return TrainingClip(clip.id, "", False, source, (views,), nothing, clip.cameras)
    source, *versions = (encode_segments(codec, each, length) for each in (clip.source, *clip.versions))
    regions = pool_regions(clip.regions, length, source.shape[3])
    return TrainingClip(clip.id, clip.instruction, clip.fixed, source, tuple(versions), regions, clip.cameras)


def _train(job: TrainJob, device: str | None = None, **worker: Any) -> None:
    """One worker's share of a run."""
    from model.training.loop import Worker
    from model.training.run import run_training

    clips = EncodedClips(job.training), EncodedClips(job.validation, "validation")
    require_unchanged(job.manifests)
    texts = clips[0].instructions | clips[1].instructions
    run_training(job.start, clips, texts, job.config, job.out, device or job.device, job.threads, Worker(**worker))


def require_unchanged(manifests: Mapping[Path, str]) -> None:
    """Refuse a dataset that was extended since the run was named: a run that goes on would draw other samples.

    Raises:
        RunError: there is one.
    """
    for folder, known in manifests.items():
        if hash_file(folder / MANIFEST) != known:
            raise RunError(
                f"{folder}: was extended while a training uses it, which would go on with other samples; "
                "extend into another folder, or train anew with another --out"
            )


def _train_together(job: TrainJob) -> None:
    """Ray Train starts the workers, and starts them again from the last state where one is lost."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    scaling = ScalingConfig(num_workers=job.config.workers, use_gpu=job.device.startswith("cuda"))
    failures = FailureConfig(max_failures=LOST_WORKERS)
    run = RunConfig(name="workers", storage_path=str(job.out.resolve() / "ray"), failure_config=failures)
    trainer = TorchTrainer(_train_as_worker, train_loop_config={"job": job}, scaling_config=scaling, run_config=run)
    try:
        trainer.fit()
    except TrainingFailedError as fault:
        reason = str(fault).strip().splitlines()[-1]
        raise RunError(
            f"{job.config.workers} workers failed: {reason}; the same command goes on from the last state"
        ) from None


def _train_as_worker(given: dict[str, TrainJob]) -> None:
    from ray.train import get_context
    from ray.train.torch import get_device, prepare_model

    from model.training.sharding import shard

    def copy(module: Any) -> Any:
        """Which modules a batch uses is drawn, so some have no gradient."""
        return prepare_model(module, parallel_strategy_kwargs={"find_unused_parameters": True})

    context = get_context()
    wrap = shard if given["job"].config.strategy == "fsdp" else copy
    place = {"rank": context.get_world_rank(), "count": context.get_world_size(), "wrap": wrap}
    _train(given["job"], str(get_device()), **place)
