"""Text that others may read, without the secrets that addresses carry: passwords, signatures, tokens.

Logs, run names and reports are readable by all who use the server; a signed address is a key for whoever reads it.
"""

import re

HIDDEN = "***"
PASSWORD = re.compile(r"(?<=://)[^/?#\s@'\"]+@")
SECRETS = "x-(?:amz|goog)-[a-z-]+|sig|signature|awsaccesskeyid|se|sp|sv|token|[a-z_-]*(?:token|secret|password|key)"
QUERY = re.compile(rf"(?<=[?&;])({SECRETS})=[^&;#\s'\"]*", re.IGNORECASE)
HEADER = re.compile(r"\b(bearer|basic) [A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def redact(text: str) -> str:
    """The same text with `user:password@` of addresses, signed parameters and authorisation headers hidden."""
    text = PASSWORD.sub(f"{HIDDEN}@", text)
    text = QUERY.sub(lambda found: f"{found[1]}={HIDDEN}", text)
    return HEADER.sub(lambda found: f"{found[1]} {HIDDEN}", text)
