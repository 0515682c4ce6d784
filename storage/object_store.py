"""Videos from, and results to, object stores that speak S3. Paths of this machine pass through as they are.

Which server, and with which keys, is said by the environment alone: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_SESSION_TOKEN`, `AWS_REGION` and the other variables of AWS (roles of containers and machines too), and
`MEMORY_V2V_S3_ENDPOINT` or else `AWS_ENDPOINT_URL` for a server other than Amazon's. No manifest can name either.

The client is obstore, the one that is inside LanceDB: what is found out here about a server holds for the tables there,
objects appear whole or not at all (Arrow's file system completes an upload that failed half-way), and versions of
objects have names.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import obstore
from filelock import FileLock
from obstore import exceptions
from obstore.store import S3Store

from model.errors import MemoryV2VError, RequestError, RunError, VideoError
from storage.address import ObjectAddress, read_address
from storage.content_id import identify
from storage.durable import publish
from storage.redaction import redact

if TYPE_CHECKING:  # there are no such names when it runs
    from obstore import GetOptions
    from obstore.store import S3Config

ENDPOINTS = ("MEMORY_V2V_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
PIECE = 2**24  # bytes asked for at once; each request has its own time limit
LEAST_PART, MOST_PARTS = 2**23, 9_000  # of an upload; S3 takes 10,000 parts
CONNECT, REQUEST, RETRYING = timedelta(seconds=10), timedelta(seconds=120), timedelta(seconds=180)
RETRIES = 4
NAME = 32  # letters of the hash that names the folder of a copy
LONGEST_NAME = 255  # bytes of a file's name
WITHOUT_KEYS = ("Missing AccessKeyId", "Missing SecretAccessKey", "latest/")
"""What the client says where it has no keys; the last is the place where it asks the machine for them."""
PROBE = ".memory-v2v-probe"
_SERVER = re.compile(r"https?://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?(/[A-Za-z0-9._~/-]*)?")

Progress = Callable[[int, int], None]
"""Told the bytes that are done and all there are."""


@dataclass(frozen=True)
class Located:
    """Something that is there: its bytes, and a tag that changes with its content."""

    uri: str
    size: int
    version: str


def stat(uri: str) -> Located:
    """Look up a video without reading it.

    Raises:
        RequestError: the address is none that is accepted, or there are no credentials.
        VideoError: it is not there, or may not be read.
        RunError: the server cannot be reached, or fails.
    """
    address = read_address(uri)
    if isinstance(address, Path):
        return _stat_path(address)
    with _told(address, VideoError):
        found = obstore.head(_open(address), address.key)
        return Located(str(address), found["size"], found["e_tag"] or found["last_modified"].isoformat())


def fetch(uri: str, folder: Path, progress: Progress | None = None) -> Path:
    """A video as a file: itself if it lies on this machine, else a copy in `folder`, downloaded unless it is there.

    The copy has the object's name, in a folder of its version, and appears whole or not at all. A download that was
    broken off goes on where it stopped; where two processes want one object, one of them waits.

    Raises:
        RequestError: the address is none that is accepted, or there are no credentials.
        VideoError: it is not there, may not be read, is empty, or changes while it is downloaded.
        RunError: the server cannot be reached, or fails, or there is no room.
    """
    address = read_address(uri)
    if isinstance(address, Path):
        return address
    found, path = _copy_of(address, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{path.parent.name}.lock"):
            if not _is_complete(path, found):
                _download(address, found, path, progress)
    except OSError as fault:
        raise RunError(f"{path}: cannot be written ({fault.strerror})") from None
    return path


def fetched(uri: str, folder: Path) -> Path | None:
    """What `fetch` would answer at once; None where it would download the video.

    Raises:
        RequestError: the address is none that is accepted, or there are no credentials.
        VideoError: it is not there, may not be read, or is empty.
        RunError: the server cannot be reached, or fails.
    """
    address = read_address(uri)
    if isinstance(address, Path):
        return address
    found, path = _copy_of(address, folder)
    return path if _is_complete(path, found) else None


def upload(path: Path, uri: str) -> Located:
    """Upload a result, whole or not at all, unless it is there, and check that all of it arrived.

    To an address on this machine nothing is copied: results are written in their place.

    Raises:
        RequestError: the address is none that is accepted, or there are no credentials.
        VideoError: there is no such file.
        RunError: it may not be written, the server cannot be reached or fails, or not all of it arrived.
    """
    address = read_address(uri)
    if isinstance(address, Path):
        if not (address.exists() and address.samefile(path)):
            raise RequestError(f"{address}: is in no bucket; results on this machine are written in their place")
        return _stat_path(address)
    size = _stat_path(path).size
    with _told(address, RunError):
        store = _open(address)
        if not _is_delivered(store, address.key, path):
            part = max(LEAST_PART, size // MOST_PARTS + 1)
            obstore.put(store, address.key, path, chunk_size=part)
    arrived = stat(uri)
    if arrived.size != size:
        raise RunError(f"{address}: {arrived.size:,} of {size:,} bytes arrived; run again, or ask who runs the server")
    return arrived


def require_conditional_writes(uri: str) -> None:
    """Refuse a bucket for tables where two writers could both believe that they were first.

    LanceDB commits a version by an object that must not exist yet (`If-None-Match: *`). Servers that do not know this
    header write it all the same, and one of two commits is lost without a word. So it is tried out, below `uri`.

    Raises:
        RequestError: the address is none in a bucket, or there are no credentials.
        RunError: the server does not keep to it, cannot be reached, or may not be written to.
    """
    address = _in_bucket(uri)
    probe = ObjectAddress(address.bucket, f"{address.key}/{PROBE}-{uuid4().hex}")
    with _told(address, RunError):
        store = _open(probe)
        try:
            obstore.put(store, probe.key, b"first", mode="create")
            obstore.put(store, probe.key, b"second", mode="create")
        except exceptions.AlreadyExistsError:
            return
        finally:
            with suppress(exceptions.BaseError, OSError):
                obstore.delete(store, probe.key)
    raise RunError(
        f"{address}: the server overwrites objects that must not exist yet (it ignores If-None-Match), so tables there "
        "would lose commits; keep the tables on a local disk, or use a server with conditional writes"
    )


def create(uri: str, content: bytes) -> bytes:
    """Write a small object unless it is there. Returns what is there now.

    Raises:
        RequestError: the address is none in a bucket, or there are no credentials.
        RunError: the server cannot be reached, or may not be written to.
    """
    address = _in_bucket(uri)
    with _told(address, RunError):
        store = _open(address)
        with suppress(exceptions.AlreadyExistsError):
            obstore.put(store, address.key, content, mode="create")
        return obstore.get(store, address.key).bytes().to_bytes()


def is_empty(uri: str) -> bool:
    """Whether no object lies below a prefix.

    Raises:
        RequestError: the address is none in a bucket, or there are no credentials.
        RunError: the server cannot be reached, or may not be read.
    """
    address = _in_bucket(uri)
    with _told(address, RunError):
        return not next(iter(obstore.list(_open(address), prefix=f"{address.key}/", chunk_size=1)), [])


def server_options() -> dict[str, str]:
    """How LanceDB reaches the server, in its own words; keys it reads from the environment itself.

    Raises:
        RequestError: the server named in the environment is none.
    """
    endpoint = _endpoint()
    if endpoint is None:
        return {}
    return {"aws_endpoint": endpoint, "allow_http": str(endpoint.startswith("http:")).lower()}


def _in_bucket(uri: str) -> ObjectAddress:
    address = read_address(uri)
    if isinstance(address, Path):
        raise RequestError(f"{address}: is no prefix in a bucket (s3://bucket/prefix)")
    return address


def _stat_path(path: Path) -> Located:
    try:
        found = path.stat()
    except OSError as fault:
        raise VideoError(f"{path}: cannot be looked at ({fault.strerror})") from None
    return Located(str(path), found.st_size, f"{found.st_size}-{found.st_mtime_ns}")


def _is_delivered(store: S3Store, key: str, path: Path) -> bool:
    """Whether an object has a file's size, and is not older: names of results carry a version, and none is reused.

    Some servers deny access to what is not there; where it is denied indeed, the upload tells.
    """
    try:
        found = obstore.head(store, key)
    except (FileNotFoundError, exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
        return False
    there = path.stat()
    return found["size"] == there.st_size and found["last_modified"].timestamp() >= int(there.st_mtime)


def _copy_of(address: ObjectAddress, folder: Path) -> tuple[Located, Path]:
    """An object as it is now, and where the copy of that version would be."""
    found = stat(str(address))
    if found.size == 0:
        raise VideoError(f"{address}: is empty (zero bytes)")
    version = identify({"uri": str(address), "version": found.version})[:NAME]
    return found, folder / version / _file_name(address)


def _file_name(address: ObjectAddress) -> str:
    """The last part of a key; of one that is too long for a file its end, which has the suffix."""
    return address.key.rpartition("/")[2].encode()[-LONGEST_NAME:].decode(errors="ignore")


def _is_complete(path: Path, found: Located) -> bool:
    return path.is_file() and path.stat().st_size == found.size


def _download(address: ObjectAddress, found: Located, path: Path, progress: Progress | None) -> None:
    """Piece by piece onto what an earlier try left; pieces of another version are refused by the server."""
    unfinished = path.parent.with_name(f".{path.parent.name}.unfinished")
    store = _open(address)
    with unfinished.open("ab") as file:
        if file.tell() > found.size:
            file.truncate(0)
        while (done := file.seek(0, os.SEEK_END)) < found.size:
            end = min(done + PIECE, found.size)
            with _told(address, VideoError):
                file.write(obstore.get(store, address.key, options=_piece(found, done, end)).bytes())
            if progress is not None:
                progress(end, found.size)
    path.parent.mkdir(exist_ok=True)
    publish(unfinished, path)


def _piece(found: Located, start: int, end: int) -> "GetOptions":
    return {"range": (start, end), "if_match": found.version} if '"' in found.version else {"range": (start, end)}


def _open(address: ObjectAddress) -> S3Store:
    endpoint = _endpoint()
    server: S3Config = {} if endpoint is None else {"endpoint": endpoint}
    return S3Store(
        address.bucket,
        config={"disable_bulk_delete": True, **server},  # which not all servers know
        client_options={
            "allow_http": endpoint is not None and endpoint.startswith("http:"),
            "connect_timeout": CONNECT,
            "timeout": REQUEST,
        },
        retry_config={"max_retries": RETRIES, "retry_timeout": RETRYING},
    )


def _endpoint() -> str | None:
    """The server's address; None is Amazon's. The client does not survive one that is malformed."""
    name = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    if name is None:
        return None
    value = os.environ[name].strip()
    found = _SERVER.fullmatch(value)
    if found is None or int(found["port"] or 1) not in range(1, 2**16):
        raise RequestError(f"{name}={redact(value)!r}: expected http://server:port or https://server, without a login")
    return value.rstrip("/")


@contextmanager
def _told(address: ObjectAddress, denied: type[MemoryV2VError]) -> Iterator[None]:
    """Failures of the client as one line of ours; `denied` is raised where the object is missing or locked away."""
    try:
        yield
    except FileNotFoundError:
        missing = "there is no such object" if _has_bucket(address) else f"there is no bucket {address.bucket!r}"
        raise denied(f"{address}: {missing}") from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as fault:
        reason = _reason(fault)
        raise denied(f"{address}: access is denied{reason}; check the keys and what they may do") from None
    except exceptions.PreconditionError:
        raise denied(f"{address}: changed while it was read; run again") from None
    except exceptions.BaseError as fault:
        if any(sign in str(fault) for sign in WITHOUT_KEYS):
            raise RequestError(f"{address}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from None
        server = _endpoint() or "the server"
        raise RunError(f"{address}: {server} cannot be reached, or fails{_reason(fault)}") from None


def _has_bucket(address: ObjectAddress) -> bool:
    """Looking up an object tells only that something is missing, not what."""
    try:
        next(iter(obstore.list(_open(address), prefix=PROBE, chunk_size=1)), None)
    except (FileNotFoundError, exceptions.BaseError) as fault:
        return "NoSuchBucket" not in str(fault)
    return True


def _reason(fault: Exception) -> str:
    """The heart of what the client says, which is long, has lines, and may have credentials."""
    text = redact(str(fault).partition("\n\nDebug source")[0])
    code = text.partition("<Code>")[2].partition("</Code>")[0]
    said = code or text.rpartition(" - ")[2].partition("<?xml")[0]
    return f" ({' '.join(said.split())[:160]})" if said else ""
