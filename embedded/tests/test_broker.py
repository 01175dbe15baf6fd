"""Both kinds of broker; mosquitto where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from paho.mqtt import publish, subscribe

from embedded import mosquitto, mqttprobe, ports
from embedded.broker import Broker
from embedded.server import ServerError
from embedded.tests.conftest import wait_for

USERS = {"guardiano": 'p:w/ö"x', "other": "y"}
NO_MOSQUITTO = mosquitto.mosquitto_binary() is None
needs_mosquitto = pytest.mark.skipif(
    NO_MOSQUITTO, reason="mosquitto 2.0 or newer is not installed"
)
Kind = Literal["mosquitto", "iotcore"]


@pytest.fixture(params=["iotcore", pytest.param("mosquitto", marks=needs_mosquitto)])
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture
def broker(kind: Kind, tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "with space", kind=kind, users=dict(USERS)) as broker:
        yield broker


def accepts(broker: Broker, login: tuple[str, str] | None, level: int = 4) -> bool:
    port = broker.port if level == 4 else broker.v5_port
    return mqttprobe.accepts(
        ports.LOOPBACK, port, login=login, level=level, timeout_s=10
    )


def test_it_takes_its_users_in_both_versions_and_nobody_else(broker: Broker):
    for login in USERS.items():
        assert accepts(broker, login)
        assert accepts(broker, login, level=5)
    assert not accepts(broker, None)
    assert not accepts(broker, ("guardiano", "wrong"))
    assert not accepts(broker, ("stranger", "y"), level=5)


def test_it_is_itself_again_after_kill_and_restart(broker: Broker):
    before = (broker.port, broker.v5_port, broker.url)

    broker.kill()
    assert not broker.is_running
    broker.start()
    broker.restart()

    wait_for(broker.is_ready)
    assert (broker.port, broker.v5_port, broker.url) == before


def test_users_change_at_the_next_start(broker: Broker):
    broker.set_users({"new": "1"})
    assert accepts(broker, ("other", "y"))

    broker.restart()

    assert accepts(broker, ("new", "1"))
    assert not accepts(broker, ("other", "y"))


def test_no_users_at_all_lets_nobody_in(broker: Broker):
    broker.set_users({})

    broker.restart()

    assert not accepts(broker, None)
    assert not accepts(broker, ("other", "y"))


def test_a_frozen_broker_does_not_answer(broker: Broker):
    broker.freeze()
    assert broker.is_running
    assert not broker.is_ready()

    broker.thaw()
    wait_for(broker.is_ready)


def test_without_users_everybody_may_connect(kind: Kind, tmp_path: Path):
    with Broker(tmp_path, kind=kind) as broker:
        assert accepts(broker, None)
        assert broker.url == f"mqtt://127.0.0.1:{broker.port}"


def test_its_url_holds_the_first_login():
    broker = Broker(Path("unused"), kind="iotcore", users=USERS)

    assert broker.url == f"mqtt://guardiano:p%3Aw%2F%C3%B6%22x@127.0.0.1:{broker.port}"


@needs_mosquitto
def test_mosquitto_keeps_retained_messages_over_a_restart(tmp_path: Path):
    with Broker(tmp_path / "with space", kind="mosquitto") as broker:
        publish.single("t", b"1", qos=1, retain=True, port=broker.port)

        broker.restart()

        assert subscribe.simple("t", port=broker.port, keepalive=60).payload == b"1"


@needs_mosquitto
def test_mosquitto_takes_extra_configuration(tmp_path: Path):
    with Broker(
        tmp_path, kind="mosquitto", users={"a": "b"}, extra_config="max_keepalive 60"
    ) as broker:
        assert broker.is_running


def test_iotcore_takes_no_extra_configuration(tmp_path: Path):
    with pytest.raises(ServerError, match="mosquitto's"):
        Broker(tmp_path, kind="iotcore", extra_config="max_connections 1")


def test_without_mosquitto_iotcore_is_taken(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(mosquitto, "mosquitto_binary", lambda: None)

    assert Broker(tmp_path).kind == "iotcore"
    with pytest.raises(ServerError, match="not installed"):
        Broker(tmp_path, kind="mosquitto")


def test_secrets_are_readable_by_their_owner_only(broker: Broker):
    names = {"mosquitto.conf", "mosquitto.passwd", "rumqttd.toml"}
    found = [path for path in broker.state_dir.iterdir() if path.name in names]

    assert found
    assert all(path.stat().st_mode & 0o077 == 0 for path in found)
