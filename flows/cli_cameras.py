"""`memory-v2v camera`: what camera moves there are, and what one would do.

Thin: `flows/cameras.py` does the work, here options become arguments. Exit codes as in `flows/cli.py`.
"""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import Json, Scale, answer

cameras = typer.Typer(
    name="camera",
    help="Camera moves for new views: what there is, and what one would do.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@cameras.command("plot", epilog='Example: memory-v2v camera plot pan-right "orbit left 30deg, then dolly in 1m"')
def plot_cameras(
    camera: Annotated[
        list[str] | None,
        typer.Argument(
            help="A preset, a sentence, the JSON of ReCamMaster (FILE.json#cam03), a NeRF's transforms.json, or a "
            "folder of COLMAP's text files.",
            show_default=False,
        ),
    ] = None,
    session: Annotated[
        str | None, typer.Option(help="Draw the views of this session first.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of that session.")] = Path("out"),
    frames: Annotated[int, typer.Option(help="Frames of each camera; files of other lengths are resampled.")] = 81,
    fov: Annotated[
        float | None,
        typer.Option(help="Horizontal degrees seen by cameras that bring no lens.", show_default="a 24 mm lens"),
    ] = None,
    scale: Scale = None,
    save: Annotated[Path, typer.Option(help="Page (.html) or picture (.svg), written anew.")] = Path("cameras.html"),
    as_json: Json = False,
) -> None:
    """Draw each CAMERA as it was understood, its path and frustums, and how much the cameras share.

    With --session also with the views that are there already: what a camera would recall.
    """
    from dataclasses import asdict

    from flows.cameras import plot_cameras as run
    from flows.cameras import turns_of
    from model.errors import RequestError

    if not camera and session is None:
        raise RequestError("nothing to draw: give a camera, such as pan-right, or --session NAME")
    report = run(camera or (), frames, fov, scale, save, () if session is None else turns_of(out, session))
    answer(report.summary(), asdict(report), as_json)


@cameras.command("list", epilog="Example: memory-v2v camera list")
def list_cameras(as_json: Json = False) -> None:
    """Name the presets, and say what each does."""
    from flows.cameras import list_presets

    presets = list_presets()
    answer("\n".join(f"{name:16}{what}" for name, what in presets.items()), presets, as_json)
