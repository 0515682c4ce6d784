"""Train a model from a manifest and a config: prepare, train, publish. The flow only wires; the tasks do the work."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import flow

from flows.cancelling import cancellable
from flows.environment import user_folder
from storage.store import place_for
from storage.store_lock import StoreLock
from tasks.actors.trainer import start_trainer
from tasks.cluster import choose_device, require_capacity, start_cluster, start_ray
from tasks.prepare import TrainingWork, describe_training, prepare_clips, prepare_start
from tasks.train import MODEL, PLOT, find_trained, publish_training, train_on_clips


@dataclass(frozen=True)
class TrainingReport:
    """What one run did: `trained` steps, after `resumed` that an earlier run had saved, and `made` new clips.

    `loss` and `validation` are the last point of the curve.
    """

    model: str
    curve: str
    steps: int
    trained: int
    resumed: int
    clips: int
    made: int
    loss: float
    validation: float
    seconds: float

    def summary(self) -> str:
        """Three lines for a person."""
        done = f"{self.trained} steps trained after {self.resumed}" if self.trained else "nothing left to train"
        measured = f"loss {self.loss:.4f}, validation {self.validation:.4f}, {self.seconds:.1f} s"
        return f"{done}; {measured}\nmodel  {self.model}\ncurve  {self.curve}"


def train(manifest: Path, config: Path, out: Path) -> TrainingReport:
    """Run one training from this process, starting what is not running yet. A finished one is found at once.

    Raises:
        InputError: the manifest or the config is not valid; nothing was written.
        StoreBusyError: another process works in the folder.
        RunError: it failed on the way; the same call goes on from the last state.
    """
    started = time.time()
    work = understand(manifest, config, out)
    if found := find_trained(work):
        return _report(work, found, 0, 0, started)
    start_cluster()
    return TrainingReport(**train_model(manifest, config, out, started))


@flow(name="train-model", flow_run_name="train {out.name}", log_prints=False)
@cancellable
def train_model(manifest: Path, config: Path, out: Path, started: float | None = None) -> dict[str, Any]:
    """Train a model as two files say, and return what was done (see `TrainingReport`).

    Args:
        manifest: The data to train on (YAML).
        config: How to train (YAML).
        out: Folder for the model and the states by which an interrupted run goes on.
        started: When the run began, for its report; empty is now.
    """
    started = started or time.time()
    start_ray()  # takes seconds: the folder is looked at just before it is held
    work = understand(manifest, config, out)
    device = choose_device(work.config.device)
    require_capacity("workers", work.config.workers, device, on_cpu="device: cpu")
    work.out.mkdir(parents=True, exist_ok=True)
    with StoreLock(work.out):
        trainer = start_trainer(work.config, device)
        start = prepare_start(work, trainer)
        prepared = prepare_clips(work, start, trainer, device)
        trained = train_on_clips(work, prepared, trainer, device)
        record = publish_training(work, prepared, trained, device)
    return asdict(_report(work, record, trained.steps, prepared.made, started))


def understand(manifest: Path, config: Path, out: Path) -> TrainingWork:
    """Read both files and name the run: what a user can get wrong is said here.

    Raises:
        RequestError: a file is not valid, or `out` holds another run.
    """
    place_for(out)
    return describe_training(manifest, config, out, user_folder("cache"))


def _report(work: TrainingWork, record: dict[str, Any], trained: int, made: int, started: float) -> TrainingReport:
    return TrainingReport(
        model=str((work.out / MODEL).resolve()),
        curve=str((work.out / PLOT).resolve()),
        steps=record["steps"],
        trained=trained,
        resumed=record["steps"] - trained,
        clips=record["clips"]["training"]["count"],
        made=made,
        loss=record["loss"],
        validation=record["validation"],
        seconds=round(time.time() - started, 1),
    )
