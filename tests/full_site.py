"""A site that has something to show on each of its pages."""

from __future__ import annotations

from typing import Any

import pytest

from embedded.broker import Broker
from tests.mqtt import Peer
from tests.system import System, until

FIRST_DAYS = "2026-01-0{} 10:00+00"


@pytest.fixture(scope="session")
def full_site(system: System, broker: Broker) -> dict[str, Any]:
    """A site with something on every one of its pages; its ids are in it."""
    site = system.make_site("Quality", broker.port)
    system.call("PATCH", f"sites/{site['id']}/", json={"timezone": "Europe/Rome"})
    system.connect(site)
    code = site["code"]
    with Peer(broker.port) as peer:
        base = f"{code}/gateway/gw1/datalogger/monstro/1"
        peer.publish(f"{base}/heartbeat", {"serial": "M-1", "firmware": "V.5.1"})
        values = {"temp": 21.5, "state": "on", "door": True}
        for _ in range(2):
            peer.publish(f"{base}/data", {"values": values})
        peer.publish(f"{code}/datalogger/a/2/data", "no JSON")
        system.call("POST", f"mqtt/sites/{site['id']}/discover/", 202)
        message = {"topic": f"{code}/other", "message": "hello"}
        system.call("POST", f"mqtt/sites/{site['id']}/publish/", json=message)
        for day, end in ((1, None), (2, FIRST_DAYS.format(3))):
            system.sql(
                "INSERT INTO alerts_alert (kind, site_id, subject, cause, detail, "
                "opened_at, confirmed_at, closed_at) "
                "VALUES ('gateway', %s, 'gw1', 'silence', '', %s, %s, %s)",
                *(site["id"], FIRST_DAYS.format(day), FIRST_DAYS.format(day), end),
            )

        def known() -> dict[str, Any] | None:
            for room in ("kitchen", "hall"):
                peer.publish(f"{code}/zigbee/{room}", {"temperature": 21.5})
            return _numbers(system, site)

        return dict(until(known, "everything is there", 60, every_s=0.5))


def _numbers(system: System, site: dict[str, Any]) -> dict[str, Any] | None:
    """Return the ids of what the pages are of; nothing before all of it is there."""
    sensors = dict(
        system.sql(
            "SELECT s.key, s.id FROM devices_sensordevice s "
            "JOIN devices_datalogger d ON d.id = s.datalogger_id "
            "WHERE d.site_id = %s AND current_at IS NOT NULL",
            site["id"],
        )
    )
    ask = "SELECT min(id) FROM {} WHERE site_id = %s"
    logger = ask.format("devices_datalogger") + " AND type = 'monstro'"
    topic = ask.format("devices_discoveredtopic") + " AND topic LIKE '%%kitchen'"
    quarantined = ask.format("telemetry_quarantinedmessage")
    found = [
        system.sql(question, site["id"])[0][0]
        for question in (logger, topic, quarantined)
    ]
    if not all(found) or len(sensors) < 3:
        return None
    return site | {"datalogger": found[0], "topic": found[1], **sensors}


def paths_of(site: dict[str, Any]) -> list[str]:
    """Return the address of every page that a superuser has."""
    own = f"/sites/{site['id']}/"
    tabs = ("topics", "messages", "quarantine", "commands", "connection", "edit")
    return [
        *("/", "/alerts/", "/sites/new/", own, *(f"{own}{tab}/" for tab in tabs)),
        f"{own}topics/{site['topic']}/",
        f"/dataloggers/{site['datalogger']}/",
        f"/sensors/{site['temp']}/",
        f"/sensors/{site['state']}/",
        "/nowhere/",
    ]
