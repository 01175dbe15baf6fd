"""Messages that waited in a spool: stored whoever owns the shard, never backwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db.models import F
from django.utils import timezone

from apps.devices import presence
from apps.devices.models import Datalogger, Gateway, PresencePeriod
from apps.sites.models import ShardLease
from apps.telemetry.facts import DeviceRef
from apps.telemetry.tests.batches import Feed, values

pytestmark = pytest.mark.django_db

GATEWAY = DeviceRef("gw1", None, "gw1")


@pytest.fixture
def feed(north) -> Feed:
    return Feed(north)


def us(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)


def ago(seconds: float) -> int:
    return us(timezone.now() - timedelta(seconds=seconds))


def late(feed: Feed, *entries):
    return feed.write(*entries, is_late=True)


def at(entry, received_us: int):
    return entry._replace(message=entry.message._replace(received_us=received_us))


@pytest.fixture
def logger(feed) -> Datalogger:
    """A datalogger that was heard a minute ago."""
    feed.write(at(feed.heartbeat(interval_s=60), ago(60)))
    Datalogger.objects.update(presence_since=F("last_seen_at"))
    PresencePeriod.objects.update(started_at=timezone.now() - timedelta(seconds=60))
    return Datalogger.objects.get()


def test_it_is_stored_though_somebody_else_owns_the_shard(feed):
    ShardLease.objects.update(epoch=99)

    late(feed, feed.data(1, 2))

    assert values() == [1, 2]
    assert feed.counters == (1, 1, 0, 0, 0)


def test_a_current_value_never_goes_back(feed):
    now = ago(0)
    feed.write(feed.data(7, at=now))

    late(feed, feed.data(6, at=now - 60_000_000))

    assert feed.sensor.current_value == 7
    assert values() == [6, 7]


def test_a_device_that_went_offline_meanwhile_stays_so(feed, logger):
    feed.write(at(feed.status(online=False), ago(5)))

    written = late(feed, at(feed.heartbeat(), ago(30)))

    logger.refresh_from_db()
    assert logger.presence == "offline"
    assert logger.offline_cause == "will"
    assert written.presence == []
    assert us(logger.last_seen_at) == pytest.approx(ago(30), abs=10_000_000)


def test_a_device_that_was_heard_since_its_old_will_stays_online(feed, logger):
    feed.write(at(feed.heartbeat(), ago(5)))

    written = late(feed, at(feed.status(online=False), ago(30)))

    logger.refresh_from_db()
    assert logger.presence == "online"
    assert written.presence == []


def test_a_will_that_is_the_last_word_counts(feed, logger):
    written = late(feed, at(feed.status(online=False), ago(20)))

    logger.refresh_from_db()
    assert logger.presence == "offline"
    assert len(written.presence) == 1
    assert us(logger.presence_since) == pytest.approx(ago(20), abs=10_000_000)


def test_a_device_that_seemed_silent_was_not(feed, logger):
    """The check came before the drain, and the message shows that it lives."""
    Datalogger.objects.update(offline_after=timezone.now() - timedelta(seconds=10))
    feed.connection.__class__.objects.update(
        status="connected", last_connected_at=timezone.now() - timedelta(hours=1)
    )
    presence.turn_offline(timezone.now())
    logger.refresh_from_db()
    assert logger.presence == "offline"

    late(feed, at(feed.heartbeat(), ago(30)))

    logger.refresh_from_db()
    assert logger.presence == "online"
    assert logger.offline_after > timezone.now()


def test_a_silence_that_was_one_stays_one(feed, logger):
    Datalogger.objects.update(
        presence="offline",
        offline_cause="silence",
        presence_since=timezone.now() - timedelta(seconds=100),
        last_seen_at=timezone.now() - timedelta(seconds=600),
    )

    late(feed, at(feed.heartbeat(interval_s=60), ago(500)))

    logger.refresh_from_db()
    assert logger.presence == "offline"


def test_a_message_newer_than_the_state_counts_as_ever(feed, logger):
    Datalogger.objects.update(
        presence="offline",
        offline_cause="will",
        presence_since=timezone.now() - timedelta(seconds=100),
    )

    late(feed, at(feed.heartbeat(), ago(50)))

    logger.refresh_from_db()
    assert logger.presence == "online"
    assert us(logger.presence_since) == pytest.approx(ago(50), abs=10_000_000)


def test_a_device_that_nobody_knew_is_online(feed):
    late(feed, at(feed.heartbeat(interval_s=60), ago(50)))

    assert Datalogger.objects.get().presence == "online"


def test_what_a_device_says_of_itself_never_goes_back_but_fills(feed, logger):
    feed.write(at(feed.heartbeat(firmware="2.0", uptime_s=100), ago(5)))

    late(
        feed,
        at(
            feed.heartbeat(firmware="1.0", uptime_s=50, serial="SN1", rssi=-70.0),
            ago(30),
        ),
    )

    logger.refresh_from_db()
    assert logger.firmware_version == "2.0"
    assert logger.uptime_s == 100
    assert logger.serial_number == "SN1"
    assert logger.rssi == -70


def test_news_that_are_newer_replace_as_ever(feed, logger):
    late(feed, at(feed.heartbeat(firmware="1.0"), ago(30)))
    late(feed, at(feed.heartbeat(firmware="1.1"), ago(20)))

    logger.refresh_from_db()
    assert logger.firmware_version == "1.1"


def test_an_old_will_of_a_gateway_takes_nobody_along(feed):
    feed.write(
        at(feed.heartbeat(GATEWAY), ago(60)),
        at(feed.heartbeat(DeviceRef("gw1", "a", "1")), ago(60)),
    )
    feed.write(at(feed.heartbeat(GATEWAY), ago(5)))

    late(
        feed,
        at(feed.heartbeat(GATEWAY), ago(40)),
        at(feed.status(online=False, device=GATEWAY), ago(30)),
    )

    assert Gateway.objects.get().presence == "online"
    assert Datalogger.objects.get().presence == "online"


def test_the_periods_stay_in_step(feed, logger):
    feed.write(at(feed.status(online=False), ago(5)))
    late(feed, at(feed.heartbeat(), ago(30)))
    feed.write(at(feed.heartbeat(), ago(1)))

    periods = PresencePeriod.objects.order_by("started_at")
    assert [p.presence for p in periods] == ["online", "offline", "online"]
    assert [p.ended_at is None for p in periods] == [False, False, True]
    for before, after in pairwise(periods):
        assert before.ended_at == after.started_at


def test_a_message_of_a_deleted_site_is_dropped(feed):
    entry = feed.data(1)
    feed.site.delete()

    late(feed, entry)

    assert values() == []


def test_a_redelivery_that_was_stored_live_makes_its_original_the_repeat(feed):
    """The spool's PUBACK got lost; the next owner stored what came again."""
    original = at(feed.data(5), ago(30))
    again = original._replace(
        message=original.message._replace(dup=True, session=2, received_us=ago(10))
    )
    feed.write(again)

    late(feed, original)

    assert values() == [5]
    assert feed.counters == (2, 1, 1, 0, 0)


def test_two_equal_readings_that_wait_are_two(feed):
    one = at(feed.data(5), ago(30))
    other = at(feed.data(5), ago(29))

    late(feed, one, other)

    assert values() == [5, 5]


def test_the_time_of_receipt_is_that_of_then(feed):
    then = ago(50)

    late(feed, at(feed.data(5), then))

    assert feed.sensor.current_at == datetime.fromtimestamp(then / 1e6, UTC)
