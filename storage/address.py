"""Where a video lies or a result goes: a path on this machine, or an object in a bucket (`s3://bucket/key`).

Addresses come from other people's manifests. They name a place and nothing else: no server, no login, no parameters,
no address inside an address; servers and keys come from the environment alone (`storage/object_store.py`).
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from model.errors import RequestError
from storage.redaction import redact

MAX_KEY = 1024  # bytes; S3's own limit
SHOWN = 200  # letters of an address in a message
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
EXPECTED = "expected a path, file:///path or s3://bucket/key"


@dataclass(frozen=True)
class ObjectAddress:
    """An object, or a prefix of objects, in a bucket."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def read_address(uri: str) -> Path | ObjectAddress:
    """What an address means; a relative path stays relative, and nothing is looked up.

    Raises:
        RequestError: it names anything but a path or an object, or carries a login or parameters.
    """
    if not uri or has_control_letters(uri):
        raise _refused(uri, "has control characters" if uri else f"is empty; {EXPECTED}")
    if "::" in uri:
        raise _refused(uri, f"chains addresses ('::'); {EXPECTED}")
    if uri.startswith("-"):
        raise _refused(uri, "looks like an option; write ./ before the name")
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return Path(uri)
    kind = scheme[1].lower()
    if kind == "s3":
        return _object(uri)
    if kind == "file":
        return _file(uri)
    raise _refused(uri, f"scheme {scheme[1]!r} is not accepted; {EXPECTED} (before a name with a colon write ./)")


def has_control_letters(text: str) -> bool:
    """Whether it has letters that no name needs: control letters, breaks of lines, halves of letters (surrogates)."""
    return any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text)


def _object(uri: str) -> ObjectAddress:
    bucket, _, key = _after_slashes(uri).partition("/")
    if "@" in bucket:
        raise _refused(uri, "carries a login; keys come from the environment (AWS_ACCESS_KEY_ID)")
    if "?" in uri or "#" in uri:
        raise _refused(uri, "carries parameters; signed addresses are not accepted, keys come from the environment")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise _refused(uri, f"{redact(bucket)!r} is no name of a bucket; expected s3://bucket/key")
    parts = key.removesuffix("/").split("/")
    if not all(parts) or {".", ".."} & set(parts):
        raise _refused(uri, "its key is empty, or has a part that is empty, '.' or '..'; expected s3://bucket/key")
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY:
        raise _refused(uri, f"its key is longer than {MAX_KEY} bytes")
    return ObjectAddress(bucket, key.removesuffix("/"))


def _file(uri: str) -> Path:
    server, slash, path = _after_slashes(uri).partition("/")
    if server or not slash:
        raise _refused(uri, "names a server, or no absolute path; expected file:///path")
    if urlsplit(uri).query or urlsplit(uri).fragment:
        raise _refused(uri, "carries parameters; expected file:///path ('?' is written %3F, '#' is written %23)")
    name = unquote(path, errors="surrogateescape")
    if has_control_letters(name):
        raise _refused(uri, "has control characters")
    return Path("/" + name)


def _after_slashes(uri: str) -> str:
    rest = uri.partition(":")[2]
    if not rest.startswith("//"):
        raise _refused(uri, f"lacks '//'; {EXPECTED}")
    return rest[2:]


def _refused(uri: str, fault: str) -> RequestError:
    shown = redact(uri)
    return RequestError(f"{shown if len(shown) <= SHOWN else shown[:SHOWN] + '...'!r} {fault}")
