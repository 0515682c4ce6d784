"""Where the tables of an output folder lie: in it, or below a prefix in a bucket (docs/decisions/0013).

Tables are named by a path, always (`storage/tables.py`). Where a file lies under that name instead of a folder, it is a
signpost: it names the prefix that holds the tables, and the owner as whom this folder may use them. So a folder can be
moved, and whoever opens it needs to know nothing. A prefix belongs to the one folder that claimed it first.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

from model.errors import RequestError, StoreError
from storage.address import ObjectAddress, read_address
from storage.durable import write_whole
from storage.object_store import create, is_empty, require_conditional_writes, server_options
from storage.redaction import redact

OWNER = "owner"  # the object, below the prefix, that says whose tables these are
PARTS = ("_versions", "data")  # of a table that is there; other parts are left by a try


@dataclass(frozen=True)
class TablePlace:
    """`address` and `options` are what LanceDB takes."""

    address: str
    options: dict[str, str]

    def is_begun(self, table: str) -> bool:
        """Whether a table was to be made and never was, as on a full disk: it has neither a version nor data."""
        return all(self._is_empty(f"{self.table(table)}/{part}") for part in PARTS)

    def table(self, name: str) -> str:
        """The address of one table."""
        return f"{self.address}/{name}.lance"

    def _is_empty(self, address: str) -> bool:
        return is_empty(address) if address.startswith("s3:") else not any(Path(address).glob("[!.]*"))


class Signpost(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tables: str
    owner: str


def place_of(uri: Path) -> TablePlace:
    """Where the tables of `uri` lie.

    Raises:
        StoreError: it is a file, and no signpost.
        RequestError: the server named in the environment is none.
    """
    post = _read(uri)
    return TablePlace(post.tables, server_options()) if post else TablePlace(str(uri), {})


def has_tables(uri: Path) -> bool:
    """Whether tables were ever made there, here or in a bucket."""
    return uri.is_dir() or uri.is_file()


def is_elsewhere(uri: Path) -> bool:
    """Whether the tables lie in a bucket."""
    return uri.is_file()


def require_place(uri: Path, prefix: str | None) -> None:
    """Refuse a prefix that cannot be the place of these tables, or whose server loses commits. Makes nothing.

    Raises:
        RequestError: it is no prefix in a bucket, or the tables lie elsewhere already.
        RunError: the server does not keep to conditional writes, cannot be reached, or may not be written to.
    """
    if prefix is not None and uri.is_dir():
        raise RequestError(
            f"{uri}: the memory of this folder is here already; leave out --memory, or choose another --out"
        )
    post = _read(uri)
    if post and prefix is not None and str(read_address(prefix)) != post.tables:
        raise RequestError(f"{uri}: the memory of this folder is at {post.tables}; leave out --memory")
    if address := post.tables if post else prefix:
        require_prefix(address)


def require_prefix(prefix: str) -> None:
    """Refuse what is no prefix in a bucket where tables are safe. Makes nothing.

    Raises:
        RequestError, RunError: see `require_place`.
    """
    if not prefix.startswith("s3:"):
        raise RequestError(
            f"--memory {redact(prefix)}: expected s3://bucket/prefix; on this machine the memory lies in --out"
        )
    _probe(prefix)


def settle(uri: Path, prefix: str | None) -> None:
    """Make sure that the tables of `uri` have their place, and that it is theirs alone. The caller holds the folder.

    Raises:
        RequestError, RunError: see `require_place`.
        StoreError: the prefix holds the tables of another folder.
    """
    require_place(uri, prefix)
    post = _read(uri)
    if post is None and prefix is None:
        return
    new = post is None
    post = post or Signpost(tables=str(read_address(str(prefix))), owner=uuid4().hex)
    if new:
        write_whole(uri, json.dumps(post.model_dump()))
    if create(f"{post.tables}/{OWNER}", post.owner.encode()) != post.owner.encode():
        if new:
            uri.unlink()
        raise StoreError(f"{post.tables}: holds the memory of another output folder; choose another --memory")


_probe = cache(require_conditional_writes)  # once a process


def _read(uri: Path) -> Signpost | None:
    if not uri.is_file():
        return None
    try:
        post = Signpost.model_validate_json(uri.read_bytes())
        if isinstance(read_address(post.tables), ObjectAddress):
            return post
    except (OSError, ValueError, RequestError):  # pydantic's fault is a ValueError
        pass
    raise StoreError(f"{uri}: is neither a folder nor a file that says where the memory lies; restore it")
