"""What the Prefect server does by itself: runs that fell silent are marked Crashed, and failures are told to somebody.

Both are found again by their names, so that they can be installed any number of times; installed without an alert,
an earlier one goes. They look at our flows alone: others at the same server may give signs of life less often.
"""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from model.errors import RequestError

SILENCE_SECONDS = 600.0  # twenty heartbeats (flows/environment.py): heard by no server that is away for a moment
SILENT_RUNS = "memory-v2v: runs that fell silent have crashed"
FAILED_RUNS = "memory-v2v: tell of runs that failed"
RUNS = {"prefect.resource.id": "prefect.flow-run.*"}
HEARTBEAT, STARTED = "prefect.flow-run.heartbeat", "prefect.flow-run.Running"
FAILURES = ("Failed", "Crashed", "TimedOut")
SILENT_BY_RIGHT = (*FAILURES, "Completed", "Cancelled", "Paused", "Suspended", "AwaitingRetry", "Scheduled")
BLOCK = "memory-v2v-alert"
MESSAGE = """\
{%- set what = flow.name ~ ": " ~ flow_run.name ~ " is " ~ flow_run.state.name %}
{%- set why = flow_run.state.message or "" %}
{
  "text": {{ (what ~ "\n" ~ why ~ "\n" ~ flow_run | ui_url) | replace("&", "&amp;") | replace("<", "&lt;") | tojson }},
  "flow": {{ flow.name | tojson }},
  "flow_run": {{ flow_run.name | tojson }},
  "state": {{ flow_run.state.name | tojson }},
  "message": {{ why | tojson }},
  "link": {{ flow_run | ui_url | tojson }}
}
"""  # `text` is what Slack, Mattermost and Teams show; names are the users' words, so no tags and mentions in it


@dataclass(frozen=True)
class Alert:
    """Where failures are told: a web address that takes JSON by POST. `inside`: it may be in a private network."""

    url: str
    inside: bool = False

    @property
    def host(self) -> str:
        """All of the address that may be shown: the rest is often a secret."""
        return urlsplit(self.url).hostname or ""


def choose_alert(url: str, inside: bool) -> Alert:
    """The alert that the operator asks for. Imports no Prefect, as flows/deployments.py says.

    Raises:
        RequestError: no address of the web, not encrypted though it leaves this machine, or in a private network
            though that was not asked for.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise RequestError(f"--alert: expected a web address such as https://example.org/hook, got one of {host!r}")
    if _is_this_machine(host):
        return Alert(url, inside=True)
    if parts.scheme != "https":
        raise RequestError(f"--alert: {host} is another machine, and http:// is read on the way; use https://")
    if not (inside or _is_public(host)):
        raise RequestError(
            f"--alert: {host} is unknown, or in a private network; with --alert-inside such addresses are called"
        )
    return Alert(url, inside)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_public(host: str) -> bool:
    """Whether a name leads somewhere, and nowhere into a private network: as Prefect asks when it calls a webhook."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the latter of a name that can be none
        return False
    return bool(found) and not any(ipaddress.ip_address(str(place[4][0])).is_private for place in found)


def install_automations(flows: Sequence[str], alert: Alert | None, silence_seconds: float = SILENCE_SECONDS) -> None:
    """Install both automations for the `flows` of these names at the server of `PREFECT_API_URL`, or renew them."""
    from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture, ResourceSpecification
    from prefect.client.schemas.objects import StateType

    message = f"no sign of life for {silence_seconds:g} s: its process or machine is gone, or this server was away"
    silent = EventTrigger(
        after={STARTED, HEARTBEAT},
        expect={HEARTBEAT, *(f"prefect.flow-run.{state}" for state in SILENT_BY_RIGHT)},
        match=ResourceSpecification.model_validate(RUNS),
        match_related=_ours(flows),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=silence_seconds),
    )
    crash = ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)
    _install(AutomationCore(name=SILENT_RUNS, description=message, trigger=silent, actions=[crash]))
    if alert is None:
        _remove(FAILED_RUNS)
    else:
        _install(_tell_of_failures(flows, alert))


def _ours(flows: Sequence[str]) -> Any:
    from prefect.automations import ResourceSpecification

    return ResourceSpecification.model_validate({"prefect.resource.role": "flow", "prefect.resource.name": list(flows)})


def _tell_of_failures(flows: Sequence[str], alert: Alert) -> Any:
    from prefect.automations import AutomationCore, CallWebhook, EventTrigger, Posture, ResourceSpecification
    from prefect.blocks.webhook import Webhook
    from prefect.types import SecretDict
    from pydantic import SecretStr

    headers = SecretDict({"Content-Type": "application/json"})
    hook = Webhook(method="POST", url=SecretStr(alert.url), headers=headers, allow_private_urls=alert.inside)
    failed = EventTrigger(
        expect={f"prefect.flow-run.{state}" for state in FAILURES},
        match=ResourceSpecification.model_validate(RUNS),
        match_related=_ours(flows),
        posture=Posture.Reactive,
        threshold=1,
    )
    block = hook.save(BLOCK, overwrite=True)
    assert isinstance(block, UUID)  # outside of an event loop
    call = CallWebhook(block_document_id=block, payload=MESSAGE)
    return AutomationCore(name=FAILED_RUNS, description=f"to {alert.host}", trigger=failed, actions=[call])


def _install(automation: Any) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        known = client.read_automations_by_name(automation.name)
        if known:
            client.update_automation(known[0].id, automation)
        else:
            client.create_automation(automation)
        for twin in known[1:]:
            client.delete_automation(twin.id)


def _remove(name: str) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for known in client.read_automations_by_name(name):
            client.delete_automation(known.id)
