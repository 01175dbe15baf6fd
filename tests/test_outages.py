"""A broker, Valkey or a secret goes wrong: what is shown stays true."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from embedded.broker import Broker
from tests.mqtt import Peer
from tests.system import System, until

pytestmark = pytest.mark.system


def test_a_killed_broker_shows_and_heals(system: System, own_broker: Broker) -> None:
    site = system.make_site("Crash", own_broker.port)
    system.connect(site)

    for _ in range(3):
        own_broker.kill()
        lost = system.wait_status(site, "error")
        assert lost["reason"] == "lost"
        assert lost["retry_count"] >= 1
        own_broker.start()
        # Its back-off grows while no link was stable; a person's start cuts it short.
        system.start_site(site)
        system.wait_status(site, "connected")

    reasons = {
        event["reason"]
        for event in system.call("GET", f"mqtt/sites/{site['id']}/events/")["events"]
    }
    assert "duplicate_client_id" not in reasons


def test_it_comes_back_by_itself(system: System, own_broker: Broker) -> None:
    site = system.make_site("Back", own_broker.port)
    system.connect(site)

    own_broker.restart()

    system.wait_status(site, "connected", timeout_s=60)
    with Peer(own_broker.port) as peer:
        peer.publish(f"{site['code']}/datalogger/a/1/data", {"values": {"n": 1}})
        until(lambda: system.values_of(site) == [1], "it listens again")


def test_without_valkey_mqtt_and_ingest_go_on(tmp_path: Path, broker: Broker) -> None:
    with System(tmp_path, workers={"mqtt0": "mqtt.shard.0,mqtt.shard.1"}) as system:
        site = system.make_site("Unmoved", broker.port)
        waiting = system.make_site("Waiting", broker.port)
        system.connect(site)
        topic = f"{site['code']}/datalogger/a/1/data"
        with Peer(broker.port) as peer:
            peer.subscribe(f"{site['code']}/backend/status")
            until(lambda: peer.heard, "the retained birth")

            system.valkey.stop()
            for n in range(20):
                peer.publish(topic, {"values": {"n": n}})
            until(lambda: len(system.values_of(site)) == 20, "stored without Valkey")
            assert system.status(site)["status"] == "connected"
            system.start_site(waiting)  # answers, and is healed by the reconcile
            assert system.status(waiting)["status"] == "connecting"
            health = httpx.get(f"{system.url}/api/v1/mqtt/health/")
            assert health.json()["service"]["running"] is True
            time.sleep(10)
            system.valkey.start()

            system.wait_status(waiting, "connected", timeout_s=90)
            peer.publish(topic, {"values": {"n": 99}})
            until(lambda: 99 in system.values_of(site), "stored afterwards")
            # No goodbye, no second birth: the link was never touched.
            assert peer.heard[f"{site['code']}/backend/status"] == [b"online"]


def test_without_its_worker_a_site_is_not_shown_as_connected(
    tmp_path: Path, broker: Broker
) -> None:
    with System(tmp_path, workers={"mqtt0": "mqtt.shard.0,mqtt.shard.1"}) as system:
        site = system.make_site("Orphan", broker.port)
        system.connect(site)

        system.processes["mqtt0"].kill()

        seen = system.wait_status(site, "error", "worker_lost", 60)
        assert seen["handler_running"] is False
        health = httpx.get(f"{system.url}/api/v1/mqtt/health/")
        assert health.status_code == 503
        assert health.json()["status"] == "unhealthy"
        until(
            lambda: (
                system.sql("SELECT reason FROM sites_mqttconnection")[0][0]
                == "worker_lost"
            ),
            "the reconcile wrote it down",
            60,
        )
        system.processes["mqtt0"].start()
        system.wait_status(site, "connected", "", 60)


def test_the_broker_password_is_nowhere(
    system: System, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    canary = f"CANARY-{uuid4()}"
    with Broker(tmp_path / "secured", users={"anna": canary}) as secured:
        site = system.make_site(
            "Secret", secured.port, username="anna", password=canary
        )
        wrong = system.make_site(
            "Wrong secret", secured.port, username="anna", password=f"{canary}-wrong"
        )
        system.connect(site)
        system.start_site(wrong)
        system.wait_status(wrong, "error", "auth")

        answers = [
            system.call("GET", path)
            for path in (
                f"mqtt/sites/{site['id']}/connection/",
                f"mqtt/sites/{wrong['id']}/status/",
                f"mqtt/sites/{wrong['id']}/events/",
                "mqtt/connections/",
            )
        ]
        assert canary not in str(answers)
        assert answers[0]["has_password"] is True
        for log in system.folder.glob("*.log"):
            assert canary not in log.read_text(errors="replace"), log.name
        assert canary.encode() not in _everything_in(system)
        stored = system.sql("SELECT password_encrypted FROM sites_mqttconnection")
        assert canary not in str(stored)
        system.stop_site(site)
        system.stop_site(wrong)


def _everything_in(system: System) -> bytes:
    """Return all keys and values of Valkey, the queues' messages among them."""
    import redis

    client: Any = redis.Redis.from_url(system.valkey.url)
    found: list[Any] = []
    for key in client.scan_iter("*"):
        kind = client.type(key)
        found.append(key)
        if kind == b"string":
            found.append(client.get(key))
        elif kind == b"list":
            found += client.lrange(key, 0, -1)
        elif kind == b"hash":
            found += [part for pair in client.hgetall(key).items() for part in pair]
        elif kind == b"set":
            found += client.smembers(key)
        elif kind == b"zset":
            found += client.zrange(key, 0, -1)
    client.close()
    return b"\n".join(found)
