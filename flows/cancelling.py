"""Flows that end as cancelled where somebody cancels them.

Prefect ends a run by a signal, of which it makes an exception, `TerminationSignal`. Where a flow waits for Ray just
then, Ray hands on a `SystemError` in its place, and Prefect would tell of a flow that failed.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from prefect.exceptions import TerminationSignal

from flows.ending import INTERRUPTED, TERMINATED, end_soon

Given = ParamSpec("Given")
Made = TypeVar("Made")


def cancellable(body: Callable[Given, Made]) -> Callable[Given, Made]:
    """The body of a flow, which ends by the signal as Prefect raised it. It stands below `@flow`."""

    @wraps(body)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        try:
            return body(*args, **kwargs)
        except KeyboardInterrupt:
            end_soon(INTERRUPTED)
            raise
        except TerminationSignal:
            end_soon(TERMINATED)
            raise
        except SystemError as fault:
            if isinstance(fault.__cause__, TerminationSignal):
                end_soon(TERMINATED)
                raise fault.__cause__ from None
            raise

    return run
