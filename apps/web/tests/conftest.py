from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.devices.models import Datalogger, Gateway, Presence, SensorDevice
from apps.sites.leases import take
from apps.sites.models import MqttConnection, Status

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
