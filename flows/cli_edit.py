"""`memory-v2v edit`: one turn over one video. Thin: `flows/edit.py` does the work, here options become a request."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import (
    Codec,
    Device,
    Editors,
    Feather,
    Frames,
    Json,
    KeepUnchanged,
    Mask,
    Memory,
    Overlap,
    Quantize,
    Schedule,
    Seed,
    Size,
    Speed,
    Steps,
    ToneMap,
    Transfer,
    VerboseRecall,
    Wait,
    parse_size,
    tell,
)
from flows.environment import prepare_environment

EDIT_EXAMPLE = 'Example: memory-v2v edit holiday.mp4 --prompt "make it a snowy winter day" --out edited --weights lucy/'


def edit(
    video: Annotated[Path, typer.Argument(help="The video to edit.", show_default=False, readable=False)],
    prompt: Annotated[str, typer.Option(help="What to change, in one sentence.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the result and its memory.")] = Path("out"),
    weights: Annotated[
        str,
        typer.Option(help="Model: 'demo' (small, of a rendered world), a diffusers folder, a hub id, or 'untrained'."),
    ] = "demo",
    descriptor: Annotated[
        str, typer.Option(help="What segments are compared by: 'thumbnail', or a DINOv2 folder or hub id.")
    ] = "thumbnail",
    session: Annotated[str | None, typer.Option(help="Turns of one session share a memory.")] = None,
    on: Annotated[str, typer.Option(help="Edit the result of this turn of the session: its number, or 'last'.")] = "0",
    frames: Frames = None,
    overlap: Overlap = None,
    size: Size = None,
    top_k: Annotated[int | None, typer.Option(help="Memories recalled.", show_default="the model's")] = None,
    steps: Steps = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale of all segments.", show_default="the model's")
    ] = None,
    seed: Seed = 0,
    codec: Codec = "h264",
    tone_map: ToneMap = False,
    mask: Mask = None,
    feather: Feather = None,
    keep_unchanged: KeepUnchanged = False,
    transfer: Transfer = "upscale",
    schedule: Schedule = "sequential",
    editors: Editors = 1,
    gate: Annotated[
        str, typer.Option(help="What is done about segments that went wrong: flag them, redo them, or off.")
    ] = "flag",
    device: Device = "auto",
    speed: Speed = "plain",
    quantize: Quantize = "none",
    memory: Memory = None,
    wait: Wait = 3600.0,
    as_json: Json = False,
    verbose: VerboseRecall = False,
) -> None:
    """Edit VIDEO as PROMPT says: same length, same sound, with a page to review it.

    Interrupted or killed, the same command goes on where it stopped. Repeated, it finds the finished video.
    """
    prepare_environment(verbose)
    choices = {
        "window": {"frames": frames, "overlap": overlap, **parse_size(size)},
        "retrieval": {"top_k": top_k},
        "sampling": {"steps": steps, "guidance": guidance},
    }
    fixed = {
        "video": video,
        "instruction": prompt,
        "out": out,
        "memory": memory,
        "weights": weights,
        "descriptor": descriptor,
        "session": session,
        "on": _parse_turn(on),
        "seed": seed,
        "output": {
            "codec": codec,
            "tone_map": tone_map,
            "region": {"mask": mask, "feather": feather, "keep_unchanged": keep_unchanged},
            "transfer": transfer,
        },
        "schedule": schedule,
        "editors": editors,
        "gate": {"mode": gate},
        "device": device,
        "wait": wait,
    }
    from flows.edit import edit as run
    from flows.request import build_request, speed_of

    report = run(build_request({**fixed, "speed": speed_of(speed, quantize)}, choices))
    tell(report, as_json)


def _parse_turn(on: str) -> int | str:
    if on != "last" and not (on.isascii() and on.isdecimal()):
        from model.errors import RequestError

        raise RequestError(f"--on {on}: expected the number of a turn, or 'last'")
    return on if on == "last" else int(on)
