"""Text that others may read, without credentials: more people see tables, logs and dashboards than hold the keys.

Knows the shapes that S3 and web addresses give them, and the values that this process was started with.
"""

import os
import re

HIDDEN = "[hidden]"
OURS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
SHORTEST = 8  # letters of a secret that is looked for; anything shorter would black out ordinary words

_LOGIN = re.compile(r"(?<=//)[^/\s'\"?#]*@")
_SIGNED = "X-(?:Amz|Goog)-[A-Za-z-]+|AWSAccessKeyId|Signature|Key-Pair-Id|Policy"
_PARAMETER = "sig|se|sp|sv|[a-z_-]*(?:token|secret|password|key)"  # only in an address: elsewhere these are words
_VALUE = re.compile(rf"(\b(?:{_SIGNED})|(?<=[?&;])(?:{_PARAMETER}))=[^&;#\s'\"]*", re.IGNORECASE)
_HEADER = re.compile(r"\b(bearer|basic) [A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def redact(text: str) -> str:
    """The text without `user:password@`, signed parameters, authorisation headers, and this process's own keys."""
    for name in OURS:
        if len(value := os.environ.get(name, "")) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    text = _VALUE.sub(rf"\1={HIDDEN}", _LOGIN.sub(f"{HIDDEN}@", text))
    return _HEADER.sub(rf"\1 {HIDDEN}", text)
