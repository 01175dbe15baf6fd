from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

URL = "mqtt://fleet:secret@127.0.0.1:1"


def simulate(*arguments: str) -> None:
    call_command("simulate_fleet", *arguments, stdout=StringIO(), stderr=StringIO())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--rate", "0"], "must be more than 0"),
        (["--rate", "fast"], "--rate"),
        (["--rate", "nan"], "must be more than 0"),
        (["--sites", "0"], "must be 1 or more"),
        (["--devices", "-1"], "must be 1 or more"),
        (["--malformed", "1.5"], "must be from 0 to 1"),
        (["--qos", "2"], "--qos"),
        (["--protocol", "4"], "--protocol"),
        (["--interval", "-1"], "--interval -1 is less than 0"),
        (["--demo", "--rate", "5"], "--demo has its own sites and pace"),
        (["--demo", "--codes", "a"], "--demo has its own sites and pace"),
        (["--rate", "1", "--devices", "600"], "heartbeats alone"),
        (["--host", "127.0.0.1"], "not both"),
        (["--codes", " , "], "--codes"),
    ],
)
def test_it_refuses_a_wrong_option_and_names_it(arguments: list[str], problem: str):
    with pytest.raises(CommandError) as caught:
        simulate("--url", URL, *arguments)

    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)


def test_it_needs_a_broker(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MQTT_URL", raising=False)

    with pytest.raises(CommandError, match="set MQTT_URL"):
        simulate("--demo")


def test_a_wrong_url_is_refused_without_its_password():
    with pytest.raises(CommandError) as caught:
        simulate("--url", "http://fleet:secret@127.0.0.1")

    assert "secret" not in str(caught.value)


def test_a_password_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("FLEET_PW", raising=False)

    with pytest.raises(CommandError, match="FLEET_PW is not set"):
        simulate("--host", "127.0.0.1", "--password-env", "FLEET_PW")
