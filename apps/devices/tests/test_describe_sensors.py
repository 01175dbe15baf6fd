"""What devices say about their sensors, and what people say."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.devices.identities import DeviceIds, describe_sensors
from apps.devices.models import Datalogger, SensorDevice


@pytest.fixture
def logger_id(north) -> int:
    return Datalogger.objects.create(site=north, type="monstro", number="15").pk


def told(key: str = "t") -> tuple[str, str, str]:
    row = SensorDevice.objects.get(key=key)
    return row.label, row.sensor_type, row.unit_of_measure


def test_a_described_sensor_is_made_and_described(logger_id):
    changed = describe_sensors(
        DeviceIds(), {(logger_id, "t"): ("Outside", "temperature", "°C")}
    )

    assert changed == 1
    assert told() == ("Outside", "temperature", "°C")


def test_type_and_unit_follow_the_device_and_a_label_is_kept(logger_id):
    ids = DeviceIds()
    describe_sensors(ids, {(logger_id, "t"): ("Outside", "temperature", "°C")})
    SensorDevice.objects.update(label="Mine", unit_of_measure="F")

    describe_sensors(ids, {(logger_id, "t"): ("Other", "temp", "K")})

    assert told() == ("Mine", "temp", "K")


def test_what_is_not_said_stays(logger_id):
    ids = DeviceIds()
    describe_sensors(ids, {(logger_id, "t"): ("Outside", "temperature", "°C")})

    assert describe_sensors(ids, {(logger_id, "t"): ("", "", "")}) == 0
    assert told() == ("Outside", "temperature", "°C")


def test_the_same_words_again_cost_nothing(logger_id):
    ids = DeviceIds()
    said = {(logger_id, key): ("", "x", "") for key in ("a", "b")}
    describe_sensors(ids, said)

    with CaptureQueriesContext(connection) as statements:
        assert describe_sensors(ids, said) == 0
        assert describe_sensors(ids, {}) == 0
    assert len(statements) == 0

    with CaptureQueriesContext(connection) as statements:
        describe_sensors(ids, said | {(logger_id, "b"): ("", "y", "")})
    assert len(statements) == 1


def test_after_forgetting_rows_that_are_right_are_not_written(logger_id):
    said = {(logger_id, "t"): ("Outside", "temperature", "°C")}
    ids = DeviceIds()
    describe_sensors(ids, said)
    ids.forget()

    assert not ids.told
    assert describe_sensors(ids, said) == 0
