"""Defaults for Prefect, Ray and the numerical libraries, set before any of them is imported.

Whatever the user has set wins. Telemetry is off; a process without `PREFECT_API_URL` starts a server of its own on
127.0.0.1 and keeps its database apart from other Prefect installations.
"""

import os
from pathlib import Path

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
    "RAY_AUTH_MODE": "token",
}
PATIENT = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # a cold start took 14 s on two cores, the default is 20
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}


def user_folder(kind: str) -> Path:
    """`cache` or `data`: this project's folder among the user's (XDG), not created here."""
    variable, default = {"cache": ("XDG_CACHE_HOME", ".cache"), "data": ("XDG_DATA_HOME", ".local/share")}[kind]
    return Path(os.environ.get(variable) or Path.home() / default) / "memory-v2v"


def prepare_environment(verbose: bool = False) -> None:
    """Fill in what the user has not set. Prefect's own log lines reach the terminal only when `verbose`."""
    quiet = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO" if verbose else "CRITICAL"}
    home = {"PREFECT_HOME": str(user_folder("data") / "prefect")}
    for name, value in {**SILENT, **SAFE, **PATIENT, **quiet, **home}.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).expanduser().mkdir(parents=True, exist_ok=True)
