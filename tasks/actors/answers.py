"""What an actor answered, with errors as they were raised there."""

from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from model.errors import LostActorError, MemoryV2VError

DIED = "a process of this run died, most often for want of memory; the same command goes on from there"
DEATHS = (RayActorError, OutOfMemoryError)
"""How Ray tells that an actor died: the second one where its memory monitor ended one that does not start again."""
POLL_SECONDS = 1.0  # between looks at whether somebody wants this process to end


def as_raised(fault: Exception) -> Exception:
    """An error of ours as the actor raised it: Ray hands on one with the traceback in its words."""
    cause = getattr(fault, "cause", None)
    return cause if isinstance(cause, MemoryV2VError) else fault


def result_of(reference: Any) -> Any:
    """What an actor returned; errors of ours as they were raised there.

    Looks up every second: while Ray waits without an end, a signal by which Prefect ends a flow is lost.

    Raises:
        MemoryV2VError: raised by the actor.
        RunError: the actor died.
    """
    try:
        while not ray.wait([reference], timeout=POLL_SECONDS)[0]:
            pass
        return ray.get(reference)
    except DEATHS as fault:
        raise LostActorError(DIED) from fault
    except RayTaskError as fault:
        if isinstance(fault.cause, DEATHS):  # of the actor whose answer this one was waiting for
            raise LostActorError(DIED) from fault
        raise as_raised(fault) from None
