"""What all commands have in common: options by the same name, and where output goes."""

import json
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

PARTLY = 3  # exit code of a run that went to its end, though not for everything

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]
Frames = Annotated[int | None, typer.Option(help="Frames per segment, 4k+1.", show_default="the model's")]
Overlap = Annotated[int | None, typer.Option(help="Frames shared by neighbours.", show_default="the model's")]
Size = Annotated[str | None, typer.Option(help="WIDTHxHEIGHT the model works at.", show_default="the model's")]
Steps = Annotated[int | None, typer.Option(help="Denoising steps.", show_default="the model's")]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale.", show_default="the model's")]
Seed = Annotated[int, typer.Option(help="Seed of the noise.")]
Codec = Annotated[str, typer.Option(help="h264, prores, dnxhr or ffv1.")]
ToneMap = Annotated[bool, typer.Option("--tone-map", help="Accept HDR, tone-mapped to BT.709.")]
Mask = Annotated[
    str | None,
    typer.Option(help="Where to edit: X,Y,W,H in pixels or percent, or a picture or video with white there."),
]
Feather = Annotated[
    float | None, typer.Option(help="Pixels over which the edit fades in.", show_default="1% of the height")
]
KeepUnchanged = Annotated[
    bool, typer.Option("--keep-unchanged", help="Keep the source's own pixels wherever the edit changes nothing.")
]
Transfer = Annotated[
    str,
    typer.Option(help="To the source's size by upscale, or guided: the edit's colours on the source's detail."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Speed = Annotated[
    str, typer.Option(help="plain; exact: compiled, for long work; fast: also extrapolates steps easy to predict.")
]
Quantize = Annotated[str, typer.Option(help="Linear layers in 8 bits, by torchao: int8, fp8, or none.")]
Schedule = Annotated[
    str,
    typer.Option(help="Order of segments: sequential, or for several Editors anchors:K or auto."),
]
Editors = Annotated[int, typer.Option(help="Editors at work at once, one GPU each.")]
Memory = Annotated[
    str | None,
    typer.Option(help="s3://bucket/prefix for the tables of the memory.", show_default="in the folder"),
]
Wait = Annotated[float, typer.Option(help="Seconds to wait for another run that writes to the same folder.")]
Scale = Annotated[
    float | None,
    typer.Option(help="Metres to a unit, in camera files that name none (NeRF, COLMAP).", show_default="1"),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the flow's log.")]
VerboseRecall = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show the flow's log, with the memories recalled.")
]


def say(text: str) -> None:
    """To a person: standard error."""
    print(text, file=sys.stderr)


def answer(text: str, fields: dict[str, Any], as_json: bool) -> None:
    """What a command found or did, on standard output: one line of JSON to a program, text to a person."""
    print(json.dumps(fields, ensure_ascii=False) if as_json else text, flush=True)


def tell(report: Any, as_json: bool) -> None:
    """The same of a dataclass with a `summary`: whole to a program, in a few lines to a person."""
    answer(report.summary(), asdict(report), as_json)


def parse_size(size: str | None) -> dict[str, int]:
    """What `--size` says; nothing where it is not given.

    Raises:
        RequestError: it is no WIDTHxHEIGHT.
    """
    if size is None:
        return {}
    from model.errors import RequestError

    width, _, height = size.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise RequestError(f"--size {size}: expected WIDTHxHEIGHT, for example 832x480")
    return {"width": int(width), "height": int(height)}
