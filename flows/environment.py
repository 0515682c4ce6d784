"""Defaults for Prefect, Ray and the numerical libraries, set before any of them is imported.

Whatever the user has set wins. Telemetry is off; a process without `PREFECT_API_URL` starts a server of its own on
127.0.0.1, under a password that only this process knows, and keeps its database apart from other Prefect installations.
"""

import os
import secrets
from pathlib import Path

from model.errors import RequestError

SILENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",  # the newer page asks amplitude.com for its settings, whatever is set
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of a call whose other result was asked for: the fault is told once, by us
}
SAFE = {
    "DIFFUSERS_DISABLE_REMOTE_CODE": "1",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_SERVER_API_HOST": "127.0.0.1",
    "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": "http://127.0.0.1",  # the default is any page in any browser
    "PYTHONSAFEPATH": "1",  # programs we start take no module from the folder they are started in
    "RAY_AUTH_MODE": "token",
}
RAY_ON_LOOPBACK = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
"""Without a cluster to join, Ray's servers bind to 127.0.0.1; on Linux they would bind to every address there is."""
LOGINS = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")  # of a server of our own: one and the same
PROXIES, OURSELVES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), ("127.0.0.1", "localhost")
PATIENT = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # a cold start took 14 s on two cores, the default is 20
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}


def user_folder(kind: str) -> Path:
    """`cache` or `data`: this project's folder among the user's (XDG), not created here.

    Raises:
        RequestError: the user has no home, as in some containers, and names no folder either.
    """
    variable, default = {"cache": ("XDG_CACHE_HOME", ".cache"), "data": ("XDG_DATA_HOME", ".local/share")}[kind]
    try:
        return Path(os.environ.get(variable) or Path.home() / default) / "memory-v2v"
    except RuntimeError:
        raise RequestError(f"this user has no home; set {variable} to a folder that you may write to") from None


def prepare_environment(verbose: bool = False) -> None:
    """Fill in what the user has not set. Prefect's own log lines reach the terminal only when `verbose`."""
    quiet = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO" if verbose else "CRITICAL"}
    quiet |= {} if verbose else {"PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL"}  # events that an ended server misses
    home = {"PREFECT_HOME": str(user_folder("data") / "prefect")}
    for name, value in {**SILENT, **SAFE, **PATIENT, **quiet, **home}.items():
        os.environ.setdefault(name, value)
    folder = Path(os.environ["PREFECT_HOME"]).expanduser()
    _make(folder, "XDG_DATA_HOME" if str(folder) == home["PREFECT_HOME"] else "PREFECT_HOME")
    _make(user_folder("cache"), "XDG_CACHE_HOME")
    if "RAY_ADDRESS" not in os.environ:
        os.environ.setdefault(*RAY_ON_LOOPBACK)
        if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # else Ray keeps one in the home, for all runs
    _ask_no_proxy_for_ourselves()
    if not _names_a_server(folder / "profiles.toml"):
        _protect_own_server()


def _ask_no_proxy_for_ourselves() -> None:
    """Where there is a proxy, it is not asked for servers on this machine, which only this machine can reach."""
    if not any(os.environ.get(name) or os.environ.get(name.lower()) for name in PROXIES):
        return
    said = f"{os.environ.get('NO_PROXY', '')},{os.environ.get('no_proxy', '')}".split(",")
    spared = [*filter(None, map(str.strip, said)), *OURSELVES]
    os.environ |= dict.fromkeys(("NO_PROXY", "no_proxy"), "*" if "*" in spared else ",".join(dict.fromkeys(spared)))


def _make(folder: Path, variable: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise RequestError(
            f"{folder}: cannot be made a folder ({fault.strerror}); set {variable} to a folder that you may write to"
        ) from None


def _names_a_server(profiles: Path) -> bool:
    """Whether the user has named a server: then its password is theirs to give, and ours is not for it."""
    return "PREFECT_API_URL" in os.environ or (profiles.is_file() and "PREFECT_API_URL" in profiles.read_text())


def _protect_own_server() -> None:
    """Let nobody else on this machine, and no page in a browser, into the server that this process will start."""
    said = (os.environ.get(name) for name in LOGINS)
    login = next(filter(None, said), f"memory-v2v:{secrets.token_urlsafe(24)}")
    os.environ |= dict.fromkeys(LOGINS, login)
