"""`memory-v2v`: the command line. Results go to standard output, everything else to standard error.

Exit codes: 0 done, 1 failed on the way (what was committed stays), 2 the request cannot be carried out as given, 3 done
for all but some, which are named, 130 interrupted. Heavy libraries load inside the commands, so that `--help` answers
at once.
"""

import signal
from pathlib import Path
from typing import Annotated

import typer

from flows.cli_cameras import cameras
from flows.cli_catalog import catalog
from flows.cli_delivery import DELIVER_EXAMPLE, deliver
from flows.cli_evaluation import EVALUATE_EXAMPLE, evaluate
from flows.cli_serve import SERVE_EXAMPLE, serve
from flows.cli_sessions import sessions
from flows.console import (
    PARTLY,
    Codec,
    Device,
    Feather,
    Frames,
    Guidance,
    Json,
    KeepUnchanged,
    Mask,
    Memory,
    Overlap,
    Quantize,
    Scale,
    Seed,
    Size,
    Speed,
    Steps,
    ToneMap,
    Transfer,
    Verbose,
    Wait,
    print_json,
    say,
    tell,
)
from flows.environment import prepare_environment, user_folder
from model.errors import MemoryV2VError
from storage.redaction import redact

app = typer.Typer(
    name="memory-v2v",
    help="Edit long videos, turn after turn, with a memory that keeps what earlier edits invented.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(cameras)
app.add_typer(catalog)
app.add_typer(catalog)
app.add_typer(sessions)
app.command(epilog=DELIVER_EXAMPLE)(deliver)
app.command(epilog=EVALUATE_EXAMPLE)(evaluate)
app.command(epilog=SERVE_EXAMPLE)(serve)


@app.command(
    epilog='Example: memory-v2v edit holiday.mp4 --prompt "make it a snowy winter day" --out edited --weights lucy/'
)
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
    schedule: Annotated[
        str,
        typer.Option(help="Order of segments: sequential, or for several Editors anchors:K or auto."),
    ] = "sequential",
    editors: Annotated[int, typer.Option(help="Editors at work at once, one GPU each.")] = 1,
    gate: Annotated[
        str, typer.Option(help="What is done about segments that went wrong: flag them, redo them, or off.")
    ] = "flag",
    device: Device = "auto",
    speed: Speed = "plain",
    quantize: Quantize = "none",
    memory: Memory = None,
    wait: Wait = 3600.0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Edit VIDEO as PROMPT says: same length, same sound, with a page to review it.

    Interrupted or killed, the same command goes on where it stopped. Repeated, it finds the finished video.
    """
    prepare_environment(verbose)
    choices = {
        "window": {"frames": frames, "overlap": overlap, **_parse_size(size)},
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


@app.command(
    epilog="Example: memory-v2v view holiday.mp4 --camera pan-left --camera arc-right --session holiday --out views"
)
def view(
    video: Annotated[Path, typer.Argument(help="The video to see anew.", show_default=False, readable=False)],
    camera: Annotated[
        list[str] | None,
        typer.Option(
            help="A move such as pan-left, a sentence such as 'pan right 20deg, then dolly in 1m', or a file of poses; "
            "each is a turn.",
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
    device: Device = "auto",
    speed: Speed = "plain",
    quantize: Quantize = "none",
    memory: Memory = None,
    wait: Wait = 3600.0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """See VIDEO anew along each CAMERA, in turn: what one turn invents, the next ones keep.

    Interrupted or killed, the same command goes on where it stopped. Turns that are finished are found, so a session is
    gone back to with the same command and another camera. `memory-v2v camera plot` shows a camera beforehand.
    """
    prepare_environment(verbose)
    choices = {
        "window": {"frames": frames, "overlap": overlap, **_parse_size(size)},
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
        "device": device,
        "wait": wait,
    }
    from flows.novel_views import view as run
    from flows.request import build_view_request, speed_of

    report = run(build_view_request({**fixed, "speed": speed_of(speed, quantize)}, choices))
    tell(report, as_json)


@app.command(
    epilog="Example: memory-v2v train checkpoints/demo/manifest.yaml --config checkpoints/demo/training.yaml --out demo"
)
def train(
    manifest: Annotated[
        Path, typer.Argument(help="Sources of clips (YAML), or an index of encoded clips (JSONL).", show_default=False)
    ],
    config: Annotated[Path, typer.Option(help="What is trained, and how (YAML).", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the model, its curve, and all that is needed to go on.")] = Path(
        "out/train"
    ),
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train a model on the clips of MANIFEST.

    Interrupted or killed, the same command goes on from the last state. Repeated, it finds the trained model.
    """
    prepare_environment(verbose)
    from flows.training import train as run

    report = run(manifest, config, out)
    tell(report, as_json)


@app.command(epilog="Example: memory-v2v extend senorita/ --framepack framepack/ --weights lucy/ --out extended")
def extend(
    dataset: Annotated[Path, typer.Argument(help="Folder, or list, of short edit pairs.", show_default=False)],
    framepack: Annotated[
        str, typer.Option(help="FramePack: a diffusers folder, a hub id, or 'untrained'.", show_default=False)
    ],
    frames: Annotated[int, typer.Option(help="Frames added to each target.")] = 200,
    out: Annotated[Path, typer.Option(help="Folder for the dataset.")] = Path("out/extended"),
    weights: Annotated[str, typer.Option(help="Model to be trained: its codec makes the latents.")] = "demo",
    layout: Annotated[str, typer.Option(help="auto, senorita, multicam, folder or synthetic.")] = "auto",
    instruction_field: Annotated[str, typer.Option(help="Field with the text, in Señorita's lists.")] = "instruction",
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT of the samples.", show_default="the model's")] = None,
    clip_frames: Annotated[int, typer.Option(help="Frames taken of a pair, 4k+1.")] = 33,
    segment_frames: Annotated[
        int | None, typer.Option(help="Frames of a training segment, 4k+1.", show_default="the model's window")
    ] = None,
    steps: Annotated[int, typer.Option(help="Denoising steps of a window.")] = 30,
    redraws: Annotated[int, typer.Option(help="Times that a window that drifts is drawn again.")] = 2,
    most_drift: Annotated[float, typer.Option(help="Drift that is let pass; 1 is the bound of sound footage.")] = 1.0,
    least_frames: Annotated[int, typer.Option(help="Frames that must follow a target.")] = 100,
    validation_share: Annotated[float, typer.Option(help="Share of the source videos kept for validation.")] = 0.02,
    limit: Annotated[int | None, typer.Option(help="Take the first pairs only.", show_default="all")] = None,
    workers: Annotated[int, typer.Option(help="Extenders at work at once, one GPU each.")] = 1,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and what it takes.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Continue the targets of short edit pairs, for training with long memories.

    Interrupted or killed, the same command goes on where it stopped. Exit code 3: done, but some pairs failed.
    """
    prepare_environment(verbose)
    from flows.request import build_extension_request
    from flows.training_data import extend as run
    from flows.training_data import plan

    extension = {
        "frames": frames,
        "steps": steps,
        "redraws": redraws,
        "most_drift": most_drift,
        "least_frames": min(least_frames, frames),
    }
    fixed = {
        "dataset": dataset,
        "out": out,
        "layout": layout,
        "instruction_field": instruction_field,
        "framepack": framepack,
        "weights": weights,
        "clip_frames": clip_frames,
        "extension": extension,
        "validation_share": validation_share,
        "limit": limit,
        "workers": workers,
        "seed": seed,
        "device": device,
    }
    request = build_extension_request(fixed, {**_parse_size(size), "segment_frames": segment_frames})
    if dry_run:
        planned = plan(request)
        tell(planned, as_json)
        return
    report = run(request)
    tell(report, as_json)
    if report.failed:
        raise typer.Exit(PARTLY)


@app.command(epilog="Example: memory-v2v doctor --weights lucy/ --out /data/edited")
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


def _parse_turn(on: str) -> int | str:
    if on != "last" and not (on.isascii() and on.isdecimal()):
        from model.errors import RequestError

        raise RequestError(f"--on {on}: expected the number of a turn, or 'last'")
    return on if on == "last" else int(on)


def _parse_size(size: str | None) -> dict[str, int]:
    if size is None:
        return {}
    from model.errors import RequestError

    width, _, height = size.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise RequestError(f"--size {size}: expected WIDTHxHEIGHT, for example 832x480")
    return {"width": int(width), "height": int(height)}


def main() -> None:
    """Entry point: every error a user can cause is one line, never a traceback."""
    try:
        app(standalone_mode=True)
    except MemoryV2VError as fault:
        say(f"memory-v2v: {redact(str(fault))}")
        raise SystemExit(fault.exit_code) from None
    except KeyboardInterrupt:
        say("memory-v2v: interrupted; what was committed is kept, the same command goes on from there")
        raise SystemExit(130) from None
    except (SystemError, SystemExit) as fault:
        if not _is_sigterm(fault):
            raise
        say("memory-v2v: terminated; what was committed is kept, the same command goes on from there")
        raise SystemExit(143) from None


def _is_sigterm(fault: SystemError | SystemExit) -> bool:
    """Ray's own way to end is an exit with the signal's number; where Prefect ends a flow, Ray makes an error of it."""
    if isinstance(fault, SystemExit):
        return fault.code == signal.SIGTERM
    return type(fault.__cause__).__name__ == "TerminationSignal"


if __name__ == "__main__":
    main()
