from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.devices.models import (
    Datalogger,
    DiscoverySession,
    Gateway,
    Presence,
    SensorDevice,
)
from apps.sites import commands
from apps.sites.leases import take
from apps.sites.models import Command, CommandState, MqttConnection, Status
from apps.web.tests.site_tabs import find_topic, quarantine

MARKUP = "<img src=x onerror=alert(1)> & \"Co\" 'x'"


@pytest.fixture
def owned(db):
    """Somebody alive owns both shards, so that a row's status counts."""
    return [take(shard, "mqtt@test") for shard in (0, 1)]


@pytest.fixture
def connected(north, owned):
    """The site north, connected to a broker."""
    MqttConnection.objects.filter(site=north).update(
        broker_host="broker.example",
        is_enabled=True,
        status=Status.CONNECTED,
        report_epoch=1,
        status_changed_at=timezone.now() - timedelta(minutes=7),
    )
    return north


@pytest.fixture
def stopped(north, owned):
    MqttConnection.objects.filter(site=north).update(broker_host="broker.example")
    return north


def make_devices(site, *, dataloggers=1, sensors=1):
    """Give the site a gateway, and dataloggers whose names are full of markup."""
    now = timezone.now()
    Gateway.objects.create(site=site, number="gw1", label=MARKUP)
    made = Datalogger.objects.bulk_create(
        Datalogger(
            site=site,
            type="monstro",
            number=str(number),
            label=MARKUP,
            firmware_version="V.5.53.0",
            presence=Presence.ONLINE if number == 0 else Presence.OFFLINE,
            last_seen_at=now,
        )
        for number in range(dataloggers)
    )
    SensorDevice.objects.bulk_create(
        SensorDevice(
            datalogger=datalogger,
            key=f"s{number}",
            label=MARKUP,
            current_value=1234.5 + number,
            current_at=now - timedelta(minutes=3),
            unit_of_measure="°C",
        )
        for datalogger in made
        for number in range(sensors)
    )
    return made


@pytest.fixture
def full(connected):
    """A site with something on each of its pages, all of it full of markup."""
    make_devices(connected)
    find_topic(connected)
    find_topic(connected, MARKUP, MARKUP.encode())
    find_topic(connected, "binary", b"\x00\xff")
    quarantine(connected, MARKUP.encode(), detail=MARKUP)
    quarantine(connected, b'{"values": {"t": 1}}')
    quarantine(connected, replayed_at=timezone.now())
    DiscoverySession.objects.create(
        site=connected, username=MARKUP[:150], duration_s=60, detail=MARKUP
    )
    Command.objects.create(
        site=connected,
        username=MARKUP[:150],
        topic=MARKUP,
        payload_size=3,
        payload_sha256="0" * 64,
        state=CommandState.ANSWERED,
        detail=MARKUP,
        sent_at=timezone.now(),
        delivered_at=timezone.now() + timedelta(milliseconds=12.5),
        expires_at=timezone.now(),
        reply=MARKUP,
        replied_at=timezone.now(),
    )
    return connected


@pytest.fixture
def worker(monkeypatch):
    """Notes what a worker would be told; it takes everything."""
    told = []

    def taker(name):
        def take(*args, **_):
            told.append((name, args))
            return True

        return take

    for name in ("send_discover", "send_resubscribe", "send_publish", "send_ensure"):
        monkeypatch.setattr(commands, name, taker(name))
    return told
