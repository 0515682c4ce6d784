"""Whom an alert may go to, and when a run is taken for dead."""

from uuid import uuid4

import pytest
from prefect.blocks.webhook import Webhook

from flows.automations import SILENCE_SECONDS, Alert, _tell_of_failures, choose_alert
from flows.environment import PATIENT
from model.errors import RequestError


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/hook", "http://localhost/hook", "http://[::1]:9/", "https://127.0.0.9/"]
)
def test_this_machine_may_be_told_in_the_clear(url: str) -> None:
    assert choose_alert(url, inside=False).inside


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://example.org/", "expected a web address"),
        ("hooks.example.org", "expected a web address"),
        ("file:///etc/passwd", "expected a web address"),
        ("http://hooks.example.org/secret", "hooks.example.org is another machine"),
        ("https://10.0.0.7/secret", "10.0.0.7 is unknown, or in a private network; with --alert-inside"),
        ("https://169.254.169.254/secret", "169.254.169.254 is unknown, or in a private network"),
        ("https://no.such.host.invalid/secret", "is unknown"),
    ],
)
def test_other_places_are_refused_without_showing_the_secret(url: str, told: str) -> None:
    with pytest.raises(RequestError, match=told) as fault:
        choose_alert(url, inside=False)
    assert "secret" not in str(fault.value)


@pytest.mark.parametrize("inside", [False, True])
def test_private_networks_are_shut_unless_the_operator_opened_them(
    inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect's own default is to call them."""
    saved: list[Webhook] = []
    monkeypatch.setattr(Webhook, "save", lambda self, *_, **__: saved.append(self) or uuid4())
    _tell_of_failures(["edit-video"], Alert("https://hooks.example.org/secret", inside))
    assert [block.allow_private_urls for block in saved] == [inside]
    assert "secret" not in repr(saved)


def test_a_private_network_is_told_where_the_operator_says_so() -> None:
    alert = choose_alert("https://10.0.0.7/secret", inside=True)
    assert (alert.inside, alert.host) == (True, "10.0.0.7")


def test_a_server_that_was_away_for_minutes_takes_no_live_run_for_dead() -> None:
    """On its return it has not heard the heartbeats of meanwhile."""
    assert 10 * float(PATIENT["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) <= SILENCE_SECONDS
