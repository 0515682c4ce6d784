"""`memory-v2v evaluate`: every metric of finished videos. Thin: `flows/evaluation.py` does the work."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import PARTLY, Device, Json, Verbose, answer, say
from flows.environment import prepare_environment

EVALUATE_EXAMPLE = "Example: memory-v2v evaluate edited --against edited-alone --source footage/ --instruments metrics/"


def evaluate(
    run: Annotated[
        Path, typer.Argument(help="Folder of edit or view, or of a catalog: its finished videos.", show_default=False)
    ],
    session: Annotated[str | None, typer.Option(help="Only this session of RUN.", show_default="all")] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another such folder: videos of one source are compared.", show_default="none")
    ] = None,
    against_session: Annotated[
        str | None, typer.Option(help="Only this session of the other folder, or of RUN.", show_default="all")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="The original video, or a folder of them.", show_default="the review page's")
    ] = None,
    instruments: Annotated[
        Path | None, typer.Option(help="Folder of weights that some metrics need.", show_default="none")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for tables and plot.", show_default="RUN/evaluation")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Videos measured at once.", show_default="one a core")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Measure the finished videos of RUN, each turn's newest, alone or in pairs with those of another run.

    What needs weights that are not there is not measured, and says so. Interrupted, the same command goes on.
    """
    prepare_environment(verbose)
    from flows.evaluation import evaluate as measure
    from flows.request import validated
    from model.config import EvaluationRequest

    fixed = {
        "run": run,
        "session": session,
        "against": against,
        "against_session": against_session,
        "source": source,
        "instruments": instruments,
        "out": out,
        "workers": workers,
        "device": device,
    }
    found = measure(validated(EvaluationRequest, fixed))
    if as_json:
        say(found.summary())  # also what the figures do not tell: against what they were measured
    answer(found.summary(), found.fields(), as_json)
    if found.refused:
        raise typer.Exit(PARTLY)
