"""A broker, Valkey or a secret goes wrong: what is shown stays true."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from embedded.broker import Broker
from embedded.ports import free_port
from tests.mqtt import Peer
from tests.proxy import Proxy
from tests.system import WEB, Process, System, until

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
    live_only = system.make_site("Live only", own_broker.port, clean_session=True)
    system.connect(site)
    system.connect(live_only)

    own_broker.stop()
    system.wait_status(site, "error")
    own_broker.start()

    system.wait_status(site, "connected", timeout_s=60)
    with Peer(own_broker.port) as peer:
        peer.publish(f"{site['code']}/datalogger/a/1/data", {"values": {"n": 1}})
        until(lambda: system.values_of(site) == [1], "it listens again")

    def gaps() -> Any:
        path = f"mqtt/sites/{live_only['id']}/gaps/"
        return system.call("GET", path)["gaps"]

    until(lambda: len(gaps()) == 1, "what it missed is told", 60)
    [gap] = gaps()
    assert gap["cause"] == "clean_session"
    assert gap["began_at"] < gap["ended_at"]


def test_a_site_cut_off_from_its_broker_shows_and_loses_nothing(
    system: System, broker: Broker
) -> None:
    """No end notices: packets vanish. The lease and the other sites are untouched."""
    with Proxy(broker.port) as proxy:
        cut_off = system.make_site("Cut off", proxy.port, keepalive=5)
        other = system.make_site("Not cut off", broker.port)
        for site in (cut_off, other):
            system.connect(site)
        lease = "SELECT shard, owner, epoch FROM sites_shardlease ORDER BY shard"
        owners = system.sql(lease)

        proxy.go_silent()
        with Peer(broker.port) as peer:
            for n in range(20):
                for site in (cut_off, other):
                    peer.publish(
                        f"{site['code']}/datalogger/a/1/data", {"values": {"n": n}}
                    )
            until(lambda: len(system.values_of(other)) == 20, "the other's are stored")
        seen = system.wait_status(cut_off, "error", "lost")
        assert "silent" in seen["error_message"]
        assert system.status(other)["status"] == "connected"
        assert system.sql(lease) == owners
        proxy.heal()

        system.connect(cut_off)
        until(lambda: len(system.values_of(cut_off)) >= 20, "what the broker kept")
        assert system.values_of(cut_off) == [float(n) for n in range(20)]
        for site in (cut_off, other):
            system.stop_site(site)


def test_without_valkey_mqtt_and_ingest_go_on(tmp_path: Path, broker: Broker) -> None:
    with System(tmp_path, workers={"mqtt0": "mqtt.shard.0,mqtt.shard.1"}) as system:
        site = system.make_site("Unmoved", broker.port)
        waiting = system.make_site("Waiting", broker.port)
        system.connect(site)
        topic = f"{site['code']}/datalogger/a/1/data"
        with Peer(broker.port) as peer:
            peer.subscribe(f"{site['code']}/backend/status")
            until(lambda: peer.heard, "the retained birth")
            recorded = "SELECT status FROM sites_mqttconnection WHERE site_id = %s"
            until(
                lambda: system.sql(recorded, site["id"]) == [("connected",)],
                "it is written down; without Redis nothing else says it",
            )

            system.valkey.stop()
            for n in range(20):
                peer.publish(topic, {"values": {"n": n}})
            until(lambda: len(system.values_of(site)) == 20, "stored without Valkey")
            assert system.status(site)["status"] == "connected"
            system.start_site(waiting)  # answers, and is healed by the reconcile
            assert system.status(waiting)["status"] == "connecting"
            health = WEB.get(f"{system.url}/api/v1/mqtt/health/")
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
        health = WEB.get(f"{system.url}/api/v1/mqtt/health/")
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


def test_beat_that_starts_without_its_database_waits_for_it(
    system: System, tmp_path: Path
) -> None:
    nowhere = system.env | {"DATABASE_URL": f"postgres://a:b@127.0.0.1:{free_port()}/x"}
    log = tmp_path / "beat.log"
    beat = Process("beat", "celery -A project beat", nowhere, log)
    beat.start()

    until(
        lambda: log.read_text().count("beat waits for the database") > 1,
        "it waits",
        120,
    )
    assert beat.popen is not None
    assert beat.popen.poll() is None

    beat.terminate(30)  # and may be told to end meanwhile
    assert "Traceback" not in log.read_text()


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
            found.append(client.get(key) or b"")  # it may expire in between
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
