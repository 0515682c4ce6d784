"""Credentials have no place in messages: tables, logs and dashboards are read by more people than hold the keys.

Knows the shapes that S3 and web addresses give them, and the values that this process was started with.
"""

import os
import re

HIDDEN = "[hidden]"
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
SHORTEST = 8  # letters of a secret that is looked for; anything shorter would black out ordinary words

_LOGIN = re.compile(r"(?<=//)[^/\s'\"?#]*@")
_SIGNED = re.compile(
    r"\b(X-Amz-[A-Za-z-]+|AWSAccessKeyId|Signature|Key-Pair-Id|Policy|sig|token|access_token)=[^&\s'\"]*", re.IGNORECASE
)


def redact(text: str) -> str:
    """The text without credentials: `user:password@`, the parameters of signed URLs, and this process's own keys."""
    for name in SECRETS:
        if len(value := os.environ.get(name, "")) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    return _SIGNED.sub(rf"\1={HIDDEN}", _LOGIN.sub(f"{HIDDEN}@", text))
