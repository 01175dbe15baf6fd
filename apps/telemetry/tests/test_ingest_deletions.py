"""Rows that disappear while their messages are on the way."""

from __future__ import annotations

import threading

import pytest
from django.db import DataError, OperationalError, connection

from apps.devices import updates
from apps.devices.identities import MissingRowError
from apps.devices.models import Datalogger, Gateway, PresencePeriod, SensorDevice
from apps.sites.models import ConnectionStats, MqttConnection, Site
from apps.sites.services import site_delete
from apps.telemetry import ingest as ingest_module
from apps.telemetry.models import QuarantinedMessage, Reading
from apps.telemetry.tests.batches import BEHIND, GATEWAY, Feed, values


@pytest.fixture
def feed(north) -> Feed:
    return Feed(north)


def test_messages_of_a_deleted_site_are_let_go(feed, hidden):
    other = Feed(hidden)
    feed.write(feed.data(1))
    old = feed.connection.pk
    feed.site.delete()

    written = feed.ingest.write_batch(
        [feed.data(2), feed.bad(), feed.heartbeat(GATEWAY), other.data(3)],
        {feed.shard: feed.epoch, other.shard: other.epoch},
        dropped={old: 5},
    )

    assert 3 in values()
    assert set(written.tallies) == {other.connection.pk}
    assert not ConnectionStats.objects.filter(connection=old).exists()
    assert not QuarantinedMessage.objects.exists()


def test_a_deleted_sensor_is_made_anew(feed):
    feed.write(feed.data(1))
    old = feed.sensor.pk
    SensorDevice.objects.all().delete()

    feed.write(feed.data(2))

    assert feed.sensor.pk != old
    assert feed.sensor.current_value == 2
    assert Reading.objects.filter(sensor_id=feed.sensor.pk).count() == 1
    assert feed.counters == (2, 2, 0, 0, 0)


def test_a_deleted_datalogger_is_made_anew_with_its_sensors_and_period(feed):
    feed.write(feed.data(1), feed.heartbeat(serial="S1"))
    Datalogger.objects.all().delete()

    feed.write(feed.data(2))

    assert feed.sensor.current_value == 2
    assert Datalogger.objects.get().serial_number == ""
    assert PresencePeriod.objects.count() == 1


def test_a_deleted_gateway_is_made_anew(feed):
    feed.write(feed.data(1, device=BEHIND))
    Gateway.objects.all().delete()
    assert Datalogger.objects.get().gateway is None

    feed.write(feed.data(2, device=BEHIND))

    assert Datalogger.objects.get().gateway == Gateway.objects.get()


def test_a_connection_without_a_statistics_row_gets_one(feed):
    ConnectionStats.objects.all().delete()

    feed.write(feed.data(1, mid=7))
    feed.write(feed.data(1, mid=7, dup=True))

    assert feed.counters == (2, 1, 1, 0, 0)


def test_devices_learnt_in_a_batch_that_failed_are_not_believed(feed, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "write_tallies", fail)
        with pytest.raises(OperationalError):
            feed.write(feed.data(1, device=BEHIND))

    feed.write(feed.data(1, device=BEHIND))

    assert values() == [1]
    assert feed.ingest._ids.sensors == {
        (Datalogger.objects.get().pk, "t"): feed.sensor.pk
    }


@pytest.mark.parametrize("error", [OperationalError(), DataError()])
def test_devices_learnt_in_a_second_try_that_failed_are_not_believed_either(
    feed, monkeypatch, error
):
    feed.write(feed.data(1))
    Datalogger.objects.all().delete()

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "write_tallies", fail)
        with pytest.raises(type(error)):
            feed.write(feed.data(2))
    assert feed.ingest._ids.dataloggers == {}

    feed.write(feed.data(2))
    assert feed.sensor.current_value == 2


def test_a_device_that_is_deleted_again_and_again_is_a_database_error(
    feed, monkeypatch
):
    """The writer knows what to do about those; anything else ends its thread."""
    feed.write(feed.data(1))

    def gone(*_: object, **__: object) -> None:
        raise MissingRowError("devices_datalogger")  # noqa: EM101

    monkeypatch.setattr(updates, "write_dataloggers", gone)

    with pytest.raises(OperationalError):
        feed.write(feed.data(2))


# -- at the same time ----------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_deleting_a_site_waits_for_the_batch_that_makes_a_device_of_it(
    north, monkeypatch
):
    """Else the new device would hang on a site that is gone, and the delete fail."""
    feed = Feed(north)
    feed.write(feed.data(1))
    is_writing, may_commit = threading.Event(), threading.Event()
    real = ingest_module.write_tallies

    def slow(*args) -> None:
        real(*args)
        is_writing.set()
        may_commit.wait(10)

    monkeypatch.setattr(ingest_module, "write_tallies", slow)
    monkeypatch.setattr("apps.sites.commands._send", lambda *_: True)
    errors: list[Exception] = []

    def run(work) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 (told by the test)
            errors.append(error)
        finally:
            connection.close()

    threads = [
        threading.Thread(
            target=run, args=(lambda: feed.write(feed.data(2, device=BEHIND, key="n")),)
        ),
        threading.Thread(
            target=run, args=(lambda: site_delete(Site.objects.get(pk=north.pk)),)
        ),
    ]
    threads[0].start()
    assert is_writing.wait(10)
    threads[1].start()
    threads[1].join(timeout=0.3)
    may_commit.set()
    for thread in threads:
        thread.join(timeout=10)

    assert errors == []
    assert not MqttConnection.objects.exists()
    assert not Datalogger.objects.exists()
