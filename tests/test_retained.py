"""Thousands of retained messages: all current values right, nobody online, once."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Literal

import pytest

from embedded.broker import Broker
from embedded.mosquitto import mosquitto_binary
from tests.mqtt import Peer
from tests.system import System, until

pytestmark = pytest.mark.system

COUNT = int(os.environ.get("RETAINED_COUNT", "1500"))
RECONNECTS = int(os.environ.get("RETAINED_RECONNECTS", "2"))
# What most brokers do with QoS 1: so many in flight, so many queued, the rest is lost.
LIKE_MOST = "max_inflight_messages 20\nmax_queued_messages 1000\n"
IOTCORE_HANDS_OUT = 5_000  # of 8,000 and of 20,000, to a bare paho client as well


def fill(port: int, code: str) -> None:
    """Every second value has a time of its own, every other one has none."""
    with Peer(port) as peer:
        for n in range(COUNT):
            body: dict[str, Any] = {"values": {"n": n}}
            if n % 2:
                body["ts"] = int(time.time()) - 3_600
            topic = f"{code}/datalogger/r/{n}/data"
            peer.publish(topic, body, tag=n, retain=True)
            while n - len(peer._confirmed) > 400:
                time.sleep(0.005)
        until(lambda: len(peer._confirmed) == COUNT, "the broker keeps them", 120)


def current(system: System, site: dict[str, Any]) -> dict[int, float]:
    rows = system.sql(
        "SELECT d.number, s.current_value FROM devices_sensordevice s "
        "JOIN devices_datalogger d ON d.id = s.datalogger_id "
        "WHERE d.site_id = %s AND s.key = 'n' AND s.current_value IS NOT NULL",
        site["id"],
    )
    return {int(number): value for number, value in rows}


def memory_mb(system: System) -> int:
    status = Path(f"/proc/{system.processes['mqtt0'].pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1_024


@pytest.mark.parametrize("kind", ["mosquitto", "iotcore"])
def test_all_retained_values_arrive_and_turn_nobody_online(
    system: System, tmp_path: Path, kind: Literal["mosquitto", "iotcore"]
) -> None:
    is_mosquitto = kind == "mosquitto"
    if is_mosquitto and mosquitto_binary() is None:
        pytest.skip("mosquitto is not installed")
    if not is_mosquitto and COUNT > IOTCORE_HANDS_OUT:
        pytest.skip("iotcore hands out 5,000 retained messages at most")
    extra = LIKE_MOST if is_mosquitto else ""
    with Broker(tmp_path / "broker", kind=kind, extra_config=extra) as broker:
        site = system.make_site(f"Retained {kind}", broker.port)
        fill(broker.port, site["code"])
        expected = {n: float(n) for n in range(COUNT)}

        started = time.monotonic()
        system.connect(site)
        until(lambda: current(system, site) == expected, "all values", 120, 0.1)
        took_s = time.monotonic() - started
        print(f"{COUNT} right after {took_s:.1f} s, {memory_mb(system)} MB")

        for turn in range(RECONNECTS):
            if turn % 3 == 1 or not is_mosquitto:  # iotcore forgets at a restart
                system.stop_site(site)
                system.wait_status(site, "disconnected")
            elif turn % 3 == 2:
                time.sleep(11)  # it saves what it keeps every ten seconds
                broker.kill()
                system.wait_status(site, "error")
                broker.start()
            else:
                broker.stop()
                system.wait_status(site, "error")
                broker.start()
            before = system.stats_of(site)["received"]
            started = time.monotonic()
            system.connect(site)
            # The QoS 1 ones that the broker has room for, and all of them at QoS 0.
            until(
                lambda so_far=before: (
                    system.stats_of(site)["received"] >= so_far + COUNT
                ),
                "all came again",
                120,
                0.1,
            )
            took_s = time.monotonic() - started
            print(f"reconnect {turn}: again in {took_s:.1f} s, {memory_mb(system)} MB")

        assert current(system, site) == expected
        assert system.values_of(site) == [float(n) for n in range(1, COUNT, 2)]
        online = system.sql(
            "SELECT count(*) FROM devices_datalogger "
            "WHERE site_id = %s AND (presence = 'online' OR last_seen_at IS NOT NULL)",
            site["id"],
        )
        assert online[0][0] == 0
        stats = system.stats_of(site)
        assert stats["quarantined"] == stats["dropped"] == 0
        system.stop_site(site)
        system.wait_status(site, "disconnected")
