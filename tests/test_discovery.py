"""Discovery against a real broker and a real worker: from unknown topic to reading."""

from __future__ import annotations

from typing import Any

import pytest

from apps.core.tests.streaming import EventClient
from embedded.broker import Broker
from tests.mqtt import Peer
from tests.system import System, until

pytestmark = pytest.mark.system


def discover(
    system: System, site: dict[str, Any], expect: int = 202, **body: Any
) -> dict[str, Any]:
    return dict(
        system.call("POST", f"mqtt/sites/{site['id']}/discover/", expect, json=body)
    )


def session_of(system: System, site: dict[str, Any]) -> dict[str, Any]:
    page = system.call("GET", f"mqtt/sites/{site['id']}/discover/")
    return dict(page["sessions"][0])


def listening(system: System, site: dict[str, Any]) -> dict[str, Any]:
    """Wait until the broker has taken the session's subscription."""
    return dict(
        until(lambda: (s := session_of(system, site))["started_at"] and s, "it listens")
    )


def over(system: System, site: dict[str, Any]) -> dict[str, Any]:
    return dict(
        until(lambda: (s := session_of(system, site))["ended_at"] and s, "it ends")
    )


def topics_of(system: System, site: dict[str, Any], query: str = "") -> dict[str, Any]:
    page = system.call("GET", f"mqtt/sites/{site['id']}/topics/{query}")
    return {topic["topic"]: topic for topic in page["topics"]}


def test_an_unknown_topic_becomes_the_reading_of_a_datalogger(
    system: System, broker: Broker
) -> None:
    site = system.make_site("Unknown", broker.port)
    code = site["code"]
    valve, native = f"{code}/valves/7", f"{code}/datalogger/monstro/15/data"
    system.connect(site)
    stream = EventClient(
        system.port,
        f"/events/sites/{site['id']}/",
        {"Authorization": f"Bearer {system.token()}"},
    )

    with stream, Peer(broker.port) as peer:
        begun = discover(system, site, duration_s=60, filters=["elsewhere/#"])
        refused = discover(system, site, 409)
        listening(system, site)
        peer.publish(valve, {"state": {"open": 40}}, tag=1)
        peer.publish("elsewhere/x", "22.5", tag=2)
        peer.publish(native, {"values": {"n": 1}}, tag=3)
        until(lambda: len(topics_of(system, site)) == 2, "both are found")
        system.call("DELETE", f"mqtt/sites/{site['id']}/discover/", 204)
        ended = session_of(system, site)
        told = [
            event.data for event in stream.all(during=1.5) if event.event == "discovery"
        ]

        found = topics_of(system, site)
        change = {
            "state": "accepted",
            "mapping": {
                "datalogger": {"type": "valve", "number": "7"},
                "values": [{"path": "$.state.open", "key": "open", "scale": 0.01}],
            },
        }
        accepted = system.call(
            "PATCH",
            f"mqtt/sites/{site['id']}/topics/{found[valve]['id']}/",
            json=change,
        )
        outside = system.call(
            "PATCH",
            f"mqtt/sites/{site['id']}/topics/{found['elsewhere/x']['id']}/",
            400,
            json=change,
        )
        until(lambda: valve in system.status(site)["topics_list"], "it subscribes")

        def is_read() -> bool:
            peer.publish(valve, {"state": {"open": 50}})
            return 0.5 in system.values_of(site, "open")

        until(is_read, "the next message is a reading", every_s=0.5)

    assert (begun["state"], begun["filters"]) == ("waiting", ["elsewhere/#"])
    assert refused["code"] == "already_running"
    assert set(found) == {valve, "elsewhere/x"}
    assert found[valve]["paths"] == [{"path": "$.state.open", "type": "number"}]
    assert found["elsewhere/x"]["content_type"] == "number"
    assert (ended["state"], ended["detail"]) == ("finished", "Stopped by root")
    assert {name: session_of(system, site)[name] for name in ("state", "topics")} == {
        "state": "finished",
        "topics": 2,
    }
    assert {t["topic"] for event in told for t in event["topics"]} == set(found)
    assert told[-1]["session"]["state"] == "finished"
    assert accepted["mapping"]["datalogger"] == {"type": "valve", "number": "7"}
    assert list(outside["fields"]) == ["state"]
    assert system.values_of(site) == [1]  # the native message came once


def test_a_storm_of_topics_keeps_to_its_bounds(system: System, broker: Broker) -> None:
    site = system.make_site("Storm", broker.port)
    code = site["code"]
    system.connect(site)
    discover(system, site, duration_s=120)  # the peer may need its time
    listening(system, site)

    with Peer(broker.port) as peer:
        for n in range(6_000):
            peer.publish(f"{code}/storm/{n}", b"\0" * 50, tag=n)
        peer.publish(f"{code}/datalogger/a/1/data", {"values": {"n": 7}}, tag=7_000)
        until(lambda: len(peer.acked) == 6_001, "the broker has them")
    until(lambda: system.values_of(site) == [7], "the device is not held up")
    until(lambda: session_of(system, site)["messages"] == 6_002, "it heard them all")
    system.call("DELETE", f"mqtt/sites/{site['id']}/discover/", 204)

    def first_topic() -> dict[str, Any]:
        return dict(system.call("GET", f"mqtt/sites/{site['id']}/topics/?limit=1"))

    page = until(
        lambda: (p := first_topic())["dropped"] == 1_000 and p, "all are stored"
    )
    stopped = session_of(system, site)
    discover(system, site, duration_s=1)
    ended = over(system, site)

    assert (stopped["topics"], stopped["messages"]) == (6_000, 6_002)
    assert (ended["state"], ended["detail"]) == ("finished", "")
    assert (page["count"], page["dropped"]) == (5_000, 1_000)
    assert page["next"]
    assert page["topics"][0]["payload_encoding"] == "base64"


def test_a_session_ends_with_the_worker_that_listened(
    system: System, broker: Broker
) -> None:
    site = system.make_site("Orphan", broker.port)
    system.connect(site)
    discover(system, site, duration_s=600)
    listening(system, site)
    worker = system.processes["mqtt0"]

    worker.kill()
    worker.start()

    ended = over(system, site)
    assert (ended["state"], ended["detail"]) == ("failed", "Its worker is gone")
    system.wait_status(site, "connected")
