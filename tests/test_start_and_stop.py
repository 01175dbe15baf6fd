"""Start and stop over the API, against a real broker and a real worker."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from embedded.broker import Broker
from embedded.ports import free_port
from tests.mqtt import Peer
from tests.system import System, until

pytestmark = pytest.mark.system


def test_it_connects_at_once_and_says_so(system: System, broker: Broker) -> None:
    site = system.make_site("Prompt", broker.port)

    started = time.monotonic()
    system.start_site(site)
    seen = system.wait_status(site, "connected", "")

    assert time.monotonic() - started < 10  # 0.1 s usually; never the reconcile's tick
    assert seen["is_enabled"] is True
    assert seen["handler_running"] is True
    assert seen["handler_connected"] is True
    assert seen["subscribed_topics"] == len(seen["topics_list"]) == 9
    assert f"{site['code']}/gateway/+/heartbeat" in seen["topics_list"]
    assert seen["last_connected_at"].endswith("Z")


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_stop_ends_the_session_at_the_broker(
    system: System, broker: Broker, protocol: str
) -> None:
    port = broker.port if protocol == "3.1.1" else broker.v5_port
    site = system.make_site(f"Ends {protocol}", port, protocol=protocol)
    system.connect(site)

    system.stop_site(site)
    stopped = system.wait_status(site, "disconnected")

    assert stopped["is_enabled"] is False
    assert stopped["error_message"] == ""
    with Peer(broker.port) as peer:
        peer.publish(f"{site['code']}/datalogger/a/1/data", {"values": {"n": 1}}, tag=1)
        until(lambda: 1 in peer.acked, "the broker took the message")
    system.connect(site)
    time.sleep(1)
    assert system.values_of(site) == []  # nobody had queued it for us


def test_a_restart_of_the_worker_keeps_the_session(
    tmp_path: Path, broker: Broker
) -> None:
    """A persistent session is what makes a restart lose nothing."""
    with System(tmp_path, workers={"mqtt0": "mqtt.shard.0,mqtt.shard.1"}) as system:
        site = system.make_site("Kept", broker.port)
        system.connect(site)

        system.processes["mqtt0"].terminate()
        with Peer(broker.port) as peer:
            for n in range(50):
                peer.publish(
                    f"{site['code']}/datalogger/a/1/data", {"values": {"n": n}}, tag=n
                )
            until(lambda: len(peer.acked) == 50, "the broker took the messages")
        system.processes["mqtt0"].start()

        until(lambda: len(system.values_of(site)) >= 50, "the messages are stored", 60)
        assert system.values_of(site) == list(range(50))


def test_birth_and_goodbye_are_on_the_status_topic(
    system: System, broker: Broker
) -> None:
    site = system.make_site("Polite", broker.port)
    topic = f"{site['code']}/backend/status"
    with Peer(broker.port) as peer:
        peer.subscribe(topic)

        system.connect(site)
        until(lambda: peer.heard.get(topic, [])[-1:] == [b"online"], "the birth")
        system.stop_site(site)

        until(lambda: peer.heard.get(topic, [])[-1:] == [b"offline"], "the goodbye")


def test_new_settings_reach_a_running_connection(
    system: System, broker: Broker, own_broker: Broker
) -> None:
    site = system.make_site("Moves", broker.port)
    system.connect(site)

    system.call(
        "PATCH",
        f"mqtt/sites/{site['id']}/connection/",
        json={"broker_port": own_broker.port},
    )

    until(
        lambda: (
            system.status(site)["status"] == "connected"
            and system.status(site)["broker_port"] == own_broker.port
        ),
        "it moved",
    )
    with Peer(own_broker.port) as peer:
        peer.publish(f"{site['code']}/datalogger/a/1/data", {"values": {"n": 7}}, tag=1)
        until(lambda: system.values_of(site) == [7], "it listens at the new broker")


def test_each_cause_has_its_reason_and_others_stay_up(
    system: System, broker: Broker, tmp_path: Path
) -> None:
    good = system.make_site("Good", broker.port)
    system.connect(good)
    with Broker(tmp_path / "secured", users={"anna": "right"}) as secured:
        cases = {
            "refused": system.make_site("Wrong port", free_port()),
            "dns": system.make_site("Wrong host", 1883, broker_host="nowhere.invalid"),
            "auth": system.make_site(
                "Wrong password", secured.port, username="anna", password="wrong"
            ),
        }
        for site in cases.values():
            system.start_site(site)

        for reason, site in cases.items():
            seen = system.wait_status(site, "error", reason)
            assert seen["next_retry_at"] is not None
            assert seen["error_message"]
        assert system.status(good)["status"] == "connected"

        system.call(
            "PATCH",
            f"mqtt/sites/{cases['auth']['id']}/connection/",
            json={"password": "right"},
        )
        system.wait_status(cases["auth"], "connected")  # at once, not after 300 s
    for site in cases.values():
        system.stop_site(site)


def test_the_timeline_tells_the_story(system: System, broker: Broker) -> None:
    site = system.make_site("Story", broker.port)

    def tells(*story: str) -> None:
        """Wait: the status is the worker's word, its event is written after that."""

        def told() -> list[str]:
            page = system.call("GET", f"mqtt/sites/{site['id']}/events/")
            return [event["new_status"] for event in page["events"]]

        until(lambda: told()[: len(story)] == [*story], f"the timeline says {story}")

    system.connect(site)
    tells("connected", "connecting")
    system.stop_site(site)
    tells("disconnected", "disabled", "connected", "connecting")
    assert system.status(site)["status"] == "disconnected"


def test_a_deleted_site_leaves_no_session(system: System, broker: Broker) -> None:
    site = system.make_site("Deleted", broker.port)
    system.connect(site)
    topic = f"{site['code']}/backend/status"
    with Peer(broker.port) as peer:
        peer.subscribe(topic)

        system.call("DELETE", f"sites/{site['id']}/", 204)

        until(lambda: peer.heard.get(topic, [])[-1:] == [b"offline"], "the goodbye")


def test_a_second_client_with_our_id_is_called_by_its_name(
    system: System, own_broker: Broker
) -> None:
    site = system.make_site("Fought over", own_broker.port)
    system.connect(site)

    with Peer(own_broker.port, client_id=f"site_{site['id']}_{system.instance}"):
        seen = system.wait_status(site, "error", "duplicate_client_id", 90)

    assert seen["next_retry_at"] is not None  # a cooldown instead of a fight
    system.connect(site)  # a person's start ends it
