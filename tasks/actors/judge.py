"""Judges: held-out videos edited and judged for the proof, finished videos measured."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from model.errors import MemoryV2VError, WeightsError
from tasks.actors.answers import POLL_SECONDS, result_of

if TYPE_CHECKING:
    from model.metrics.catalogue import InstrumentSet
    from model.metrics.measured import MeasuredEditor
    from model.metrics.score import Measurement
    from tasks.measure import MeasureJob
    from tasks.proof.verdicts import Job, Verdict


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
        from tasks.proof.verdicts import do_job

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
        MemoryV2VError: raised by a Judge; what the others had at hand was yielded before.
    """
    for _, verdicts in _share_out(jobs, count, "CPU", lambda judge, job: judge.judge.remote(job), lambda _: False):
        yield verdicts


def measure_together(
    jobs: Sequence["MeasureJob"], count: int
) -> Iterator[tuple[str, "dict[str, Measurement] | MemoryV2VError"]]:
    """Have at most `count` Judges, one a core, or a GPU where instruments run on one, measure finished videos.

    Yields each job's key with its scores, or with what is wrong with its video.

    Raises:
        WeightsError: an instrument does not load; what the others had at hand was yielded before.
    """
    on_gpu = any(job.instruments.folder and job.instruments.device.startswith("cuda") for job in jobs)

    def is_its_own(fault: MemoryV2VError) -> bool:
        return not isinstance(fault, WeightsError)

    takes = "GPU" if on_gpu else "CPU"
    for job, gave in _share_out(jobs, count, takes, lambda judge, job: judge.measure.remote(job), is_its_own):
        yield job.key, gave if isinstance(gave, MemoryV2VError) else gave[1]


def _share_out(
    jobs: Sequence[Any],
    count: int,
    takes: str,
    give: Callable[[Any, Any], Any],
    is_its_own: Callable[[MemoryV2VError], bool],
) -> Iterator[tuple[Any, Any]]:
    """Have Judges, each of which takes a core or a GPU, do all jobs; yields each with what it gave, whichever is done
    first. An error that is a job's own is what that job gave; another one is raised once all that is at hand is done.
    """
    count = min(count, len(jobs), max(1, int(ray.cluster_resources().get(takes, 1))))
    needs = {"num_cpus": 0, "num_gpus": 1} if takes == "GPU" else {"num_cpus": 1}
    free: list[Any] = [Judge.options(**needs).remote() for _ in range(count)]
    waiting = list(jobs)
    busy: dict[Any, tuple[Any, Any]] = {}
    common: MemoryV2VError | None = None
    while waiting or busy:
        while waiting and free:
            judge, job = free.pop(), waiting.pop(0)
            busy[give(judge, job)] = judge, job
        ready, _ = ray.wait(list(busy), timeout=POLL_SECONDS)
        for done in ready:
            judge, job = busy.pop(done)
            free.append(judge)
            try:
                gave = result_of(done)
            except MemoryV2VError as fault:
                if not is_its_own(fault):
                    common = common or fault
                    waiting.clear()
                    continue
                gave = fault
            yield job, gave
    if common is not None:
        raise common
