"""What a device replays from its memory is stored, and shows nobody alive."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.devices.models import Datalogger, Gateway
from apps.devices.services import check_presence
from apps.telemetry.facts import Entry, Sample, Samples
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


def monstro() -> Datalogger:
    return Datalogger.objects.get(type="monstro", number="15")


def late(feed: Feed, seconds: float, **but: Any) -> Entry:
    """Return a data message whose value is that old when it comes."""
    return feed.data(1, at=feed.clock_us + 1_000 - int(seconds * SECOND_US), **but)


def test_history_is_stored_and_turns_nobody_online(feed):
    written = feed.write(late(feed, 3_600))

    assert values() == [1.0]
    assert written.presence == []
    assert monstro().presence == "unknown"
    assert monstro().last_seen_at is None
    assert monstro().offline_after is None


@pytest.mark.parametrize(
    ("seconds", "interval", "override", "presence"),
    [
        (89, None, None, "online"),
        (91, None, None, "unknown"),
        (89, 60, None, "online"),
        (14, 10, None, "online"),
        (16, 10, None, "unknown"),
        (5_000, 3_600, None, "online"),
        (16, 10, 20, "online"),
        (21, 10, 20, "unknown"),
        (21, 3_600, 20, "unknown"),
        (0.9, 3_600, 1, "online"),
        (1.5, 3_600, 1, "unknown"),
        (-600, None, None, "online"),
    ],
)
def test_the_devices_own_limit_tells_history_from_life(
    feed, seconds, interval, override, presence
):
    feed.write(feed.heartbeat(interval_s=interval, retain=True))
    Datalogger.objects.update(offline_after_s=override)

    entry = late(feed, seconds)
    feed.write(entry)

    assert monstro().presence == presence
    if presence == "online":
        at = moment(entry.message.received_us)
        assert monstro().last_seen_at == at
        limit = override or 1.5 * (interval or 60)
        assert monstro().offline_after == at + timedelta(seconds=limit)


def test_a_promise_in_the_same_batch_counts(feed):
    feed.write(late(feed, 1_000), feed.heartbeat(interval_s=3_600, retain=True))

    assert monstro().is_online


def test_a_replay_does_not_keep_a_dead_device_online(feed):
    feed.write(feed.heartbeat(interval_s=10))
    seen = monstro().last_seen_at

    feed.clock_us += 30 * SECOND_US
    feed.write(*[late(feed, 600 - n) for n in range(50)])

    assert seen is not None
    assert monstro().last_seen_at == seen
    assert monstro().offline_after == seen + timedelta(seconds=15)


def test_what_is_fresh_among_a_replay_counts(feed):
    entries = [late(feed, 600), late(feed, 0), late(feed, 500)]

    feed.write(*entries)

    assert monstro().is_online
    assert monstro().last_seen_at == moment(entries[1].message.received_us)


def test_the_newest_value_of_a_message_tells_its_age(feed):
    now_us = feed.clock_us
    old = [Sample("t", n, None, now_us - n * 600 * SECOND_US) for n in range(1, 5)]

    feed.write(feed.entry(Samples(MONSTRO, old)))
    assert monstro().presence == "unknown"
    feed.write(feed.entry(Samples(MONSTRO, [*old, Sample("t", 0, None, now_us)])))

    assert monstro().is_online


@pytest.mark.parametrize("at", [None, 0])
def test_a_value_without_a_time_is_of_now(feed, at):
    old = Sample("a", 1.0, None, feed.clock_us - DAY_US)
    samples = [] if at == 0 else [old, Sample("b", 1.0, None, None)]

    feed.write(feed.entry(Samples(MONSTRO, samples)))

    assert monstro().is_online


def test_a_replay_after_a_will_brings_nobody_back(feed):
    feed.write(feed.heartbeat())

    feed.write(feed.status(online=False), late(feed, 600))
    assert (monstro().presence, monstro().offline_cause) == ("offline", "will")
    feed.write(late(feed, 600))

    assert monstro().presence == "offline"


@pytest.mark.parametrize("before", [0, 2, 600])
def test_a_slow_clock_after_a_will_is_life(feed, before):
    """A fresher message before the will does not hide the one after it."""
    feed.write(late(feed, before), feed.status(online=False), late(feed, 20))

    assert monstro().is_online


@pytest.mark.parametrize("before", [0, 20])
def test_a_will_after_a_message_stands(feed, before):
    entry = late(feed, before)

    feed.write(entry, feed.status(online=False))

    assert monstro().presence == "offline"
    assert monstro().last_seen_at == moment(entry.message.received_us)


def test_history_that_a_gateway_passes_on_shows_the_gateway_alive(feed):
    entry = late(feed, 3_600, device=BEHIND)

    feed.write(entry)

    assert monstro().presence == "unknown"
    assert monstro().gateway == Gateway.objects.get()
    assert Gateway.objects.get().is_online
    seen = Gateway.objects.get().last_seen_at
    assert seen == moment(entry.message.received_us)


def test_a_datalogger_behind_its_gateway_falls_silent_while_it_replays(feed, north):
    """The gateway empties its memory; the datalogger itself is dead."""
    feed.clock_us -= 200 * SECOND_US
    feed.write(feed.data(1, device=BEHIND))
    feed.connection.status = "connected"
    feed.connection.save()
    feed.clock_us += 240 * SECOND_US

    feed.write(*[late(feed, 300 + n, device=BEHIND) for n in range(5)])
    check_presence(timezone.now())

    assert Gateway.objects.get().is_online
    assert (monstro().presence, monstro().offline_cause) == ("offline", "silence")
