"""`memory-v2v catalog`: build, check, plan and run a manifest of many videos, and see what became of them.

Thin: `flows/catalog.py` does the work, here options become a request. Exit codes as in `flows/cli.py`: 1 if more videos
failed than may, 3 if some did.
"""

from dataclasses import asdict
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import PARTLY, Device, Json, Memory, Quantize, Speed, VerboseRecall, answer
from flows.environment import prepare_environment

if TYPE_CHECKING:
    from model.config import CatalogRequest

catalog = typer.Typer(
    name="catalog",
    help="Edit many videos overnight: build a manifest, plan, run, watch, and try again what failed.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Manifest = Annotated[Path, typer.Argument(help="Videos and their turns: JSON lines, or CSV.", show_default=False)]
Defaults = Annotated[Path | None, typer.Option(help="What all videos have in common (YAML).", show_default="none")]
Out = Annotated[Path, typer.Option(help="Folder for the results, one folder a video.")]
Folder = Annotated[Path, typer.Argument(help="Folder of the results: the --out of the run.", show_default=False)]
Weights = Annotated[
    str,
    typer.Option(help="Model: 'demo', a diffusers folder, a hub id, or 'rehearsal:15', which waits 15 s a segment."),
]
Descriptor = Annotated[
    str, typer.Option(help="What segments are compared by: 'thumbnail', or a DINOv2 folder or hub id.")
]
Editors = Annotated[int, typer.Option(min=1, help="Editors at work at once, one GPU each.")]
Shard = Annotated[str | None, typer.Option(help="2/8 takes the second of eight parts.", show_default="all")]
Only = Annotated[list[str] | None, typer.Option(help="Take this video; may be repeated.", show_default="all")]


@catalog.command(epilog='Example: memory-v2v catalog build footage/ --prompt "make it night" --out catalog.jsonl')
def build(
    folder: Annotated[Path, typer.Argument(help="Folder with videos, at any depth.", show_default=False)],
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="An edit; each edits the result of the one before.", show_default="those of the defaults"),
    ] = None,
    pattern: Annotated[str, typer.Option(help="Names of the videos to take, such as '*.mov'.")] = "*",
    out: Annotated[Path, typer.Option(help="The manifest to be written.")] = Path("catalog.jsonl"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Even if there is one.")] = False,
    as_json: Json = False,
) -> None:
    """Write a manifest with a line for each video below FOLDER."""
    prepare_environment()
    from storage.catalog import build_catalog, write_manifest
    from tasks.words import count_text

    lines = build_catalog(folder, out, pattern, prompt or ())
    write_manifest(lines, out, overwrite)
    told = f"{out}: {count_text(len(lines), 'video')}{'' if prompt else '; turns are left to --defaults'}"
    answer(told, {"manifest": str(out), "videos": len(lines)}, as_json)


@catalog.command(epilog="Example: memory-v2v catalog validate catalog.jsonl --defaults defaults.yaml")
def validate(
    manifest: Manifest,
    defaults: Defaults = None,
    out: Annotated[
        Path | None, typer.Option(help="Look at the ways to the results, too.", show_default="not looked at")
    ] = None,
    check_sha: Annotated[bool, typer.Option("--check-sha", help="Read every video that has a sha256.")] = False,
    as_json: Json = False,
) -> None:
    """Tell everything that is wrong with a manifest, by line and field. Exit code 2 if anything is."""
    prepare_environment()
    from storage.catalog import find_faults
    from tasks.words import count_text

    faults = find_faults(manifest, defaults, out, check_sha)
    told = [*map(str, faults), f"{manifest}: {count_text(len(faults), 'fault')}" if faults else f"{manifest}: good"]
    found = [{"file": str(one.file), "line": one.line, "field": one.field, "fault": one.message} for one in faults]
    answer("\n".join(told), {"valid": not faults, "faults": found}, as_json)
    if faults:
        raise typer.Exit(2)


@catalog.command(epilog="Example: memory-v2v catalog plan catalog.jsonl --out edited --editors 4 --weights lucy/")
def plan(
    manifest: Manifest,
    defaults: Defaults = None,
    out: Out = Path("out"),
    weights: Weights = "demo",
    descriptor: Descriptor = "thumbnail",
    editors: Editors = 1,
    shard: Shard = None,
    only: Only = None,
    device: Device = "auto",
    speed: Speed = "plain",
    quantize: Quantize = "none",
    as_json: Json = False,
) -> None:
    """Say what a run would do and take: segments, Editor hours, finish, disk. Nothing is written.

    Every video is probed. How long a segment takes is known from past runs on this machine, else guessed.
    """
    prepare_environment()
    from flows.catalog import plan as look
    from tasks.catalog_told import plan_fields, plan_text

    planned = look(_request(locals()))
    answer(plan_text(planned), plan_fields(planned), as_json)


@catalog.command(epilog="Example: memory-v2v catalog run catalog.jsonl --out edited --editors 4 --weights lucy/")
def run(
    manifest: Manifest,
    defaults: Defaults = None,
    out: Out = Path("out"),
    memory: Memory = None,
    weights: Weights = "demo",
    descriptor: Descriptor = "thumbnail",
    editors: Editors = 1,
    shard: Shard = None,
    only: Only = None,
    max_failed_fraction: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the videos that may fail before the run counts as failed.")
    ] = 0.0,
    device: Device = "auto",
    speed: Speed = "plain",
    quantize: Quantize = "none",
    wait: Annotated[float, typer.Option(help="Seconds to wait for another run of this catalog.")] = 0.0,
    as_json: Json = False,
    verbose: VerboseRecall = False,
) -> None:
    """Edit all videos of MANIFEST. What goes wrong with one is told, and the others go on.

    Interrupted or killed, the same command goes on where it stopped. Repeated, it finds what is done.
    """
    prepare_environment(verbose)
    from flows.catalog import run as edit_all

    request = _request(locals())
    _conclude(lambda: edit_all(request), request.out, as_json)


@catalog.command(epilog="Example: memory-v2v catalog status edited")
def status(folder: Folder, as_json: Json = False) -> None:
    """Say how far a catalog is, and which videos want a person. May be asked at any time."""
    prepare_environment()
    from flows.catalog import status as look
    from tasks.catalog_told import status_fields, status_text

    running, states = look(folder)
    answer(status_text(running, states), status_fields(running, states), as_json)


@catalog.command(epilog="Example: memory-v2v catalog retry edited")
def retry(
    folder: Folder,
    failed: Annotated[
        bool, typer.Option("--failed", help="Those that failed, or are done in part; so it is without, too.")
    ] = False,
    as_json: Json = False,
    verbose: VerboseRecall = False,
) -> None:
    """Run those videos again that failed or are done in part, with the settings of the last run.

    Their quarantined segments are edited again.
    """
    prepare_environment(verbose)
    from flows.catalog import retry as edit_again

    _conclude(lambda: edit_again(folder), folder, as_json)


@catalog.command(epilog="Example: memory-v2v catalog cancel edited")
def cancel(folder: Folder, as_json: Json = False) -> None:
    """End the runs of a catalog on this machine. What was committed stays, and the next run goes on from there."""
    prepare_environment()
    from flows.catalog import cancel as end

    ended = end(folder)
    processes = ", ".join(f"process {one.process}" for one in ended)
    told = f"{folder}: ended {processes}" if ended else f"{folder}: nobody runs it"
    answer(told, {"ended": [one.process for one in ended]}, as_json)


@catalog.command(epilog="Example: memory-v2v catalog report edited --csv videos.csv")
def report(
    folder: Folder,
    csv: Annotated[Path | None, typer.Option(help="Write a table of all videos.", show_default="none")] = None,
    as_json: Json = False,
) -> None:
    """Tell what the last run did, and how every video stands: totals, what failed and why, what took longest."""
    prepare_environment()
    from flows.catalog import report as look
    from model.errors import RequestError
    from tasks.catalog_told import status_fields, write_table

    if csv is not None and (csv.is_dir() or not csv.absolute().parent.is_dir()):
        raise RequestError(f"--csv {csv}: expected a file in a folder that is there")
    record, states, text = look(folder)
    if csv is not None:
        write_table(csv, states)
    answer(unescape(text), {**asdict(record), **status_fields([], states)}, as_json)


def _request(said: dict[str, Any]) -> "CatalogRequest":
    """The options of a command as a request."""
    from pydantic import ValidationError

    from flows.request import speed_of
    from model.config import CatalogRequest
    from model.config.base import mistakes
    from model.errors import RequestError

    fields = {name: value for name, value in said.items() if name in CatalogRequest.model_fields}
    fields["speed"] = speed_of(said["speed"], said["quantize"])
    try:
        return CatalogRequest.model_validate(fields | {"only": tuple(said["only"] or ())})
    except ValidationError as fault:
        first = mistakes(fault)[0]
        option = str(first.place[0]).replace("_", "-")
        raise RequestError(f"--{first._replace(place=(option,))}") from None


def _conclude(edit_all: Any, out: Path, as_json: bool) -> None:
    """Run, and tell what was done, also where too many videos failed."""
    from model.errors import CatalogError
    from storage.catalog_page import PAGE
    from tasks.catalog_told import counted

    fault = None
    try:
        record = edit_all()
    except CatalogError as failed:
        record, fault = failed.record, failed
    if record is None:
        answer(f"{out}: there is nothing to run again", {"videos": {}, "segments": {}}, as_json)
        return
    videos, segments = counted(record.videos), counted(record.segments)
    flagged = f", {record.flagged} flagged" if record.flagged else ""
    told = f"videos    {videos}\nsegments  {segments}{flagged}; {record.seconds:.1f} s\n"
    told += f"report    memory-v2v catalog report {out}\npage      {out / PAGE}"
    answer(told, asdict(record), as_json)
    if fault is not None:
        raise fault
    if record.videos["failed"] or record.videos["partial"]:
        raise typer.Exit(PARTLY)
