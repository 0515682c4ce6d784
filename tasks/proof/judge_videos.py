"""Judge held-out videos on all Judges at once; what a verdict is, and how they are summed up, is in `verdicts.py`."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from model.config import ProofConfig
from tasks.actors.judge import judge_together
from tasks.progress import CountedProgress
from tasks.proof.verdicts import add_verdicts, find_models, plan_jobs, read_verdicts


@task(task_run_name="judge {config.videos} videos", cache_policy=NO_CACHE, persist_result=False)
def judge_videos(config: ProofConfig, cache: Path) -> None:
    """Judge what is not judged yet, on all Judges at once.

    Raises:
        RunError: footage is not there and could not be downloaded.
        WeightsError: a model does not load.
    """
    models = find_models(config, cache)
    jobs = plan_jobs(config, models, cache, set(read_verdicts(config.records)))
    name = "+".join(model.name for model in models)
    with CountedProgress(f"proof of {name}", len(jobs), "evaluate-consistency", "jobs") as progress:
        for done, verdicts in enumerate(judge_together(jobs, config.workers), 1):
            add_verdicts(config.records, verdicts)
            progress.show(done)
