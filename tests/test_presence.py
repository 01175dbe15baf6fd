"""A device stops, a broker dies: who is there, since when, and what counts."""

from __future__ import annotations

from typing import Any

import pytest

from embedded.broker import Broker
from tests.mqtt import Peer
from tests.system import System, until

pytestmark = pytest.mark.system


class Device:
    """A datalogger of a site, and what the API says about it."""

    def __init__(self, system: System, site: dict[str, Any], broker: Broker) -> None:
        self.system, self.site, self.broker = system, site, broker

    def beat(self, interval_s: int) -> None:
        topic = f"{self.site['code']}/datalogger/monstro/15/heartbeat"
        with Peer(self.broker.port) as peer:
            peer.publish(topic, {"interval": interval_s}, tag=1)
            until(lambda: peer.acked, "the broker has the heartbeat")

    @property
    def state(self) -> dict[str, Any]:
        path = f"mqtt/dataloggers/?site_id={self.site['id']}"
        found = self.system.call("GET", path)["dataloggers"]
        return dict(found[0]) if found else {"presence": "", "offline_cause": ""}

    def wait(self, presence: str, cause: str = "") -> dict[str, Any]:
        def is_so() -> dict[str, Any] | None:
            now = self.state
            same = (now["presence"], now["offline_cause"]) == (presence, cause)
            return now if same else None

        return dict(until(is_so, f"it is {presence} {cause}"))

    def uptime(self) -> dict[str, Any]:
        path = f"mqtt/dataloggers/{self.state['id']}/uptime/"
        return dict(self.system.call("GET", path))


def test_a_device_that_stops_is_offline_and_a_dead_broker_counts_nothing(
    system: System, own_broker: Broker
) -> None:
    site = system.make_site("Presence", own_broker.port)
    system.connect(site)
    device = Device(system, site, own_broker)
    device.beat(60)
    device.wait("online")

    own_broker.kill()
    blind = device.wait("unknown")
    own_broker.start()
    system.start_site(site)  # cuts its back-off short
    system.wait_status(site, "connected")
    still_blind = device.state
    device.beat(60)
    device.wait("online")
    uptime = device.uptime()

    left = system.sql(
        "SELECT at FROM sites_connectionevent e "
        "JOIN sites_mqttconnection c ON c.id = e.connection_id "
        "WHERE c.site_id = %s AND old_status = 'connected' ORDER BY at LIMIT 1",
        site["id"],
    )[0][0]
    since = system.sql(
        "SELECT started_at FROM devices_presenceperiod WHERE presence = 'unknown' "
        "AND datalogger_id = %s",
        blind["id"],
    )
    assert since == [(left,)]
    assert still_blind["presence"] == "unknown"
    assert uptime["uptime_percentage"] == 100.0
    assert uptime["outages"] == []

    device.beat(1)  # and no more
    device.wait("offline", "silence")
    device.beat(60)
    device.wait("online")
    [outage] = device.uptime()["outages"]
    assert outage["cause"] == "silence"
    assert outage["ended_at"] is not None
