"""`memory-v2v train` and `extend`: a model, and longer clips for it to learn from.

Thin: `flows/training.py` and `flows/training_data.py` do the work, here options become requests.
"""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import PARTLY, Device, Json, Seed, Verbose, parse_size, tell
from flows.environment import prepare_environment

TRAIN_EXAMPLE = (
    "Example: memory-v2v train checkpoints/demo/manifest.yaml --config checkpoints/demo/training.yaml "
    "--out out/train-demo"
)
EXTEND_EXAMPLE = "Example: memory-v2v extend senorita/ --framepack framepack/ --weights lucy/ --out extended"


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
    request = build_extension_request(fixed, {**parse_size(size), "segment_frames": segment_frames})
    if dry_run:
        planned = plan(request)
        tell(planned, as_json)
        return
    report = run(request)
    tell(report, as_json)
    if report.failed:
        raise typer.Exit(PARTLY)
