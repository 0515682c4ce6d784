"""Every error that a user can cause. Each message says what was given, what was expected and what to do.

MemoryV2VError
├── InputError            exit code 2: the request cannot be carried out as given
│   ├── VideoError        the file is missing, unreadable, damaged, or of a kind we refuse
│   ├── RequestError      an option, or a combination of options, that makes no sense
│   ├── WeightsError      the model folder is missing, incomplete or of another architecture
│   └── ArchiveError      the file is no exported session, or it is damaged
└── RunError              exit code 1: something went wrong on the way
    ├── LostActorError    a process of the run died
    │   └── LostEditorError   one Editor did not come back; others may go on
    ├── OutOfMemoryError  a segment does not fit into the memory that there is
    ├── StoreBusyError    another process holds the store
    ├── DiskFullError     there is no room left
    ├── UnreachableError  a server that keeps the memory does not answer
    ├── StoreError        the store on disk is damaged or was written by another version
    ├── CatalogError      more videos of a catalog failed than may
    └── EditError         segments could not be edited after every retry
"""

from typing import Any


class MemoryV2VError(Exception):
    """Base of all errors of this project; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(MemoryV2VError):
    """The request cannot be carried out as given; nothing was written."""

    exit_code = 2


class VideoError(InputError):
    """A video that is missing, unreadable, damaged, or of a kind that is refused."""


class RequestError(InputError):
    """An option, or a combination of options, that makes no sense."""


class WeightsError(InputError):
    """A model folder that is missing, incomplete, or of another architecture."""


class ArchiveError(InputError):
    """A file that is no exported session, is damaged, or of a version that this one cannot read."""


class RunError(MemoryV2VError):
    """Something went wrong on the way; what was committed stays committed."""


class LostActorError(RunError):
    """A process of the run died, most often for want of memory."""


class LostEditorError(LostActorError):
    """One Editor did not come back, or dies while it loads; where there are others, they go on."""


class OutOfMemoryError(RunError):
    """A segment does not fit into the memory of the GPU, or of the machine."""


class StoreBusyError(RunError):
    """Another process holds the store."""


class DiskFullError(RunError):
    """There is no room left for results."""


class UnreachableError(RunError):
    """A server that keeps the memory does not answer."""


class StoreError(RunError):
    """The store on disk is damaged or was written by another version."""


class CatalogError(RunError):
    """More videos of a catalog failed than may; all others are done. `record` says what the run did."""

    def __init__(self, message: str, record: Any = None) -> None:
        super().__init__(message)
        self.record = record


class EditError(RunError):
    """Segments could not be edited after every retry."""


def first_line(fault: BaseException, most: int | None = None) -> str:
    """The first line of an error that says anything, up to `most` letters; its type where it says nothing."""
    said = (line.strip() for line in str(fault).splitlines())
    return next((line for line in said if line), type(fault).__name__)[:most]
