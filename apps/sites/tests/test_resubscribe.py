"""Subscribe to everything once more: asked for over the API or in a shell."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from apps.core.tests.clients import client_of, is_error
from apps.sites.services import connection_stop
from apps.sites.tests.builders import configured, running
from apps.sites.tests.sent import Sent, catch_commands


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    return catch_commands(monkeypatch)


def post(user, site):
    return client_of(user).post(f"/api/v1/mqtt/sites/{site.pk}/resubscribe/")


def test_a_connected_site_is_asked(operator, north, sent):
    running(north)

    answer = post(operator, north)

    assert answer.status_code == 200
    assert answer.json()["success"] is True
    assert sent.names[-1] == "resubscribe"


@pytest.mark.parametrize("is_stopped", [False, True])
def test_what_is_not_connected_is_not(operator, north, sent, is_stopped):
    if is_stopped:
        running(north)
        connection_stop(north)
    else:
        configured(north)

    answer = post(operator, north)

    assert (answer.status_code, answer.json()["code"]) == (409, "not_connected")
    assert is_error(answer.json())
    assert "resubscribe" not in sent.names


def test_the_command_says_what_happened_to_each_site(north, hidden, sent, capsys):
    running(north)
    configured(hidden)

    with pytest.raises(SystemExit) as ended:
        call_command("mqtt_resubscribe", "--site", north.code, "--site", str(hidden.pk))

    out = capsys.readouterr().out
    assert ended.value.code == 1
    assert f"{north.code}: is subscribing" in out
    assert f"{hidden.code}: Site {hidden.pk} is not connected" in out


def test_all_means_every_site_that_shall_be_connected(north, hidden, sent, capsys):
    running(north)
    configured(hidden)

    call_command("mqtt_resubscribe", "--all")

    assert hidden.code not in capsys.readouterr().out
    assert sent.names[-1] == "resubscribe"


@pytest.mark.parametrize("arguments", [[], ["--all", "--site", "x"]])
def test_the_command_wants_to_know_which(db, arguments):
    with pytest.raises(CommandError, match="which"):
        call_command("mqtt_resubscribe", *arguments)
