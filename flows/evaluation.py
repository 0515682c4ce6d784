"""Measure: the claim on held-out videos, and what any finished run is worth. The flows only wire; tasks do the work."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import flow

from flows.cancelling import cancellable
from flows.environment import user_folder
from model.config import EvaluationRequest, ProofConfig
from model.metrics.agreement import Figures
from storage.edited_videos import find_edits
from storage.store import place_for
from tasks.cluster import choose_device, start_cluster, start_ray
from tasks.evaluation_report import Evaluation, publish_evaluation, require_pairs, scored, sum_up, write_evaluation
from tasks.measure import (
    MeasureJob,
    Refused,
    find_instruments,
    left_of,
    measure_here,
    measure_videos,
    plan_jobs,
    read_measurements,
)
from tasks.proof.judge_videos import judge_videos
from tasks.proof.verdicts import find_models, sum_up_proof

HERE_FRAMES = 2000  # of several videos that are measured in this process: about a minute of 480 lines


def prove(config: ProofConfig) -> Figures:
    """Measure from this process, starting what is not running yet. What an earlier run judged is not judged again.

    Raises:
        InputError: the proof cannot be carried out as given.
        RunError: it failed on the way; the same call goes on from there.
    """
    find_models(config, user_folder("cache"))
    start_cluster()
    evaluate_consistency(config)
    return sum_up_proof(config, user_folder("cache"))


@flow(name="evaluate-consistency", flow_run_name="{config.videos} videos", log_prints=False)
@cancellable
def evaluate_consistency(config: ProofConfig) -> dict[str, Any]:
    """Edit held-out videos by all methods, and return every measure with its interval, by method."""
    start_ray()
    cache = user_folder("cache")
    judge_videos(config, cache)
    figures = sum_up_proof(config, cache)
    return {method: {name: asdict(figure) for name, figure in row.items()} for method, row in figures.items()}


def evaluate(request: EvaluationRequest) -> Evaluation:
    """Measure the finished videos of a run from this process. What was measured before is not measured again.

    One video, or a few short ones, are measured here; more are shared out by Ray, which is started for them, and so is
    whatever needs instruments.

    Raises:
        InputError: the request cannot be carried out as given; nothing was written.
        RunError: it failed on the way; the same call goes on from there.
    """
    study = understand(request)
    left = left_of(study.jobs, study.records)
    frames = sum(job.edit.shots[-1].span.stop for job in left)
    if left and (request.instruments is not None or (len(left) > 1 and frames > HERE_FRAMES)):
        start_cluster()
        return study.conclude(evaluate_edits(request).get("refused", ()))
    refused = measure_here(study.jobs, study.records)
    found = study.conclude(study.told(refused))
    write_evaluation(found)
    return found


@flow(name="evaluate-edits", flow_run_name="{request.run.name}", log_prints=False)
@cancellable
def evaluate_edits(request: EvaluationRequest) -> dict[str, Any]:
    """Measure the finished videos of a run, alone or in pairs with those of another, and return every metric.

    A video that cannot be measured is named under `refused`, and the others are measured all the same.

    Args:
        request: Which run, against which other, with which instruments.
    """
    study = understand(request)
    start_ray()
    refused = measure_videos(study.jobs, study.records, request.workers, f"evaluate {request.run.name}")
    found = study.conclude(study.told(refused))
    write_evaluation(found)
    publish_evaluation(found)
    return found.fields()


@dataclass(frozen=True)
class Study:
    """What a request asks to measure: the videos of its run, and those of the run that it is compared with.

    `refused` are those of both that cannot be measured.
    """

    request: EvaluationRequest
    ours: tuple[MeasureJob, ...]
    theirs: tuple[MeasureJob, ...]
    refused: tuple[Refused, ...] = ()

    @property
    def jobs(self) -> list[MeasureJob]:
        return [*self.ours, *self.theirs]

    @property
    def records(self) -> Path:
        """The file of all measurements, by which an interrupted run goes on."""
        return self.request.tables / "measurements.jsonl"

    @property
    def names(self) -> tuple[str, str]:
        request = self.request
        return _name(request.run, request.session), _name(request.other or request.run, request.against_session)

    def told(self, refused: Sequence[Refused]) -> list[str]:
        """One line on each video that has no figures; `refused` are those that could not be measured after all."""
        return list(dict.fromkeys(map(str, (*self.refused, *refused))))

    def conclude(self, refused: Sequence[str]) -> Evaluation:
        """Every figure, of what is measured by now."""
        known, tables = read_measurements(self.records), self.request.tables
        return sum_up((self.ours, self.theirs), known, self.names, tables, refused)


def understand(request: EvaluationRequest) -> Study:
    """Find the videos, their sources and the instruments: what a user can get wrong is said here.

    Raises:
        InputError: the request cannot be carried out as given.
    """
    cache = user_folder("cache")
    edits = find_edits(request.run, request.session)
    others = find_edits(request.other, request.against_session) if request.other else []
    place_for(request.tables)
    instruments = find_instruments(request.instruments, choose_device(request.device), cache)
    planned = plan_jobs([*edits, *others], request.source, instruments, cache)
    refused = tuple(one for one in planned if isinstance(one, Refused))
    study = Study(request, _jobs(planned[: len(edits)]), _jobs(planned[len(edits) :]), refused)
    if others:
        ours, theirs = ([scored(job) for job in each] for each in (study.ours, study.theirs))
        require_pairs(ours, theirs, study.names, study.told(()))
    return study


def _jobs(planned: Sequence[MeasureJob | Refused]) -> tuple[MeasureJob, ...]:
    return tuple(one for one in planned if isinstance(one, MeasureJob))


def _name(folder: Path, session: str | None) -> str:
    return str(folder) if session is None else f"{folder}, session {session}"
