"""Extend training data: pairs in, long samples out. The flow only wires; the tasks do the work."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from prefect import flow

from flows.cancelling import cancellable
from flows.environment import user_folder
from flows.request import completed_extension
from model.config import ExtensionRequest
from storage.store import place_for
from storage.store_lock import StoreLock
from tasks.cluster import choose_device, require_capacity, start_cluster, start_ray
from tasks.extend import (
    PAGE,
    ExtendWork,
    ExtensionPlan,
    Outcome,
    count_others,
    counts,
    describe_extension,
    extend_pairs,
    find_finished,
    plan_extension,
    publish_dataset,
)


@dataclass(frozen=True)
class ExtensionReport:
    """What one run did: `samples` of its pairs, `reused` of them found, and what is not in the dataset, and why.

    `others` are samples in it of pairs that this run did not name.
    """

    samples: int
    rejected: dict[str, int]
    failed: tuple[dict[str, str], ...]
    reused: int
    others: int
    seconds: float
    dataset: str
    page: str

    def summary(self) -> str:
        """Some lines for a person."""
        lines = [f"{self.samples} samples, {self.reused} of them found; {self.seconds:.1f} s"]
        lines += [f"{self.others} more in the dataset, of pairs that this run did not name"] if self.others else []
        lines += [f"rejected: {count}, {reason}" for reason, count in self.rejected.items()]
        lines += [f"failed: {each['id']}: {each['reason']}" for each in self.failed]
        return "\n".join([*lines, f"dataset {self.dataset}", f"page    {self.page}"])


def extend(request: ExtensionRequest) -> ExtensionReport:
    """Extend a dataset from this process, starting what is not running yet.

    Raises:
        InputError: the request cannot be carried out as given; nothing was written.
        StoreBusyError: another process works in the folder.
        RunError: it failed on the way; the same call goes on from there.
    """
    started = time.time()
    place_for(request.out)
    work = _understand(request)
    if done := find_finished(work):
        return _report(work, done, started)
    start_cluster()
    return ExtensionReport(**extend_dataset(request, started))


def plan(request: ExtensionRequest) -> ExtensionPlan:
    """What `extend` would do; nothing is written.

    Raises:
        InputError: the request cannot be carried out as given.
    """
    place_for(request.out)
    return plan_extension(_understand(request))


@flow(name="extend-dataset", flow_run_name="extend {request.dataset.name}", log_prints=False)
@cancellable
def extend_dataset(request: ExtensionRequest, started: float | None = None) -> dict[str, Any]:
    """Continue the targets of a dataset's pairs, and return what was done (see `ExtensionReport`).

    Args:
        request: What to extend, with which models, and where to.
        started: When the run began, for its report; empty is now.
    """
    started = started or time.time()
    start_ray()  # takes seconds: the folder is looked at just before it is held
    device = choose_device(request.device)
    require_capacity("workers", request.workers, device)
    work = _understand(request.model_copy(update={"out": request.out.absolute()}))
    work.request.out.mkdir(parents=True, exist_ok=True)
    with StoreLock(work.request.out):
        outcome = extend_pairs(work, device)
        publish_dataset(work, outcome, time.time() - started)
    return asdict(_report(work, outcome, started))


def _understand(request: ExtensionRequest) -> ExtendWork:
    return describe_extension(completed_extension(request), user_folder("cache"))


def _report(work: ExtendWork, outcome: Outcome, started: float) -> ExtensionReport:
    out = work.request.out.absolute()
    return ExtensionReport(
        samples=len(outcome.names),
        rejected=counts(outcome.rejected),
        failed=outcome.failed,
        reused=outcome.reused,
        others=count_others(work),
        seconds=round(time.time() - started, 2),
        dataset=str(out),
        page=str(out / PAGE),
    )
