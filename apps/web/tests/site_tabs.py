"""What the tests of a site's pages share: addresses, forms, rows to show."""

from __future__ import annotations

from django.utils import timezone

from apps.devices.discovery import Key, Sighting, note, see
from apps.devices.models import DiscoveredTopic
from apps.telemetry.models import QuarantinedMessage

SCRIPT = {"x-script": "1"}
PAYLOAD = (
    b'{"temperature": 21.5, "humidity": 48, "on": true, "at": "2026-11-20T10:00:00Z"}'
)
TABS = ("", "topics/", "messages/", "quarantine/", "commands/", "connection/", "edit/")


def url(site, tab=""):
    return f"/sites/{site.pk}/{tab}"


def find_topic(site, name="zigbee/kitchen", payload=PAYLOAD):
    seen: dict[Key, Sighting] = {}
    now_us = int(timezone.now().timestamp() * 1e6)
    topic = f"{site.code}/{name}".encode()
    see(seen, site.pk, topic, payload, qos=1, retain=False, at_us=now_us)
    note(seen)
    return DiscoveredTopic.objects.get(site=site, topic=topic.decode())


def quarantine(site, payload=b"{broken", reason="json_invalid", **but):
    fields = {
        "site": site,
        "topic": f"{site.code}/datalogger/a/1/data",
        "payload": payload,
        "payload_size": len(payload),
        "qos": 1,
        "retain": False,
        "reason": reason,
        "detail": "line 1",
    }
    return QuarantinedMessage.objects.create(**(fields | but))


def post(client, path, script=True, **data):
    return client.post(path, data, headers=SCRIPT if script else {})
