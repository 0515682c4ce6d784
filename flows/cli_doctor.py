"""`memory-v2v doctor`: what this machine lacks. Thin: `tasks/doctor.py` looks."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import Json, print_json, say
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
    for finding in findings:
        say(f"{finding.state:8}{finding.name:12}{finding.detail}")
        if finding.fix:
            say(f"{'':20}-> {finding.fix}")
    missing = [finding.name for finding in findings if finding.state == "missing"]
    if as_json:
        print_json({"ready": not missing, "missing": missing, "findings": [asdict(finding) for finding in findings]})
    if missing:
        raise typer.Exit(1)
