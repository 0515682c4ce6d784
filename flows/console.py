"""What all commands have in common: options by the same name, and where output goes."""

import json
import sys
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]
Wait = Annotated[float, typer.Option(help="Seconds to wait for another run that writes to the same folder.")]
Scale = Annotated[
    float | None,
    typer.Option(help="Metres to a unit, in camera files that name none (NeRF, COLMAP).", show_default="1"),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the flow's log, with the memories recalled.")]


def say(text: str) -> None:
    """To a person: standard error."""
    print(text, file=sys.stderr)


def print_json(fields: dict[str, Any]) -> None:
    """To a program: one line on standard output."""
    print(json.dumps(fields, ensure_ascii=False), flush=True)
