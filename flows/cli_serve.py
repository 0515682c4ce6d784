"""`memory-v2v serve`: the Prefect page, and what happens by itself."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import Device, Json, Memory, Quantize, Speed, tell
from flows.environment import prepare_environment

SERVE_EXAMPLE = (
    "Example: memory-v2v serve --nightly catalog.jsonl --out edited --at 18:00 --timezone Europe/Berlin "
    "--alert https://hooks.example.org/T0/B0"
)


def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Prefect page, on this machine only.")] = 4200,
    join: Annotated[
        bool, typer.Option("--join", help="Use the server at PREFECT_API_URL instead of starting one.")
    ] = False,
    alert: Annotated[
        str | None,
        typer.Option(
            help="Web address that is told of every run that fails, as JSON (Slack, Mattermost and Teams read it). "
            "Best in the environment: whoever knows it can write there.",
            envvar="MEMORY_V2V_ALERT",
            show_default=False,
        ),
    ] = None,
    alert_inside: Annotated[
        bool, typer.Option("--alert-inside", help="The alert's address may be in a private network.")
    ] = False,
    nightly: Annotated[
        Path | None, typer.Option(help="Manifest of a catalog to run every day.", show_default="nothing runs by itself")
    ] = None,
    defaults: Annotated[
        Path | None, typer.Option(help="What the catalog's videos have in common (YAML).", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the catalog's results.")] = Path("out"),
    memory: Memory = None,
    weights: Annotated[str, typer.Option(help="Model of the catalog.")] = "demo",
    descriptor: Annotated[
        str, typer.Option(help="What its segments are compared by: 'thumbnail', or a DINOv2 folder or hub id.")
    ] = "thumbnail",
    editors: Annotated[int, typer.Option(min=1, help="Editors of the catalog, one GPU each.")] = 1,
    max_failed_fraction: Annotated[
        float, typer.Option(min=0, max=1, help="Share of its videos that may fail before the night counts as failed.")
    ] = 0.0,
    device: Device = "auto",
    speed: Speed = "plain",
    quantize: Quantize = "none",
    at: Annotated[str | None, typer.Option(help="Hour of the catalog.", show_default="as in prefect.yaml")] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Time zone of that hour.", show_default="as in prefect.yaml")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start the Prefect page with the flows ready to be run from it. Stop with Ctrl-C."""
    prepare_environment(verbose=True)
    from flows.automations import choose_alert
    from flows.deployments import choose_nightly
    from flows.request import speed_of
    from flows.serve import ServePlan, serve_flows

    catalog = {
        "defaults": defaults,
        "out": out,
        "memory": memory,
        "weights": weights,
        "descriptor": descriptor,
        "editors": editors,
        "max_failed_fraction": max_failed_fraction,
        "device": device,
        "speed": speed_of(speed, quantize),
    }
    plan = ServePlan(
        port=port,
        join=join,
        alert=choose_alert(alert, alert_inside) if alert else None,
        nightly=choose_nightly(nightly, catalog, at, timezone),
    )
    serve_flows(plan, lambda served: tell(served, as_json))
