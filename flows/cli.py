"""`memory-v2v`: the command line. Results go to standard output, everything else to standard error.

Exit codes: 0 done, 1 failed on the way (what was committed stays), 2 the request cannot be carried out as given, 3 done
for all but some, which are named, 130 interrupted, 143 terminated. Heavy libraries load inside the commands, so that
`--help` answers at once.
"""

import signal

import typer

from flows.cli_cameras import cameras
from flows.cli_catalog import catalog
from flows.cli_delivery import DELIVER_EXAMPLE, deliver
from flows.cli_doctor import DOCTOR_EXAMPLE, doctor
from flows.cli_edit import EDIT_EXAMPLE, edit
from flows.cli_evaluation import EVALUATE_EXAMPLE, evaluate
from flows.cli_serve import SERVE_EXAMPLE, serve
from flows.cli_sessions import sessions
from flows.cli_training import EXTEND_EXAMPLE, TRAIN_EXAMPLE, extend, train
from flows.cli_views import VIEW_EXAMPLE, view
from flows.console import say
from flows.ending import INTERRUPTED, TERMINATED, be_a_command, say_ended
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

app.command(epilog=EDIT_EXAMPLE)(edit)
app.command(epilog=VIEW_EXAMPLE)(view)
app.command(epilog=EVALUATE_EXAMPLE)(evaluate)
app.command(epilog=DELIVER_EXAMPLE)(deliver)
app.command(epilog=SERVE_EXAMPLE)(serve)
app.command(epilog=EXTEND_EXAMPLE)(extend)
app.command(epilog=TRAIN_EXAMPLE)(train)
app.command(epilog=DOCTOR_EXAMPLE)(doctor)
app.add_typer(catalog)
app.add_typer(sessions)
app.add_typer(cameras)


def main() -> None:
    """Entry point: every error a user can cause is one line, never a traceback."""
    be_a_command()
    try:
        app(standalone_mode=True)
    except MemoryV2VError as fault:
        say(f"memory-v2v: {redact(str(fault))}")
        raise SystemExit(fault.exit_code) from None
    except BaseException as fault:
        code = _told_to_end(fault)
        if code is None:
            raise
        say_ended(code)
        raise SystemExit(code) from None


def _told_to_end(fault: BaseException | None) -> int | None:
    """The exit code where a signal is behind a fault, also one that came of the ending itself; None where none is.

    Typer makes an exit of Ctrl-C. Ray's own way to end is an exit with the signal's number; where Prefect ends a flow,
    Ray makes an error of it.
    """
    while fault is not None:
        if isinstance(fault, KeyboardInterrupt) or (isinstance(fault, SystemExit) and fault.code == INTERRUPTED):
            return INTERRUPTED
        if type(fault).__name__ == "TerminationSignal":
            return TERMINATED
        if isinstance(fault, SystemExit):
            return TERMINATED if fault.code == signal.SIGTERM else None
        fault = fault.__cause__ or fault.__context__
    return None


if __name__ == "__main__":
    main()
