"""`memory-v2v deliver`: hand a finished video to a studio, and check what was handed over.

Thin: `flows/delivery.py` does the work, here options become arguments. Exit codes as in `flows/cli.py`.
"""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import PARTLY, Json, answer
from flows.environment import prepare_environment

DELIVER_EXAMPLE = "Example: memory-v2v deliver edited --to /deliveries --name AGM_104_065 --task comp"


def deliver(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of an edit, a session or a catalog.", show_default=False)
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder for deliveries.", show_default=False)] = None,
    video: Annotated[
        str | None,
        typer.Option(help="This finished file, or this video of a catalog.", show_default="the newest, or all"),
    ] = None,
    session: Annotated[str | None, typer.Option(help="The result of this session.", show_default="any")] = None,
    turn: Annotated[int | None, typer.Option(help="The result of this turn.", show_default="the latest")] = None,
    task: Annotated[
        str | None, typer.Option(help="The task, in the delivery's name.", show_default="edit, or view")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The video, in the delivery's name.", show_default="its own")] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="The video that was edited, or its folder: verified and compared.", show_default=False),
    ] = None,
    verify: Annotated[
        Path | None, typer.Option(help="Only check this delivery, or all in this folder.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Hand a finished video over: master, proxy, edit lists (OTIO, EDL, XML), sidecar, notice, checksums.

    Each delivery is a new folder NAME_TASK_v001 in --to, and the version only goes up. FOLDER is only read.
    """
    prepare_environment()
    from flows import delivery
    from model.errors import RequestError
    from storage.delivery import Order
    from storage.finished import Wanted

    if verify is not None:
        found = delivery.verify_deliveries(verify)
        answer(found.summary(), found.fields(), as_json)
        raise typer.Exit(1 if found.faults else 0)
    if folder is None or to is None:
        raise RequestError("deliver: give a FOLDER and --to DIR, or --verify DIR")
    report = delivery.deliver_from(folder, Wanted(video, session, turn), Order(to, task, name, source))
    answer(report.summary(), report.fields(), as_json)
    if report.refused:
        raise typer.Exit(PARTLY)
