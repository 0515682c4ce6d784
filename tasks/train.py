"""Train on prepared clips, show how it goes, and write down what came of it."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import ray
from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from model.config import Split
from storage.content_id import hash_folder, identify
from storage.datasets.extended import open_dataset
from storage.durable import write_whole
from storage.plot import draw_lines
from tasks.actors.answers import result_of
from tasks.actors.trainer import TrainJob
from tasks.prepare import Files, Prepared, TrainingWork, claim_folder
from tasks.progress import CountedProgress, show

CURVE, PLOT, RECORD, MODEL = "curve.jsonl", "curve.png", "training.json", "model"
POLL_SECONDS = 1.0
TABLE_ROWS = 500  # a table artifact is one database row

Point = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """What a run did: `steps` in this run, after `resumed` earlier ones, and the seconds that they took."""

    curve: tuple[Point, ...]
    steps: int
    resumed: int
    seconds: float


def find_trained(work: TrainingWork) -> dict[str, Any] | None:
    """The record of a run that is finished, if its model is there. Creates nothing."""
    path = work.out / RECORD
    if not (path.is_file() and (work.out / MODEL / "model_index.json").is_file()):
        return None
    record = json.loads(path.read_text())
    return record if record["id"] == work.id else None


@task(task_run_name="train {work.out.name}", cache_policy=NO_CACHE, persist_result=False)
def train_on_clips(work: TrainingWork, prepared: Prepared, trainer: Any, device: str) -> Trained:
    """Train to the last step, from the newest state if there is one.

    Raises:
        RunError: it failed; the same command goes on from the last state.
    """
    config, steps = work.config, work.config.training.steps
    claim_folder(work)
    threads = config.threads or max(1, (os.cpu_count() or 1) // config.workers)
    lists = prepared.training, prepared.validation
    job = TrainJob(prepared.start, *lists, config, work.out, device, threads, work.manifests)
    resumed = _steps_saved(work.out)
    with CountedProgress("train", steps, f"train-{work.id[:12]}", "steps") as progress:
        running, said = trainer.train.remote(job), _steps(read_curve(work.out))
        while not ray.wait([running], timeout=POLL_SECONDS)[0]:
            said = _follow(work.out, said, steps, progress)
        seconds = result_of(running)
        _follow(work.out, said, steps, progress)
    return Trained(tuple(read_curve(work.out)), steps - resumed, resumed, seconds)


@task(task_run_name="publish {work.out.name}", cache_policy=NO_CACHE, persist_result=False)
def publish_training(work: TrainingWork, prepared: Prepared, trained: Trained, device: str) -> dict[str, Any]:
    """Draw the curve, leave it as a table in Prefect, and write the record, which is what makes a run finished."""
    lines = {
        "training": [(point["step"], point["loss"]) for point in trained.curve],
        "validation, mean weights": [(point["step"], point["validation"]) for point in trained.curve],
    }
    draw_lines(work.out / PLOT, lines, f"Training of {work.config.preset.name}", "step", "loss")
    rows = list(trained.curve)[-TABLE_ROWS:]
    show(create_table_artifact, rows, key=f"curve-{work.id[:12]}", description="Loss by step")
    record = _record(work, prepared, trained, device)
    write_whole(work.out / RECORD, json.dumps(record, indent=2))
    return record


def read_curve(out: Path) -> list[Point]:
    """The curve so far, also while it is being written."""
    path = out / CURVE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _follow(out: Path, said: int, steps: int, progress: CountedProgress) -> int:
    """Tell of points after step `said`; returns the last one told."""
    for point in read_curve(out):
        if point["step"] > said:
            said = point["step"]
            progress.say(f"step {said} of {steps}: loss {point['loss']:.4f}, validation {point['validation']:.4f}")
    progress.show(said)
    return said


def _steps(curve: Sequence[Point]) -> int:
    return max((point["step"] for point in curve), default=0)


def _steps_saved(out: Path) -> int:
    """The step of the newest state."""
    states = (out / "state").glob(f"step-{'[0-9]' * 8}.safetensors")
    return max((int(path.stem.removeprefix("step-")) for path in states), default=0)


def _record(work: TrainingWork, prepared: Prepared, trained: Trained, device: str) -> dict[str, Any]:
    last = trained.curve[-1]
    return {
        "id": work.id,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "clips": {
            "training": _named(prepared.training, "training"),
            "validation": _named(prepared.validation, "validation"),
        },
        "steps": work.config.training.steps,
        "loss": last["loss"],
        "validation": last["validation"],
        "last_run": {
            "resumed_from": trained.resumed,
            "seconds": round(trained.seconds, 1),
            "steps_per_second": round(trained.steps / trained.seconds, 3),
        },
        "machine": _machine(device),
        "weights": hash_folder(work.out / MODEL / "transformer", work.cache),
        "dataset": work.dataset.model_dump(mode="json"),
        "config": work.config.model_dump(mode="json"),
    }


def _named(files: Files, split: Split) -> dict[str, Any]:
    """How many clips a list has, and one name for exactly these."""
    names = [name for paths, _ in files for path in paths for name in _names(path, split)]
    return {"count": len(names), "id": identify({"clips": names})}


def _names(path: Path, split: Split) -> list[str]:
    """Of a file with a clip, or of an extended dataset's samples: by their content."""
    return open_dataset(path, split).rows["checksum"].to_pylist() if path.is_dir() else [path.name]


def _machine(device: str) -> dict[str, Any]:
    versions = {name: version(name) for name in ("torch", "diffusers", "ray")}
    memory = round(psutil.virtual_memory().total / 2**30, 1)
    return {
        "device": device,
        "cores": os.cpu_count(),
        "memory_gib": memory,
        "system": f"{platform.system()} {platform.machine()}",
        **versions,
    }
