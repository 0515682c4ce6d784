"""Where a catalog's videos lie and where their results go: looked up on disk, and kept inside the catalog's folder."""

import os
import stat
import unicodedata
from pathlib import Path, PurePosixPath

from model.config import CatalogVideo
from model.errors import RequestError
from storage.address import ObjectAddress, has_control_letters, read_address
from storage.catalog.faults import show
from storage.content_id import hash_file

MAX_NAME, MAX_PATH = 255, 1024  # bytes of one part of a path, and of a path for results


def find_source(folder: Path, uri: str) -> Path | ObjectAddress:
    """Where a video lies: an absolute path, or an object; relative paths are relative to `folder`, the manifest's.

    Raises:
        RequestError: the address is none that is accepted.
    """
    address = read_address(uri)
    return address if isinstance(address, ObjectAddress) else folder.absolute() / address


def source_fault(source: Path, sha256: str | None) -> str | None:
    """Why a file cannot be a video: it is missing, no readable regular file, empty, or of another content."""
    try:
        status = source.stat()
    except FileNotFoundError:
        return "does not exist"
    except (OSError, ValueError) as fault:  # the latter of letters that no path may have
        return f"cannot be looked at ({getattr(fault, 'strerror', fault)})"
    if stat.S_ISDIR(status.st_mode):
        return "is a folder, not a video file"
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if status.st_size == 0:
        return "is empty (zero bytes)"
    if not os.access(source, os.R_OK):
        return "may not be read; check its permissions"
    return None if sha256 is None else _sum_fault(source, sha256)


def _sum_fault(source: Path, sha256: str) -> str | None:
    try:
        found = hash_file(source)
    except OSError as fault:
        return f"cannot be read ({fault.strerror})"
    return None if found == sha256 else f"has other content than the manifest says: its sha256 is {found}"


def read_output(output: str) -> PurePosixPath | ObjectAddress:
    """Where results go, as a folder inside the catalog's, or a prefix of objects.

    Raises:
        RequestError: it leads out of the catalog's folder, or has parts that are no names of folders.
    """
    if output.startswith("s3:"):
        address = read_address(output)
        assert isinstance(address, ObjectAddress)
        return address
    if ":" in output.partition("/")[0]:
        raise RequestError(f"{show(output)}: expected a folder inside the catalog's, or s3://bucket/prefix")
    if output.startswith("/"):
        raise RequestError(f"{show(output)} is absolute; expected a folder inside the catalog's")
    if len(output.encode()) > MAX_PATH:
        raise RequestError(f"{show(output)} is longer than {MAX_PATH} bytes")
    parts = output.removesuffix("/").split("/")
    for part in parts:
        if part in (".", ".."):
            raise RequestError(f"{show(output)}: '{part}' may lead out of the catalog's folder; name folders only")
        if not part or part[0] in "-." or "\\" in part or has_control_letters(part):
            raise RequestError(f"{show(output)}: {show(part)} is no name of a folder (none begins with '-' or '.')")
        if len(part.encode()) > MAX_NAME:
            raise RequestError(f"{show(output)}: a name is longer than {MAX_NAME} bytes")
    return PurePosixPath(*parts)


def output_folder(root: Path, video: CatalogVideo) -> Path:
    """The folder on this machine that holds a video's results; where they go to a bucket, they are made here first.

    Raises:
        RequestError: it would not lie inside `root`, or something on the way to it is a link or no folder.
    """
    output = read_output(video.output or video.video_id)
    relative = PurePosixPath(video.video_id) if isinstance(output, ObjectAddress) else output
    if (fault := way_fault(root, relative)) is not None:
        raise RequestError(f"{video.video_id}: output {fault}")
    return root.absolute() / relative


def way_fault(root: Path, relative: PurePosixPath) -> str | None:
    """Why a folder cannot be made inside `root`: a part of the way is a link, which may lead out, or no folder."""
    shown, way = show(str(relative)), root
    try:
        for part in relative.parts:
            way = way / part
            if way.is_symlink():
                return f"{shown}: {way} is a link; results are written to folders inside {root} only"
            if way.exists() and not way.is_dir():
                return f"{shown}: {way} is a file; expected a folder"
    except OSError as fault:
        return f"{shown}: {way} cannot be looked at ({fault.strerror})"
    return None


def same_name(name: str) -> str:
    """One spelling for all names that some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
