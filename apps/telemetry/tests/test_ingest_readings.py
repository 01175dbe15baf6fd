"""Readings: each is kept, a repeat once, the current value never goes back."""

from __future__ import annotations

import pytest

from apps.devices.models import Datalogger, Gateway, SensorDevice
from apps.telemetry.facts import Sample, Samples
from apps.telemetry.models import Reading, ReadingFlag
from apps.telemetry.tests.batches import (
    BEHIND,
    DAY_US,
    MONSTRO,
    SECOND_US,
    Feed,
    moment,
    values,
)


@pytest.fixture
def feed(north) -> Feed:
    return Feed(north)


def test_devices_and_sensors_appear_with_their_first_reading(feed):
    at = feed.clock_us
    feed.write(feed.data(22.5, at=at))

    sensor = feed.sensor
    assert (sensor.key, sensor.current_value, sensor.current_text) == ("t", 22.5, None)
    assert sensor.current_at == moment(at)
    datalogger = sensor.datalogger
    assert (datalogger.type, datalogger.number) == ("monstro", "15")
    reading = Reading.objects.get()
    assert reading.measured_at == moment(at)
    assert reading.received_at > reading.measured_at
    assert reading.flags == ReadingFlag.NONE


def test_both_topic_forms_are_one_datalogger(feed):
    feed.write(feed.data(1), feed.data(2, device=BEHIND))
    feed.write(feed.data(3))

    datalogger = Datalogger.objects.get()
    assert datalogger.gateway == Gateway.objects.get()
    assert values() == [1, 2, 3]


def test_devices_of_two_sites_with_the_same_names_are_different_ones(north, hidden):
    for site in (north, hidden):
        feed = Feed(site)
        feed.write(feed.data(1, device=BEHIND))

    assert Datalogger.objects.count() == Gateway.objects.count() == 2


def test_text_is_a_reading_too(feed):
    tricky = 'NULL \\ " {a,b} \n è 🌡'
    feed.write(feed.data(tricky, at=feed.clock_us), feed.data("", key="e"))

    texts = dict(SensorDevice.objects.values_list("key", "current_text"))
    assert texts == {"t": tricky, "e": ""}
    assert set(values()) == {tricky, ""}


@pytest.mark.parametrize("value", [0.0, -0.0, 1e308, -1e308, 5e-324, 0.1 + 0.2])
def test_numbers_are_kept_exactly(feed, value):
    feed.write(feed.data(value))

    assert values() == [value]


# -- repeats -------------------------------------------------------------------


def test_the_same_message_twice_is_stored_once(feed):
    at = feed.clock_us

    feed.write(feed.data(1, at=at))
    feed.write(feed.data(1, at=at))

    assert values() == [1]
    assert feed.counters == (2, 1, 1, 0, 0)


def test_the_same_message_twice_in_one_batch_is_stored_once(feed):
    at = feed.clock_us

    feed.write(feed.data(1, at=at), feed.data(1, at=at), feed.data(2, at=at + 1))

    assert values() == [1, 2]
    assert feed.counters == (3, 2, 1, 0, 0)


def test_two_values_at_one_time_are_both_kept(feed):
    at = feed.clock_us

    feed.write(feed.data(1, at=at))
    feed.write(feed.data(2, at=at), feed.data("x", at=at))

    assert set(values()) == {1, 2, "x"}
    assert feed.counters == (3, 3, 0, 0, 0)


def test_two_equal_readings_without_a_time_are_two(feed):
    feed.write(feed.data(1), feed.data(1))
    feed.write(feed.data(1))

    assert values() == [1, 1, 1]
    assert feed.counters == (3, 3, 0, 0, 0)


def test_equal_untimed_values_in_one_message_are_all_kept(feed):
    feed.write(feed.data(1, 1, 1))

    assert values() == [1, 1, 1]
    assert feed.counters == (1, 1, 0, 0, 0)


def test_a_reading_without_a_time_is_flagged_and_has_the_time_of_receipt(feed):
    entry = feed.data(1)
    feed.write(entry)

    reading = Reading.objects.get()
    assert reading.flags == ReadingFlag.RECEIPT_TIME
    assert reading.measured_at == moment(entry.message.received_us)


def test_a_message_with_something_new_counts_as_stored(feed):
    at = feed.clock_us
    feed.write(feed.data(1, at=at))
    both = Samples(MONSTRO, [Sample("t", 1.0, None, at), Sample("u", 2.0, None, at)])

    feed.write(feed.entry(both))

    assert sorted(values(), key=str) == [1, 2]
    assert feed.counters == (2, 2, 0, 0, 0)


# -- the current value ---------------------------------------------------------


def test_a_late_reading_is_history_and_no_current_value(feed):
    at = feed.clock_us
    feed.write(feed.data(2, at=at))

    written = feed.write(feed.data(1, at=at - 10 * SECOND_US))

    assert values() == [1, 2]
    assert feed.sensor.current_value == 2
    assert feed.sensor.current_at == moment(at)
    assert written.current == {}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_in_a_batch_the_newest_wins_in_any_order(feed, order):
    at = feed.clock_us
    entries = [feed.data(n, at=at + n * SECOND_US) for n in order]

    written = feed.write(*entries)

    assert feed.sensor.current_value == 2
    assert written.current == {
        feed.site.pk: {feed.sensor.pk: (2.0, at + 2 * SECOND_US)}
    }


def test_of_two_values_at_one_time_the_later_message_is_the_current_one(feed):
    at = feed.clock_us

    feed.write(feed.data(1, at=at))
    feed.write(feed.data(2, at=at))
    assert feed.sensor.current_value == 2
    feed.write(feed.data(3, at=at), feed.data(4, at=at))

    assert feed.sensor.current_value == 4


def test_a_text_replaces_a_number_and_the_other_way_round(feed):
    feed.write(feed.data(1))
    feed.write(feed.data("off"))
    assert (feed.sensor.current_value, feed.sensor.current_text) == (None, "off")

    feed.write(feed.data(2))

    assert (feed.sensor.current_value, feed.sensor.current_text) == (2, None)


# -- retained messages ---------------------------------------------------------


def test_a_retained_reading_updates_the_current_value(feed):
    at = feed.clock_us

    feed.write(feed.data(7, at=at, retain=True))

    assert feed.sensor.current_value == 7
    assert values() == [7]


def test_a_retained_reading_at_every_reconnect_is_one_reading(feed):
    at = feed.clock_us

    for _ in range(10):
        feed.write(*(feed.data(n, at=at + n, retain=True) for n in range(20)))

    assert values() == list(range(20))
    assert feed.counters == (200, 20, 180, 0, 0)


def test_a_retained_reading_without_a_time_is_no_history(feed):
    for _ in range(3):
        feed.write(feed.data(7, retain=True))

    assert values() == []
    assert feed.sensor.current_value == 7
    assert feed.counters == (3, 3, 0, 0, 0)


def test_a_retained_reading_that_is_old_does_not_turn_the_current_value_back(feed):
    at = feed.clock_us
    feed.write(feed.data(2, at=at))

    feed.write(feed.data(1, at=at - SECOND_US, retain=True))

    assert feed.sensor.current_value == 2


# -- far away times ------------------------------------------------------------


def test_readings_of_many_days_are_one_batch(feed):
    days = [0, 1, 5, 89, 91, 4_000]

    feed.write(*(feed.data(n, at=feed.clock_us - n * DAY_US) for n in days))

    assert values() == [4_000, 91, 89, 5, 1, 0]
    assert feed.sensor.current_value == 0


def test_a_reading_of_tomorrow_is_kept(feed):
    feed.write(feed.data(1, at=feed.clock_us + DAY_US))

    assert values() == [1]


def test_an_empty_batch_is_nothing(feed):
    written = feed.write()

    assert (written.current, written.presence, written.tallies) == ({}, [], {})
