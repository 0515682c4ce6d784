"""Judge held-out videos under all methods, write every verdict down, and sum them up.

Videos are judged in pairs, since each lends the other its memories where a method wants a stranger's. A verdict is one
line of a file, named by all that it depends on; what is there already is not judged again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from model.backbones.model_folder import read_preset
from model.config import Preset, ProofConfig, WorldConfig
from model.errors import RequestError
from model.metrics.agreement import MEASURES, Figure, Figures, RegionView, SegmentView, VideoView, summarise
from storage.content_id import hash_folder, identify
from storage.records import add_records, read_records
from tasks.proof.judging import held_out, judge_pair
from tasks.proof.looking import LOOK_METHODS, LOOK_TALLIES, LookView, judge_look
from tasks.proof.playing import METHODS, ProofEditor, Stage
from tasks.weights import locate_weights

EDITIONS = {"world": 6, "look": 6}  # of verdicts: counted up when what is seen of a video changes


@dataclass(frozen=True)
class Model:
    """A model folder, what it is named by, and its settings."""

    name: str
    folder: Path
    id: str
    preset: Preset


@dataclass(frozen=True)
class Job:
    """What one Judge does at a time: a pair of worlds by their seeds, with the methods wanted of each; or a look."""

    model: Model
    world: WorldConfig
    kind: str
    seeds: tuple[int, ...]
    methods: tuple[tuple[str, ...], ...]
    footage: Path


@dataclass(frozen=True)
class Verdict:
    """What was seen of one video under one method. `key` names all that it depends on."""

    key: str
    model: str
    method: str
    kind: str
    view: VideoView | LookView


def find_models(config: ProofConfig, cache: Path) -> list[Model]:
    """The models of a proof.

    Raises:
        WeightsError: one is not there.
        RequestError: a method is unknown.
    """
    if unknown := [name for name in config.methods if name not in METHODS]:
        raise RequestError(f"methods {', '.join(unknown)}: expected some of {', '.join(METHODS)}")
    folders = [(name, locate_weights(name, cache)) for name in config.weights]
    return [Model(name, folder, hash_folder(folder, cache), read_preset(folder)) for name, folder in folders]


def plan_jobs(config: ProofConfig, models: Sequence[Model], cache: Path, done: set[str]) -> list[Job]:
    """What is left to judge: by pairs, so that an early end has as much of one model as of another."""
    footage = cache / "footage"
    jobs = []
    for first in range(config.seed, config.seed + config.videos, 2):
        for model in models:
            world, seeds = world_of(config, model), (first, first + 1)
            wanted = tuple(
                _left(config.methods if seed < config.seed + config.videos else (), model, world, "world", seed, done)
                for seed in seeds
            )
            if any(wanted):
                jobs.append(Job(model, world, "world", seeds, wanted, footage))
    methods = [name for name in LOOK_METHODS if name in config.methods]
    for seed in range(config.seed, config.seed + config.looks):
        for model in models:
            world = world_of(config, model)
            if wanted := _left(methods, model, world, "look", seed, done):
                jobs.append(Job(model, world, "look", (seed,), (wanted,), footage))
    return jobs


def world_of(config: ProofConfig, model: Model) -> WorldConfig:
    """Worlds as long as is wanted, in segments as long as the model's; the subject is in view in the first two."""
    frames = model.preset.window.frames
    return WorldConfig(
        size=config.size, segments=config.segments, segment_frames=frames, least_shown=2, least_gap=config.least_gap
    )


def do_job(editor: ProofEditor, job: Job) -> list[Verdict]:
    """Judge what a job names, with its model loaded."""
    name = partial(_key, job.model, job.world, job.kind)
    if job.kind == "look":
        views = judge_look(editor, job.model.preset, job.world, job.seeds[0], job.footage, job.methods[0])
        return [Verdict(name(job.seeds[0], method), job.model.name, method, "look", view) for method, view in views]
    subjects = [held_out(job.world, seed) for seed in job.seeds]
    stages = [Stage(subject.clip, editor, job.model.preset) for subject in subjects]
    seen = judge_pair(subjects, stages, job.methods)
    seeds = [seed for seed, methods in zip(job.seeds, job.methods, strict=True) for _ in methods]
    return [
        Verdict(name(seed, method), job.model.name, method, "world", view)
        for seed, (method, view) in zip(seeds, seen, strict=True)
    ]


def judge_here(jobs: Sequence[Job], load: Callable[[Path], ProofEditor]) -> Iterator[list[Verdict]]:
    """Do all jobs in this process, one after the other."""
    loaded: dict[Path, ProofEditor] = {}
    for job in jobs:
        if job.model.folder not in loaded:
            loaded[job.model.folder] = load(job.model.folder)
        yield do_job(loaded[job.model.folder], job)


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """What was judged so far, by key."""
    return {verdict.key: verdict for verdict in map(_read, read_records(path))}


def add_verdicts(path: Path, verdicts: Sequence[Verdict]) -> None:
    """Write verdicts down behind those that are there."""
    add_records(path, [asdict(verdict) for verdict in verdicts])


def wanted_keys(config: ProofConfig, models: Sequence[Model], cache: Path) -> set[str]:
    """The keys of all verdicts that a proof consists of."""
    jobs = plan_jobs(config, models, cache, set())
    return {
        _key(job.model, job.world, job.kind, seed, method)
        for job in jobs
        for seed, methods in zip(job.seeds, job.methods, strict=True)
        for method in methods
    }


def sum_up_proof(config: ProofConfig, cache: Path) -> Figures:
    """Every measure of a proof, from the verdicts written down."""
    wanted = wanted_keys(config, find_models(config, cache), cache)
    return sum_up([each for each in read_verdicts(config.records).values() if each.key in wanted], config.methods)


def sum_up(verdicts: Sequence[Verdict], methods: Sequence[str]) -> Figures:
    """Every measure of every method, with its interval."""
    return {method: _figures([verdict for verdict in verdicts if verdict.method == method]) for method in methods}


def _figures(verdicts: Sequence[Verdict]) -> dict[str, Figure]:
    worlds = [verdict.view for verdict in verdicts if isinstance(verdict.view, VideoView)]
    looks = [verdict.view for verdict in verdicts if isinstance(verdict.view, LookView)]
    measured = {name: summarise([tally(each) for each in worlds], _ids(worlds)) for name, tally in MEASURES.items()}
    return measured | {
        name: summarise([tally(each) for each in looks], _ids(looks)) for name, tally in LOOK_TALLIES.items()
    }


def _ids(views: Sequence[VideoView] | Sequence[LookView]) -> list[str]:
    return [view.id for view in views]


def _left(
    methods: Sequence[str], model: Model, world: WorldConfig, kind: str, seed: int, done: set[str]
) -> tuple[str, ...]:
    return tuple(method for method in methods if _key(model, world, kind, seed, method) not in done)


def _key(model: Model, world: WorldConfig, kind: str, seed: int, method: str) -> str:
    fields = {"edition": EDITIONS[kind], "model": model.id, "world": world.model_dump(mode="json"), "kind": kind}
    return identify(fields | {"seed": seed, "method": method})[:24]


def _read(fields: dict[str, Any]) -> Verdict:
    view = fields.pop("view")
    return Verdict(**fields, view=LookView(**view) if fields["kind"] == "look" else _video(view))


def _video(fields: Mapping[str, Any]) -> VideoView:
    segments = tuple(
        SegmentView(
            **segment | {"region": segment["region"] and _region(segment["region"]), "moved": tuple(segment["moved"])}
        )
        for segment in fields["segments"]
    )
    return VideoView(fields["id"], fields["named"], segments)


def _region(fields: Mapping[str, Any]) -> RegionView:
    colours = {name: tuple(fields[name]) for name in ("before", "after", "truth")}
    return RegionView(**colours, hue=fields["hue"])
