"""`memory-v2v session`: see, branch, delete, carry and tidy the sessions of an output folder.

Thin: `flows/sessions.py` does the work, here options become arguments. Exit codes as in `flows/cli.py`.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.console import Json, answer
from flows.environment import prepare_environment

if TYPE_CHECKING:
    from flows.sessions import Report

sessions = typer.Typer(
    name="session",
    help="See, branch, delete, carry and tidy sessions: the turns that share a memory.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Out = Annotated[Path, typer.Option(help="Folder that the turns were edited in.")]
Name = Annotated[str, typer.Argument(help="The session.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@sessions.command("list", epilog="Example: memory-v2v session list --out edited")
def list_(out: Out = Path("out"), as_json: Json = False) -> None:
    """List all sessions of a folder."""
    prepare_environment()
    from flows.sessions import list_sessions

    _tell(list_sessions(out), as_json)


@sessions.command(epilog="Example: memory-v2v session show film --turn 2 --out edited")
def show(
    name: Name,
    turn: Annotated[int | None, typer.Option(help="This turn only.", show_default="all")] = None,
    out: Out = Path("out"),
    as_json: Json = False,
) -> None:
    """Show the turns of a session, and what each segment recalled."""
    prepare_environment()
    from flows.sessions import show_session

    _tell(show_session(out, name, turn), as_json)


@sessions.command(epilog="Example: memory-v2v session branch film --from 2 --as film-blue --out edited")
def branch(
    name: Name,
    at: Annotated[int, typer.Option("--from", help="The last turn that both share.", show_default=False)],
    new: Annotated[str, typer.Option("--as", help="Name of the new session.", show_default=False)],
    out: Out = Path("out"),
    as_json: Json = False,
) -> None:
    """Begin a new session with the first turns of another one, which stays as it is. Nothing is copied."""
    prepare_environment()
    from flows.sessions import branch_session

    _tell(branch_session(out, name, at, new), as_json)


@sessions.command(epilog="Example: memory-v2v session delete film --turn 3 --out edited")
def delete(
    name: Name,
    turn: Annotated[int | None, typer.Option(help="This turn only.", show_default="all")] = None,
    yes: Yes = False,
    force: Annotated[bool, typer.Option("--force", help="Even where other turns depend on it.")] = False,
    out: Out = Path("out"),
    as_json: Json = False,
) -> None:
    """Delete a session, or one turn of it, with all that no other session shares."""
    prepare_environment()
    from flows.sessions import delete_session

    def agree(question: str) -> bool:
        try:
            return yes or (sys.stdin.isatty() and typer.confirm(question, err=True))
        except typer.Abort:  # Ctrl-C at the question
            raise KeyboardInterrupt from None

    _tell(delete_session(out, name, turn, force=force, agree=agree), as_json)


@sessions.command("export", epilog="Example: memory-v2v session export film film.zip --out edited")
def export(
    name: Name,
    file: Annotated[Path, typer.Argument(help="The archive to write.", show_default=False)],
    out: Out = Path("out"),
    as_json: Json = False,
) -> None:
    """Write a session, its memory and its videos as one file."""
    prepare_environment()
    from flows.sessions import export_to

    _tell(export_to(out, name, file), as_json)


@sessions.command("import", epilog="Example: memory-v2v session import film.zip --out elsewhere")
def import_(
    file: Annotated[Path, typer.Argument(help="An archive that session export wrote.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to import into, made where it is not there.")] = Path("out"),
    name: Annotated[str | None, typer.Option("--as", help="Name it this.", show_default="its own")] = None,
    as_json: Json = False,
) -> None:
    """Bring a session into a folder. Every checksum is verified before anything is written.

    Interrupted or killed, the same command goes on where it stopped. Repeated, it changes nothing.
    """
    prepare_environment()
    from flows.sessions import import_from

    _tell(import_from(file, out, name), as_json)


@sessions.command(epilog="Example: memory-v2v session gc --dry-run --out edited")
def gc(
    out: Out = Path("out"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what no turn refers to: payloads, files, old versions of tables, leftovers of killed runs."""
    prepare_environment()
    from flows.sessions import collect_garbage

    _tell(collect_garbage(out, dry_run=dry_run), as_json)


def _tell(report: "Report", as_json: bool) -> None:
    answer(report.summary(), report.fields(), as_json)
