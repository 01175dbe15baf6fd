"""Changes to a running connection, tests of one, and subscribing once more."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from embedded.broker import Broker
from embedded.ports import free_port
from tests.fakebroker import FakeBroker
from tests.mqtt import Peer
from tests.proxy import Proxy
from tests.system import System, until

pytestmark = pytest.mark.system


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that never answers: its queue is full, so further SYNs are dropped."""
    server = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = [socket.socket() for _ in range(3)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(server.getsockname())
    try:
        yield server.getsockname()[1]
    finally:
        for sock in (*fillers, server):
            sock.close()


def configure(system: System, site: dict[str, Any], **fields: Any) -> None:
    system.call("PATCH", f"mqtt/sites/{site['id']}/connection/", json=fields)


def test_a_change_of_broker_is_applied_while_the_old_one_is_a_black_hole(
    system: System, broker: Broker
) -> None:
    with black_hole() as port:
        site = system.make_site("From nowhere", port)
        system.start_site(site)
        time.sleep(1)

        started = time.monotonic()
        configure(system, site, broker_port=broker.port)
        system.wait_status(site, "connected")
        took_s = time.monotonic() - started

    print(f"applied in {took_s:.2f} s")
    assert took_s < 4  # 0.1 s on a quiet machine; it used to be five and more
    system.stop_site(site)
    system.wait_status(site, "disconnected")


def test_the_session_at_the_old_broker_is_ended_in_the_background(
    system: System, broker: Broker, own_broker: Broker
) -> None:
    with Proxy(own_broker.port) as way:
        site = system.make_site("Moves away", way.port)
        system.connect(site)

        configure(system, site, broker_port=broker.port)
        system.wait_status(site, "connected")
        until(
            lambda: (way.accepted, way.open_connections) == (2, 0),
            "it was left, and its session wiped",
        )

    client_id = f"site_{site['id']}_{system.instance}"

    def is_ended() -> bool:
        """Ask the old broker for the session; asking makes one."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        seen: list[bool] = []
        client = Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False
        )
        client.on_connect = lambda c, u, flags, r, p: seen.append(flags.session_present)
        client.connect("127.0.0.1", own_broker.port)
        end = time.monotonic() + 5
        while not seen and time.monotonic() < end:
            client.loop(0.1)
        client.disconnect()
        return seen == [False]

    assert is_ended()
    assert system.status(site)["status"] == "connected"


def test_other_topics_need_no_new_connection(system: System) -> None:
    with FakeBroker() as fake:
        site = system.make_site("Topics", fake.port)
        system.connect(site)

        configure(
            system,
            site,
            topics=[{"pattern": "gateway/+/heartbeat"}, {"pattern": "extra/#"}],
        )
        seen = until(
            lambda: (
                (now := system.status(site))["status"] == "connected"
                and now["subscribed_topics"] == 2
                and now
            ),
            "connected with the new topics",
        )

        assert f"{site['code']}/extra/#" in seen["topics_list"]
        assert fake.connects == 1
        system.stop_site(site)
        system.wait_status(site, "disconnected")


def test_messages_follow_the_topics(system: System, broker: Broker) -> None:
    site = system.make_site("Follows", broker.port)
    configure(system, site, topics=[{"pattern": "gateway/+/heartbeat"}])
    system.connect(site)
    topic = f"{site['code']}/datalogger/a/1/data"

    configure(system, site, topics=[{"pattern": "datalogger/+/+/data"}])
    until(
        lambda: (
            system.status(site)["topics_list"]
            == [f"{site['code']}/datalogger/+/+/data"]
        ),
        "the new topics",
    )

    with Peer(broker.port) as peer:
        peer.publish(topic, {"values": {"n": 1}})
        until(lambda: system.values_of(site) == [1], "it is heard")
    system.stop_site(site)


def test_on_demand_retained_messages_come_again(system: System, broker: Broker) -> None:
    for protocol, port in (("3.1.1", broker.port), ("5", broker.v5_port)):
        site = system.make_site(f"Again {protocol}", port, protocol=protocol)
        refused = system.call("POST", f"mqtt/sites/{site['id']}/resubscribe/", 409)
        assert refused["code"] == "not_connected"
        with Peer(broker.port) as peer:
            topic = f"{site['code']}/datalogger/a/1/data"
            peer.publish(topic, {"values": {"n": 1}}, tag=1, retain=True)
            until(lambda peer=peer: 1 in peer.acked, "the broker keeps it")
        system.connect(site)
        if protocol == "5" and broker.kind == "iotcore":
            continue  # it sends no retained messages to MQTT 5 clients again
        until(lambda site=site: system.stats_of(site)["received"] == 1, "it came")

        answer = system.call("POST", f"mqtt/sites/{site['id']}/resubscribe/")

        assert answer["success"] is True
        until(lambda site=site: system.stats_of(site)["received"] == 2, "it came again")
        assert system.status(site)["status"] == "connected"
        system.stop_site(site)


def test_a_connection_is_tried_without_touching_it(
    system: System, broker: Broker
) -> None:
    site = system.make_site("Tried", broker.port)
    topic = f"{site['code']}/backend/status"
    system.connect(site)
    with Peer(broker.port) as peer:
        peer.subscribe(topic)
        until(lambda: peer.heard.get(topic) == [b"online"], "the birth")

        result = system.call("POST", f"mqtt/sites/{site['id']}/test/")
        dead = system.call(
            "POST", f"mqtt/sites/{site['id']}/test/", json={"broker_port": free_port()}
        )

        assert peer.heard[topic] == [b"online"]
    assert result["ok"] is True, json.dumps(result)
    steps = {step["name"]: step for step in result["steps"]}
    assert steps["tls"]["ok"] is None
    assert len(steps["suback"]["filters"]) == 9
    assert dead["ok"] is False
    assert dead["steps"][1]["problem"] == "refused"
    assert system.status(site)["status"] == "connected"
    system.stop_site(site)


def test_keepalive_and_session_are_as_configured(system: System) -> None:
    with FakeBroker() as fake:
        site = system.make_site("Settings", fake.port, keepalive=7, clean_session=True)
        system.connect(site)
        assert _greeting(fake) == (7, True)

        configure(system, site, keepalive=None, clean_session=False)
        fake.wait_connects(2)

        assert _greeting(fake) == (15, False)
        system.wait_status(site, "connected")
        system.stop_site(site)
        system.wait_status(site, "disconnected")


def _greeting(fake: FakeBroker) -> tuple[int, bool]:
    """Return keepalive and clean session of the last CONNECT."""
    body = fake.greetings[-1]
    return int.from_bytes(body[8:10], "big"), bool(body[7] & 0b10)
