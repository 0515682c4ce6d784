"""Measure the claim on held-out videos: judge what is left, sum up. The flow only wires; the tasks do the work."""

from dataclasses import asdict
from typing import Any

from prefect import flow

from flows.environment import user_folder
from model.config import ProofConfig
from model.metrics.agreement import Figures
from tasks.cluster import start_cluster, start_ray
from tasks.evaluate import find_models, judge_videos, sum_up_proof


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
def evaluate_consistency(config: ProofConfig) -> dict[str, Any]:
    """Edit held-out videos by all methods, and return every measure with its interval, by method."""
    start_ray()
    cache = user_folder("cache")
    judge_videos(config, cache)
    figures = sum_up_proof(config, cache)
    return {method: {name: asdict(figure) for name, figure in row.items()} for method, row in figures.items()}
