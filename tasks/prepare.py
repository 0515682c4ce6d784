"""Everything that training needs before its first step: the run by name, a model to start from, and clips as latents.

Each piece is made once and found again: a killed run goes on where it was, and two runs of one folder share nothing
stale, since names cover all that they are made from. Paths are made absolute here, since actors and workers have a
working directory of their own.
"""

import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from shutil import rmtree
from typing import Any

import ray
from prefect import task
from prefect.cache_policies import NO_CACHE

from model.backbones.model_folder import read_model_index
from model.config import (
    PRESET_FILE,
    DatasetConfig,
    DrawnSource,
    EncodedSource,
    ExtendedSource,
    MultiCamSource,
    PanoramaSource,
    Source,
    Split,
    TrainingRunConfig,
    WindowConfig,
    require_peft,
)
from model.errors import RequestError
from storage.content_id import hash_file, hash_folder, identify
from storage.datasets.encoded import clip_path, has_cameras, latent_shapes, read_header, write_clip
from storage.datasets.extended import MANIFEST, open_dataset
from storage.datasets.footage import HELD_OUT, TRAINING
from storage.datasets.manifest import all_sentences, encoded_files, index_of, read_dataset, read_run_config
from storage.datasets.multicam import Scene, find_scenes
from storage.datasets.packages import fetch
from storage.datasets.rendered import Drawing, drawings_of, painters
from storage.durable import write_whole
from tasks.actors.answers import result_of
from tasks.actors.trainer import start_renderers
from tasks.progress import CountedProgress
from tasks.training_agreement import require_agreement
from tasks.weights import NOVEL_VIEWS, codec_id, locate_weights

BATCH = 8  # clips that go from a Renderer to the Trainer at once
IN_FLIGHT = 4  # batches
RENDERERS = 2
START, CLIPS, RUN = "start", "clips", "run.json"

Files = tuple[tuple[tuple[Path, ...], float], ...]


@dataclass(frozen=True)
class TrainingWork:
    """A training run, named before anything is made: the same manifest and config are the same run.

    `manifests` are hashes of the manifests of extended datasets in it, by folder.
    """

    dataset: DatasetConfig
    config: TrainingRunConfig
    out: Path
    cache: Path
    id: str
    manifests: Mapping[Path, str]


@dataclass(frozen=True)
class Prepared:
    """The model to start from, and the files of clips with their shares, by source. `made` are new in this run."""

    start: Path
    training: Files
    validation: Files
    made: int


def describe_training(manifest: Path, config: Path, out: Path, cache: Path) -> TrainingWork:
    """Read both files and name the run.

    Raises:
        RequestError: a file is not valid, sizes do not fit each other, clips do not fit the model, samples
            contradict the preset (see `require_agreement`), peft is wanted and not installed, or `out` holds another
            run.
        WeightsError: the model to start from is not there.
    """
    dataset, settings = read_dataset(manifest), read_run_config(config)
    _require_fitting(dataset, settings)
    require_peft(settings.training.optim)
    views = _renders_views(settings, cache)
    _require_cameras(dataset, views)
    require_agreement(dataset, settings, views)
    said = {"dataset": dataset.model_dump(mode="json"), "config": settings.model_dump(mode="json")}
    sources = (*dataset.training, *dataset.validation)
    indices = [hash_file(index_of(each)) for each in sources if isinstance(each, EncodedSource)]
    extended = [each.folder.resolve() for each in sources if isinstance(each, ExtendedSource)]
    manifests = {folder: hash_file(folder / MANIFEST) for folder in extended}
    start = None if settings.start is None else hash_folder(locate_weights(settings.start, cache), cache)
    of_files = {"start": start, "indices": [*indices, *manifests.values()], "painters": dict(painters())}
    id = identify(said | of_files)
    found = out / RUN
    if found.is_file() and json.loads(found.read_text())["id"] != id:
        raise RequestError(f"{out}: holds a run of another manifest or config; choose another --out, or remove it")
    return TrainingWork(dataset, settings, out.resolve(), cache, id, manifests)


def claim_folder(work: TrainingWork) -> None:
    """Say in the folder whose it is."""
    work.out.mkdir(parents=True, exist_ok=True)
    write_whole(work.out / RUN, json.dumps({"id": work.id}))


@task(task_run_name="start of {work.out.name}", cache_policy=NO_CACHE, persist_result=False)
def prepare_start(work: TrainingWork, trainer: Any) -> Path:
    """The model folder to start from: one that is there, or a small one built from nothing, once.

    Raises:
        WeightsError: there is no such model.
        RunError: footage could not be downloaded.
    """
    if work.config.start is not None:
        return locate_weights(work.config.start, work.cache).resolve()
    folder = work.out / START
    if not (folder / PRESET_FILE).is_file():
        sources = [each for each in work.dataset.training if isinstance(each, DrawnSource)]
        if not sources:
            raise RequestError("small: a codec needs pictures to be fitted to; name a rendered source, or give start")
        drawings = [drawing for source in sources for drawing in list(drawings_of(source))[: work.config.codec_clips]]
        renderer, unfinished = start_renderers(1)[0], folder.with_name(f"{START}.unfinished")
        rmtree(unfinished, ignore_errors=True)
        claim_folder(work)  # before anything that a run of other settings would take for its own
        clips = renderer.draw.remote(drawings, _footage(drawings, work.cache))
        result_of(trainer.build.remote(unfinished, clips, _sentences(work.dataset), work.config))
        unfinished.rename(folder)
    return folder


@task(task_run_name="clips of {work.out.name}", cache_policy=NO_CACHE, persist_result=False)
def prepare_clips(work: TrainingWork, start: Path, trainer: Any, device: str) -> Prepared:
    """Render and encode every clip that is not there yet.

    Raises:
        RequestError: encoded clips were made with another codec, or clips of a batch have latents of several sizes.
        RunError: footage could not be downloaded.
    """
    codec = codec_id(start / "vae")
    folder = work.out / CLIPS
    sources = (*work.dataset.training, *work.dataset.validation)
    clips = (each for source in sources for each in _drawings(source, work.config.preset.window))
    wanted = {clip_path(folder, each.name(codec)): each for each in clips}
    missing = {path: drawing for path, drawing in wanted.items() if not path.is_file()}
    _make(missing, work, codec, trainer, start, device)
    lists: dict[Split, Files] = {"training": (), "validation": ()}
    for split, _, source in work.dataset.named():
        files = _files(source, split, folder, codec, work.config.preset.window)
        lists[split] = (*lists[split], (files, source.share))
    for split, files in lists.items():
        _require_one_shape(files, split, work.config.training.batch)
    return Prepared(start, lists["training"], lists["validation"], len(missing))


def _make(
    missing: dict[Path, Drawing | Scene], work: TrainingWork, codec: str, trainer: Any, start: Path, device: str
) -> None:
    """Draw in processes beside the Trainer, encode in it, and write each clip as it comes."""
    if not missing:
        return
    result_of(trainer.open.remote(start, device))
    footage = _footage(list(missing.values()), work.cache)
    with CountedProgress("prepare", len(missing), f"prepare-{work.id[:12]}", "clips") as progress:
        clips = _encoded(list(missing.items()), trainer, work.config.preset.window.frames, footage)
        for done, (path, clip) in enumerate(clips, start=1):
            write_clip(path, clip, codec)
            progress.show(done)


def _encoded(
    missing: Sequence[tuple[Path, Drawing | Scene]], trainer: Any, length: int, footage: Path
) -> Iterator[Any]:
    """Paths with their clips, in order; a few batches are on their way at any time, of films one at a time."""
    renderers = start_renderers(min(RENDERERS, os.cpu_count() or 1))
    flying: deque[tuple[list[Path], ray.ObjectRef]] = deque()
    for number, batch in enumerate(_batches(missing)):
        drawn = renderers[number % len(renderers)].draw.remote([drawing for _, drawing in batch], footage)
        flying.append(([path for path, _ in batch], trainer.encode.remote(drawn, length)))
        if len(flying) > (1 if isinstance(batch[0][1], Scene) else IN_FLIGHT):
            paths, clips = flying.popleft()
            yield from zip(paths, result_of(clips), strict=True)
    for paths, clips in flying:
        yield from zip(paths, result_of(clips), strict=True)


def _batches(missing: Sequence[tuple[Path, Drawing | Scene]]) -> Iterator[Sequence[tuple[Path, Drawing | Scene]]]:
    """As many clips as go together: of films one, which may have a gigabyte."""
    for films, clips in groupby(missing, lambda each: isinstance(each[1], Scene)):
        alike, size = list(clips), 1 if films else BATCH
        yield from (alike[first : first + size] for first in range(0, len(alike), size))


def _files(source: Source, split: Split, folder: Path, codec: str, window: WindowConfig) -> tuple[Path, ...]:
    """The files of a source, or its folder; what others made must be of the model's codec."""
    if isinstance(source, DrawnSource | MultiCamSource):
        return tuple(clip_path(folder, drawing.name(codec)) for drawing in _drawings(source, window))
    if isinstance(source, ExtendedSource):
        made_by = {source.folder: str(open_dataset(source.folder).manifest["codec"])}
    else:
        made_by = {path: read_header(path)["codec"] for path in encoded_files(source, split)}
    if foreign := next((path for path, made in made_by.items() if made != codec), None):
        raise RequestError(f"{foreign}: made with codec {made_by[foreign][:12]}; expected the model's, {codec[:12]}")
    return tuple(path.resolve() for path in made_by)


def _require_one_shape(files: Files, split: Split, batch: int) -> None:
    """Samples of a batch lie side by side in one tensor."""
    shapes = sorted(set().union(*(latent_shapes(paths, split) for paths, _ in files))) if batch > 1 else []
    if len(shapes) > 1:
        said = ", ".join("x".join(map(str, shape)) for shape in shapes)
        raise RequestError(
            f"{split}: clips have latents of several sizes ({said}), as of landscape and portrait pictures; "
            f"set training.batch to 1, and accumulate to as many times what it is, or leave the others out"
        )


def _drawings(source: Source, window: WindowConfig) -> list[Drawing | Scene]:
    if isinstance(source, MultiCamSource):
        return [Scene(each, window.height, window.width, window.frames) for each in find_scenes(source.folder)]
    return list(drawings_of(source)) if isinstance(source, DrawnSource) else []


def _footage(drawings: Sequence[Drawing | Scene], cache: Path) -> Path:
    """The folder with real pictures, fetched here, once, if any clip shows them."""
    folder = cache / "footage"
    for wording, files in (("training", TRAINING), ("held-out", HELD_OUT)):
        if any(isinstance(each, Drawing) and (each.kind, each.wording) == ("footage", wording) for each in drawings):
            fetch(files, folder)
    return folder


def _sentences(dataset: DatasetConfig) -> list[str]:
    """What a small model's words are taken from: all that can be drawn, and what encoded clips say."""
    listed: set[str] = set()
    for split, _, source in dataset.named():
        if isinstance(source, EncodedSource):
            listed |= {read_header(path)["instruction"] for path in encoded_files(source, split)}
        elif isinstance(source, ExtendedSource):
            listed |= open_dataset(source.folder, split).instructions
    return [*all_sentences(), *sorted(listed)]


def _require_fitting(dataset: DatasetConfig, config: TrainingRunConfig) -> None:
    """Clips are drawn in segments as long as the model's window."""
    window = config.preset.window.frames
    for split, number, source in dataset.named():
        if isinstance(source, DrawnSource) and source.world.segment_frames != window:
            got = source.world.segment_frames
            field = f"{split}.{number}.world.segment_frames"
            raise RequestError(f"{field} {got}: expected the config's preset.window.frames ({window})")


def _require_cameras(dataset: DatasetConfig, views: bool) -> None:
    """Clips with cameras are for a model of novel views, others for one that edits; of encoded ones the first tells."""
    for split, number, source in dataset.named():
        if _has_cameras(source, split) != views:
            have, need = ("no cameras", "for novel views needs") if views else ("cameras", "that edits cannot use")
            fits = "panorama, multicam, or encoded with cameras" if views else "others, or a model for novel views"
            field = f"{split}.{number} kind {source.kind}"
            raise RequestError(f"{field}: its clips have {have}, which a model {need}; name {fits}")


def _has_cameras(source: Source, split: Split) -> bool:
    """Nobody knows the cameras of an extension, so those of its clip are of no use for training."""
    if isinstance(source, EncodedSource):
        return has_cameras(encoded_files(source, split)[0])
    return isinstance(source, PanoramaSource | MultiCamSource)


def _renders_views(config: TrainingRunConfig, cache: Path) -> bool:
    """Whether the model to start from does."""
    if config.small is not None:
        return config.small.kind == "recam"
    assert config.start is not None, "a run starts somewhere"
    return read_model_index(locate_weights(config.start, cache), {}).get("_class_name") == NOVEL_VIEWS.pipeline
