"""The Ray actors: one loaded model each. The only file with `ray.remote`, and the only way to torch.

Constructors return at once; the Editor's weights load beside them, while the video is still being read. So a restarted
actor loads by itself, and a bad folder is an ordinary `WeightsError` for whoever asks for the model. Actors restart
without limit and never retry a call: the Prefect task does, and the ledger makes that cheap.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.exceptions import RayActorError, RayTaskError

from model.camera.trajectory import Trajectory
from model.config import EditConfig, ExtensionConfig, Precision, TrainingRunConfig
from model.errors import LostActorError, MemoryV2VError, OutOfMemoryError, RunError
from model.rehearsal import Rehearsal
from model.types import Memory, TrainingClip, ViewMemory, WindowRecord
from storage.datasets.clip import EditedClip, Frames
from storage.datasets.encoded import EncodedClips
from storage.datasets.media import read_media, read_pair
from storage.datasets.pairs import Pair
from storage.datasets.rendered import Drawing, draw_clip
from tasks.footprint import footprint

if TYPE_CHECKING:
    from model.backbones.framepack import FramePack
    from model.descriptor import Descriptor
    from model.editor import MemoryEditor
    from model.metrics.catalogue import InstrumentSet
    from model.metrics.measured import MeasuredEditor
    from model.metrics.score import Measurement
    from tasks.evaluate import Job, Verdict
    from tasks.measure import MeasureJob

POLL_SECONDS = 1.0  # between looks at whether somebody wants this process to end
LOST_WORKERS = 2  # so often training begins again from its last state by itself
EXTENDER_SHARE = 0.75  # of a GPU; the Encoder has the rest of one
LATENT_DTYPE = np.float16  # as stored: a resumed run must see the very numbers that the first run saw


LatentPair = tuple[np.ndarray, np.ndarray]
"""Edited and source latents of a memory."""


@dataclass(frozen=True)
class EditJob:
    """What the Editor needs for one segment of a text edit besides the pictures and the memories' latents.

    `source_latents`, float16, are those of the pictures where they are known, else None.
    """

    instruction: str
    frames: int
    seed: int
    memory_ids: tuple[str, ...]
    previous: str | None
    config: EditConfig
    source_latents: np.ndarray | None = None
    trajectory: None = None

    def memories(self, latents: Sequence[LatentPair]) -> list[Memory]:
        """The memories as the model takes them."""
        return [
            Memory(id=id, edited=edited, source=source, is_previous=id == self.previous)
            for id, (edited, source) in zip(self.memory_ids, latents, strict=True)
        ]


@dataclass(frozen=True)
class ViewJob:
    """The same for one segment of a novel view: its camera path `trajectory`, and `cameras`, those of the memories."""

    instruction: str
    frames: int
    seed: int
    memory_ids: tuple[str, ...]
    cameras: tuple[Trajectory, ...]
    config: EditConfig
    trajectory: Trajectory
    source_latents: None = None

    def memories(self, latents: Sequence[LatentPair]) -> list[ViewMemory]:
        """The memories as the model takes them."""
        views = zip(self.memory_ids, latents, self.cameras, strict=True)
        return [ViewMemory(id, edited, trajectory) for id, (edited, _), trajectory in views]


@ray.remote(max_restarts=-1, max_task_retries=0)
class Editor:
    """Edits segments. `progress` answers while `edit` runs."""

    def __init__(self, weights: str, dtype: Precision, device: str) -> None:
        loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="load")
        self._model: Future[MemoryEditor | Rehearsal] = loader.submit(_load_or_rehearse, weights, dtype, device)
        self._step = (0, 0)
        self._segments = 0
        footprint()

    def load(self) -> int:
        """Wait until the weights are loaded; returns the process id.

        Raises:
            WeightsError: they do not load.
        """
        self._model.result()
        return os.getpid()

    @ray.method(num_returns=3)
    def edit(self, frames: np.ndarray, job: EditJob | ViewJob, *latents: LatentPair) -> tuple:
        """Edit `frames` `[n, h, w, 3]` (uint8 or uint16, n up to `job.frames`).

        Returns the edited frames (same shape and type), the edited and source latents as float16, and what it tells of
        the work: the seconds spent by part, and the merges where it knows them.

        Raises:
            OutOfMemoryError: the segment does not fit.
        """
        model, self._step = self._model.result(), (0, 0)
        padded = np.concatenate([frames, np.repeat(frames[-1:], job.frames - len(frames), axis=0)])
        full, known = np.iinfo(frames.dtype).max, job.source_latents
        with _memory_errors():
            edited = model.edit(
                padded.astype(np.float32) / np.float32(full),
                job.instruction,
                memories=job.memories(latents),
                seed=job.seed,
                config=job.config,
                progress=self._report,
                trajectory=job.trajectory,
                source_latents=None if known is None else known.astype(np.float32),
            )
        self._segments += 1
        pixels = np.rint(edited.frames[: len(frames)] * np.float32(full)).astype(frames.dtype)
        kept = (edited.edited.astype(LATENT_DTYPE), edited.source.astype(LATENT_DTYPE))
        return pixels, kept, (dict(edited.seconds), edited.merges)

    def _report(self, step: int, steps: int) -> None:
        self._step = (step, steps)

    def progress(self) -> tuple[int, int]:
        """Denoising steps done and planned of the segment at hand."""
        return self._step

    def condition(self) -> tuple[int, int]:
        """Segments edited since this process started, and bytes that it holds: of the GPU where it has one."""
        return self._segments, self._model.result().held_bytes() or footprint().held_bytes()

    def offload(self) -> None:
        """Keep the weights in main memory while they are not used, which is slow; a new process does not."""
        _offload(self._model.result())

    def peak_bytes(self) -> int:
        """The largest private resident size of this process so far."""
        return footprint().peak_bytes()


@ray.remote(max_restarts=-1, max_task_retries=0)
class Embedder:
    """Describes source segments: DINOv2, or the thumbnail fallback where no weights are given."""

    def __init__(self, descriptor: str) -> None:
        self._name = descriptor
        self._model: Descriptor | None = None
        footprint()

    def _loaded(self) -> "Descriptor":
        if self._model is None:
            self._model = _load_descriptor(self._name)
        return self._model

    def identity(self) -> tuple[str, int]:
        """The descriptor's name, as kept in every row, and its size."""
        model = self._loaded()
        return model.name, model.size

    def describe(self, frames: np.ndarray) -> np.ndarray:
        """Descriptor `[size]`, float32, of source frames `[n, h, w, 3]`."""
        return self._loaded().describe(frames)

    def peak_bytes(self) -> int:
        """The largest private resident size of this process so far."""
        return footprint().peak_bytes()


def _load_editor(weights: str, dtype: Precision, device: str) -> "MemoryEditor":
    from model.editor import MemoryEditor

    return MemoryEditor.from_pretrained(weights, dtype=dtype, device=device)


def _load_or_rehearse(weights: str, dtype: Precision, device: str) -> "MemoryEditor | Rehearsal":
    return Rehearsal.open(weights) if Rehearsal.is_at(weights) else _load_editor(weights, dtype, device)


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Tell want of memory from all else; a GPU says so in a type of its own, a processor in words."""
    try:
        yield
    except (MemoryError, RuntimeError) as fault:
        if isinstance(fault, MemoryError) or "out of memory" in str(fault) or "can't allocate memory" in str(fault):
            raise OutOfMemoryError(f"not enough memory for a segment: {str(fault).splitlines()[0][:200]}") from None
        raise


def _offload(model: "MemoryEditor | Rehearsal") -> None:
    """Have weights lie in main memory, and visit the device one layer at a time."""
    if isinstance(model, Rehearsal):
        return
    from accelerate import cpu_offload

    cpu_offload(model.backbone.transformer, execution_device=model.backbone.device)


def _load_descriptor(name: str) -> "Descriptor":
    if name == "thumbnail":
        from model.descriptor import ThumbnailDescriptor

        return ThumbnailDescriptor()
    from model.backbones.dinov2 import Dinov2Descriptor

    return Dinov2Descriptor(name)


@dataclass(frozen=True)
class TrainJob:
    """One training run as its workers see it: files of clips with their shares, by source; `out` is shared by all."""

    start: Path
    training: tuple[tuple[tuple[Path, ...], float], ...]
    validation: tuple[tuple[tuple[Path, ...], float], ...]
    config: TrainingRunConfig
    out: Path
    device: str
    threads: int


@ray.remote(max_restarts=-1, max_task_retries=0)
class Renderer:
    """Draws clips for training, with numpy alone."""

    def draw(self, drawings: Sequence[Drawing], footage: Path) -> list[EditedClip]:
        """The clips as pictures; `footage` is the folder with real ones.

        Raises:
            RunError: footage is not there and could not be downloaded.
        """
        return [draw_clip(drawing, footage) for drawing in drawings]


@ray.remote(max_restarts=0, max_task_retries=0)
class Trainer:
    """Builds small models, turns clips into latents, and trains. A run that lost it is started again, and goes on."""

    def build(
        self, folder: Path, clips: Sequence[EditedClip], sentences: Sequence[str], config: TrainingRunConfig
    ) -> None:
        """Write an untrained small model, its codec fitted to `clips`."""
        from model.training.run import build_start

        build_start(folder, [frames for clip in clips for frames in (clip.source, clip.versions[0])], sentences, config)

    def open(self, start: Path, device: str) -> None:
        """Load the model whose codec is to be used.

        Raises:
            WeightsError: it does not load.
        """
        self._editor = _load_editor(str(start), "float32", device)

    def encode(self, clips: Sequence[EditedClip], length: int) -> list[TrainingClip]:
        """Clips as latents, in segments of `length` frames."""
        return [_encode(self._editor, clip, length) for clip in clips]

    def train(self, job: TrainJob) -> float:
        """Train, alone or with others; returns the seconds that it took.

        Raises:
            RunError: workers were lost more often than is worth another try.
            StoreError: a clip or a state is damaged, or belongs to another model.
        """
        started = perf_counter()
        if job.config.workers == 1:
            _train(job)
        else:
            _train_together(job)
        return perf_counter() - started


def _encode(editor: "MemoryEditor", clip: EditedClip, length: int) -> TrainingClip:
    from model.training.run import encode_segments, pool_regions

    source, *versions = (encode_segments(editor.backbone, each, length) for each in (clip.source, *clip.versions))
    regions = pool_regions(clip.regions, length, source.shape[3])
    return TrainingClip(clip.id, clip.instruction, clip.fixed, source, tuple(versions), regions, clip.cameras)


def _train(job: TrainJob, device: str | None = None, **worker: Any) -> None:
    """One worker's share of a run."""
    from model.training.loop import Worker
    from model.training.run import run_training

    clips = EncodedClips(job.training), EncodedClips(job.validation, "validation")
    texts = clips[0].instructions | clips[1].instructions
    run_training(job.start, clips, texts, job.config, job.out, device or job.device, job.threads, Worker(**worker))


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


@ray.remote(max_restarts=-1, max_task_retries=0)
class Judge:
    """Edits held-out videos on one core and looks at what came out, or looks at videos that were edited before.

    It keeps the model that it used last, and the instruments.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._editor: MeasuredEditor | None = None
        self._tools: InstrumentSet | None = None

    def judge(self, job: "Job") -> list["Verdict"]:
        """Do one job of the proof.

        Raises:
            WeightsError: its model does not load.
            RunError: footage is not there and could not be downloaded.
        """
        from model.metrics.measured import MeasuredEditor
        from tasks.evaluate import do_job

        if self._editor is None or self._folder != job.model.folder:
            self._folder, self._editor = job.model.folder, MeasuredEditor.from_pretrained(job.model.folder)
        return do_job(self._editor, job)

    def measure(self, job: "MeasureJob") -> tuple[str, dict[str, "Measurement"]]:
        """Every metric of one finished video, by the job's key.

        Raises:
            RequestError: the video and its source do not fit together.
            WeightsError: an instrument does not load.
        """
        from tasks.measure import measure_video

        given = job.instruments
        if self._tools is None and given.folder is not None:
            from model.metrics.instruments import Instruments

            self._tools = Instruments(given.folder, given.device)
        return job.key, measure_video(job, self._tools)


def judge_together(jobs: Sequence["Job"], count: int) -> Iterator[list["Verdict"]]:
    """Have at most `count` Judges, one a core, do all jobs; yields what each job gave, whichever is done first.

    Raises:
        MemoryV2VError: raised by a Judge.
    """
    yield from _share_out(jobs, count, "CPU", lambda judge, job: judge.judge.remote(job))


def measure_together(jobs: Sequence["MeasureJob"], count: int) -> Iterator[tuple[str, dict[str, "Measurement"]]]:
    """Have at most `count` Judges, one a core, or a GPU where instruments run on one, measure finished videos.

    Raises:
        MemoryV2VError: raised by a Judge.
    """
    on_gpu = any(job.instruments.folder and job.instruments.device.startswith("cuda") for job in jobs)
    yield from _share_out(jobs, count, "GPU" if on_gpu else "CPU", lambda judge, job: judge.measure.remote(job))


def _share_out(jobs: Sequence[Any], count: int, takes: str, give: Callable[[Any, Any], Any]) -> Iterator[Any]:
    """Have Judges, each of which takes a core or a GPU, do all jobs; yields what each gave, whichever is done first."""
    count = min(count, len(jobs), max(1, int(ray.cluster_resources().get(takes, 1))))
    needs = {"num_cpus": 0, "num_gpus": 1} if takes == "GPU" else {"num_cpus": 1}
    free: list[Any] = [Judge.options(**needs).remote() for _ in range(count)]
    waiting = list(jobs)
    busy: dict[Any, Any] = {}
    while waiting or busy:
        while waiting and free:
            judge = free.pop()
            busy[give(judge, waiting.pop(0))] = judge
        ready, _ = ray.wait(list(busy), timeout=POLL_SECONDS)
        for done in ready:
            free.append(busy.pop(done))
            yield result_of(done)


def start_extenders(framepack: str, weights: str, device: str, count: int) -> tuple[list[Any], Any]:
    """Create `count` Extenders, which share GPUs with the Encoder; where there is none, each takes a core."""
    cuda = device.startswith("cuda")
    needs: dict[str, Any] = {"num_gpus": EXTENDER_SHARE} if cuda else {"num_cpus": 1}
    extenders = [Extender.options(**needs).remote(framepack, device) for _ in range(count)]
    return extenders, Encoder.options(num_gpus=1 - EXTENDER_SHARE if cuda else 0, num_cpus=0).remote(weights, device)


def start_trainer(config: TrainingRunConfig, device: str) -> Any:
    """Create the Trainer; where it trains alone it takes a GPU, or the cores."""
    alone = config.workers == 1
    if device.startswith("cuda"):
        return Trainer.options(num_gpus=1 if alone else 0).remote()
    return Trainer.options(num_cpus=1 if alone else 0).remote()


def start_renderers(count: int) -> list[Any]:
    """Create `count` Renderers, which share a core with whoever waits for them."""
    return [Renderer.options(num_cpus=0).remote() for _ in range(count)]


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

    @ray.method(num_returns=2)
    def extend(self, pair: Pair, job: ExtendJob) -> tuple[tuple[Frames, Frames, Frames], tuple[WindowRecord, ...]]:
        """Frames of source, target and extension, and how each window of the extension was made.

        Raises:
            VideoError: a video is damaged, of a kind that is refused, or too short.
            WeightsError: FramePack does not load.
        """
        from model.metrics.drift import measure_drift

        source, target = read_pair(pair, job.height, job.width, job.clip_frames)
        end = None if pair.end is None else read_media(pair.end, job.height, job.width, 1)
        model = self._loaded()
        prompt, frames, seed = pair.entry.instruction, job.config.frames, job.seed
        made = model.extend(target, prompt, frames, seed, job.config, measure_drift, end)
        return (source, target, made.frames), made.windows

    def _loaded(self) -> "FramePack":
        if self._model is None:
            from model.backbones.framepack import FramePack

            dtype: Precision = "bfloat16" if self._device.startswith("cuda") else "float32"
            self._model = FramePack.from_pretrained(self._place, dtype, self._device)
        return self._model


@ray.remote(max_restarts=-1, max_task_retries=0)
class Encoder:
    """Turns frames into the latents of the model that will be trained."""

    def __init__(self, weights: str, device: str) -> None:
        self._place, self._device = weights, device
        self._model: MemoryEditor | None = None

    def encode(self, pictures: tuple[Frames, Frames, Frames], length: int) -> tuple[np.ndarray, np.ndarray]:
        """Latents by segment of `length` frames: of the source, and of the target followed by its extension.

        Frames beyond the last whole segment of either are left out.

        Raises:
            WeightsError: the model does not load.
        """
        from model.training.run import encode_segments

        if self._model is None:
            self._model = _load_editor(self._place, "float32", self._device)
        backbone = self._model.backbone
        whole = [frames[: len(frames) // length * length] for frames in pictures]
        source, target, *rest = (encode_segments(backbone, frames, length) for frames in whole if len(frames))
        return source, np.concatenate([target, *rest])


def result_of(reference: Any) -> Any:
    """What an actor returned; errors of ours as they were raised there.

    Raises:
        MemoryV2VError: raised by the actor.
        RunError: the actor died.
    """
    try:
        return ray.get(reference)
    except RayTaskError as fault:
        if isinstance(fault.cause, MemoryV2VError):
            raise fault.cause from None
        raise
    except RayActorError as fault:
        raise LostActorError(
            "a process of this run died, most often for want of memory; the same command goes on from there"
        ) from fault
