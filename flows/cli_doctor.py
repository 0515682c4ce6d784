"""`memory-v2v doctor`: what this machine lacks. Thin: `tasks/doctor.py` looks."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import Json, answer
from flows.environment import prepare_environment, user_folder

DOCTOR_EXAMPLE = "Example: memory-v2v doctor --weights lucy/ --out /data/edited"


def doctor(
    weights: Annotated[str, typer.Option(help="Model to look for.")] = "demo",
    out: Annotated[Path, typer.Option(help="Folder that results would go to.")] = Path("out"),
    as_json: Json = False,
) -> None:
    """Say what is missing on this machine (ffmpeg, GPU, weights, disk, ports), and what to run for it."""
    prepare_environment()
    from dataclasses import asdict

    from tasks.doctor import examine

    findings = examine(weights, out, user_folder("cache"))
    told = []
    for one in findings:
        told += [f"{one.state:8}{one.name:12}{one.detail}", *([f"{'':20}-> {one.fix}"] if one.fix else [])]
    missing = [one.name for one in findings if one.state == "missing"]
    fields = {"ready": not missing, "missing": missing, "findings": [asdict(one) for one in findings]}
    answer("\n".join(told), fields, as_json)
    if missing:
        raise typer.Exit(1)
