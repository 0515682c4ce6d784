"""`memory-v2v view`: a video seen anew, turn after turn. Thin: `flows/novel_views.py` does the work."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import (
    Codec,
    Device,
    Editors,
    Frames,
    Guidance,
    Json,
    Memory,
    Overlap,
    Quantize,
    Scale,
    Schedule,
    Seed,
    Size,
    Speed,
    Steps,
    ToneMap,
    VerboseRecall,
    Wait,
    parse_size,
    tell,
)
from flows.environment import prepare_environment

VIEW_EXAMPLE = "Example: memory-v2v view holiday.mp4 --camera pan-left --camera arc-right --session holiday --out views"


def view(
    video: Annotated[Path, typer.Argument(help="The video to see anew.", show_default=False, readable=False)],
    camera: Annotated[
        list[str] | None,
        typer.Option(
            help="A move such as pan-left, a sentence such as 'pan right 20deg, then dolly in 1m', or a file of poses; "
            "each is a turn.  [required]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results and their memory.")] = Path("out"),
    weights: Annotated[
        str,
        typer.Option(help="Model: 'demo-views', a diffusers folder of ReCamMaster's kind, a hub id, or 'untrained'."),
    ] = "demo-views",
    instruction: Annotated[str, typer.Option(help="What is seen, in one sentence.")] = "",
    session: Annotated[
        str | None,
        typer.Option(help="Turns of one session share a memory.", show_default="that of video and settings"),
    ] = None,
    recall: Annotated[str, typer.Option(help="views (by what they saw), or a baseline: recency, random, none.")] = (
        "views"
    ),
    coverage: Annotated[bool, typer.Option("--coverage", help="Recall views that do not repeat one another.")] = False,
    chain: Annotated[
        bool, typer.Option("--chain", help="A baseline: each turn renders the result of the one before it here.")
    ] = False,
    fov: Annotated[
        float | None, typer.Option(help="Horizontal field of view in degrees.", show_default="that of a 24 mm lens")
    ] = None,
    scale: Scale = None,
    frames: Frames = None,
    overlap: Overlap = None,
    size: Size = None,
    top_k: Annotated[int | None, typer.Option(help="Views recalled.", show_default="the model's")] = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    codec: Codec = "h264",
    tone_map: ToneMap = False,
    schedule: Schedule = "sequential",
    editors: Editors = 1,
    device: Device = "auto",
    speed: Speed = "plain",
    quantize: Quantize = "none",
    memory: Memory = None,
    wait: Wait = 3600.0,
    as_json: Json = False,
    verbose: VerboseRecall = False,
) -> None:
    """See VIDEO anew along each CAMERA, in turn: what one turn invents, the next ones keep.

    Interrupted or killed, the same command goes on where it stopped. Turns that are finished are found, so a session is
    gone back to with the same command and another camera. `memory-v2v camera plot` shows a camera beforehand.
    """
    prepare_environment(verbose)
    choices = {
        "window": {"frames": frames, "overlap": overlap, **parse_size(size)},
        "retrieval": {"top_k": top_k, "coverage": coverage or None},
        "sampling": {"steps": steps, "guidance": guidance},
    }
    fixed = {
        "video": video,
        "cameras": camera or (),
        "instruction": instruction,
        "out": out,
        "memory": memory,
        "weights": weights,
        "session": session,
        "recall": recall,
        "chain": chain,
        "fov": fov,
        "scale": scale,
        "seed": seed,
        "output": {"codec": codec, "tone_map": tone_map},
        "schedule": schedule,
        "editors": editors,
        "device": device,
        "wait": wait,
    }
    from flows.novel_views import view as run
    from flows.request import build_view_request, speed_of

    report = run(build_view_request({**fixed, "speed": speed_of(speed, quantize)}, choices))
    tell(report, as_json)
