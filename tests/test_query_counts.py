"""No page and no list of the API asks the database more for more rows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.alerts.models import Alert, AlertChannel, AlertDelivery
from apps.devices.discovery import topic_digest
from apps.devices.models import (
    Datalogger,
    DiscoveredTopic,
    DiscoverySession,
    Gateway,
    PresencePeriod,
    SensorDevice,
)
from apps.sites.models import Command, ConnectionEvent, SiteMember
from apps.sites.services import connection_of, site_create
from apps.sites.tests.builders import configured, running
from apps.telemetry.models import QuarantinedMessage, Reading, TopicMapping
from apps.web.urls import urlpatterns
from tests.test_permissions import ROUTES, filled_in, path_of

FEW, MANY = 2, 20
UNKNOWN = b'{"v": 9, "t": 1}'
VALUE = {
    "path": "$.t",
    "key": "t",
    "label": "",
    "type": "",
    "unit": "",
    "scale": 1,
    "offset": 0,
}
MOST = 24  # of the page that needs most; a new join is better than a new question


@pytest.fixture
def places(north, superuser):
    """The ids in addresses: of a site and of what it has, two of each."""
    running(north)
    grow(north, superuser, range(FEW))
    rows = {
        "site": north,
        "connection": north.connection,
        "gateway": Gateway.objects.first(),
        "datalogger": Datalogger.objects.first(),
        "sensor": SensorDevice.objects.first(),
        "topic": DiscoveredTopic.objects.first(),
        "mapping": TopicMapping.objects.first(),
        "message": QuarantinedMessage.objects.first(),
        "command": Command.objects.first(),
        "member": north.members.first(),
        "channel": AlertChannel.objects.first(),
    }
    return {kind: row.pk for kind, row in rows.items()}


def grow(site, user, numbers):
    """Add more of everything, also to the first datalogger and its first sensor."""
    now = timezone.now()
    for number in numbers:
        at = now - timedelta(minutes=number)
        other = site_create(name=f"Other {number}")
        configured(other)
        SiteMember.objects.create(site=other, user=user)
        SiteMember.objects.create(
            site=site, user=User.objects.create_user(f"member {number}")
        )
        gateway = Gateway.objects.create(site=site, number=f"g{number}")
        Gateway.objects.create(site=other, number="g")
        device = Datalogger.objects.create(
            site=site, gateway=gateway, type="t", number=f"{number}"
        )
        first = Datalogger.objects.filter(site=site).earliest("pk")
        SensorDevice.objects.create(datalogger=device, key="k", current_value=1)
        sensor = SensorDevice.objects.filter(datalogger=first).earliest("pk")
        SensorDevice.objects.create(datalogger=first, key=f"k{number}")
        Reading.objects.create(
            sensor=sensor, measured_at=at, received_at=at, value=number
        )
        PresencePeriod.objects.create(
            datalogger=first, presence="offline", started_at=at, ended_at=now
        )
        ConnectionEvent.objects.create(
            connection=connection_of(site), old_status="error", new_status="connected"
        )
        topic = f"{site.code}/thing/{number}"
        DiscoveredTopic.objects.create(
            site=site,
            topic=topic,
            digest=topic_digest(topic),
            first_seen=at,
            last_seen=at,
            last_payload=b'{"t": 1}',
            paths=[{"path": "$.t", "type": "number"}],
        )
        TopicMapping.objects.create(
            site=site,
            topic=topic,
            digest=topic_digest(topic),
            datalogger_type="t",
            datalogger_number="1",
            values=[VALUE],
        )
        DiscoverySession.objects.create(
            site=site, username="x", duration_s=60, state="finished"
        )
        QuarantinedMessage.objects.create(
            site=site,
            topic=f"{site.code}/datalogger/t/1/data",
            payload=UNKNOWN,
            payload_size=len(UNKNOWN),
            qos=1,
            retain=False,
            reason="unknown_version",
        )
        Command.objects.create(
            site=site,
            username="x",
            topic=f"{site.code}/datalogger/t/0/input",
            payload_size=3,
            expires_at=now,
        )
        alert = Alert.objects.create(
            kind="datalogger",
            site=site,
            datalogger=device,
            subject="x",
            opened_at=at,
            confirmed_at=at,
            closed_at=now if number % 2 else None,
        )
        channel = AlertChannel.objects.create(
            kind="email", name="x", target="x@example.com", site=site
        )
        AlertDelivery.objects.create(channel=channel, alert=alert, event="opened")


def pages(places):
    """Return the address of every page, also of those that do not exist yet."""
    routes = [str(pattern.pattern) for pattern in urlpatterns]
    return [f"/{filled_in(route, places)}" for route in routes]


def calls(places):
    """Return every address of the API that answers GET."""
    found = []
    for address, route in ROUTES.items():
        if "GET" in route.methods and address not in ("schema/", "docs/"):
            found.append(path_of(address, places))
    return found


@pytest.mark.parametrize("addresses", [pages, calls])
def test_the_number_of_queries_does_not_grow(
    client, superuser, north, places, addresses
):
    client.force_login(superuser)

    def ask():
        counts = {}
        for path in addresses(places):
            with CaptureQueriesContext(connection) as asked:
                answer = client.get(path)
            if answer.status_code != 405:  # an action
                assert answer.status_code in (200, 302), (path, answer.content[:200])
                counts[path] = len(asked)
        return counts

    ask()  # caches of content types and the like
    few = ask()
    grow(north, superuser, range(FEW, MANY))
    many = ask()

    assert len(few) > 10
    assert many == few
    assert max(many.values()) <= MOST
