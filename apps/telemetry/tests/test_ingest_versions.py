"""What payloads of version 2 and mappings describe, once it is stored."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import pytest

from apps.devices.models import Datalogger, SensorDevice
from apps.telemetry.facts import Entry
from apps.telemetry.protocols.decode import decode
from apps.telemetry.tests.batches import Feed, values


@pytest.fixture
def feed(north) -> Feed:
    return Feed(north)


def arrive(feed: Feed, *readings: dict[str, Any], **more: Any) -> None:
    body = {"v": 2, "readings": list(readings)} | more
    topic = f"{feed.site.code}/datalogger/monstro/15/data".encode()
    message = feed.message(json.dumps(body).encode(), topic=topic)
    fact = decode(
        feed.site.code,
        topic,
        message.payload,
        received_us=message.received_us,
        zone=UTC,
    )
    feed.write(Entry(message, fact))


def described(key: str) -> tuple[str, str, str]:
    row = SensorDevice.objects.get(key=key)
    return row.label, row.sensor_type, row.unit_of_measure


def test_version_two_names_its_sensors_and_its_datalogger(feed):
    arrive(
        feed,
        {"id": "t", "label": "Outside", "type": "temp", "unit": "°C", "value": 1},
        {"id": "silent", "label": "Silent", "value": None},
        serial="MONSTR-001",
    )

    assert described("t") == ("Outside", "temp", "°C")
    assert described("silent") == ("Silent", "", "")
    assert Datalogger.objects.get().serial_number == "MONSTR-001"
    assert values() == [1.0]


def test_what_the_device_says_anew_is_followed_but_not_its_label(feed):
    arrive(feed, {"id": "t", "label": "Outside", "unit": "°C", "value": 1})
    SensorDevice.objects.update(label="Mine")

    arrive(feed, {"id": "t", "label": "Inside", "unit": "K", "value": 2})

    assert described("t") == ("Mine", "", "K")


def test_a_sensor_deleted_meanwhile_is_made_and_described_anew(feed):
    arrive(feed, {"id": "t", "unit": "°C", "value": 1})
    SensorDevice.objects.all().delete()

    arrive(feed, {"id": "t", "unit": "°C", "value": 2})

    assert described("t") == ("", "", "°C")
