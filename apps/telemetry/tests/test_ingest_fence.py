"""Only the owner of a shard writes, and a takeover waits for its last batch."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connection

from apps.devices.models import Datalogger
from apps.sites import leases
from apps.sites.models import ConnectionStats
from apps.telemetry import ingest as ingest_module
from apps.telemetry.ingest import FencedError
from apps.telemetry.tests.batches import Feed, values


@pytest.fixture
def feed(north) -> Feed:
    return Feed(north)


def nothing_was_stored(feed: Feed) -> bool:
    return (
        values() == []
        and not Datalogger.objects.exists()
        and feed.counters == (0, 0, 0, 0, 0)
    )


@pytest.mark.parametrize("distance", [-1, 1])
def test_a_batch_of_another_epoch_stores_nothing(feed, distance):
    with pytest.raises(FencedError) as caught:
        feed.ingest.write_batch(
            [feed.data(1), feed.bad()], {feed.shard: feed.epoch + distance}
        )

    assert caught.value.shards == {feed.shard}
    assert nothing_was_stored(feed)


def test_a_batch_of_a_shard_that_we_do_not_own_stores_nothing(feed):
    with pytest.raises(FencedError):
        feed.ingest.write_batch([feed.data(1)], {})

    assert nothing_was_stored(feed)


def test_a_batch_of_a_shard_that_nobody_ever_owned_stores_nothing(feed):
    entry = feed.data(1)
    stray = entry._replace(message=entry.message._replace(shard=99))

    with pytest.raises(FencedError) as caught:
        feed.ingest.write_batch([entry, stray], {feed.shard: feed.epoch, 99: 1})

    assert caught.value.shards == {99}
    assert nothing_was_stored(feed)


def test_after_a_takeover_every_batch_of_the_old_owner_is_refused(feed):
    feed.write(feed.data(1))
    leases.release(feed.shard, "mqtt@here", feed.epoch)
    assert leases.take(feed.shard, "mqtt@there")

    for _ in range(2):
        with pytest.raises(FencedError):
            feed.write(feed.data(2))

    assert values() == [1]


def test_an_expired_lease_that_nobody_took_still_writes(feed):
    """Its owner was paused, or the database away: nobody else wrote meanwhile."""
    leases.renew(feed.shard, "mqtt@here", feed.epoch, ttl_s=0)

    feed.write(feed.data(1))

    assert values() == [1]


@pytest.mark.django_db(transaction=True)
def test_a_takeover_waits_for_the_batch_and_then_refuses_the_next(north, monkeypatch):
    feed = Feed(north)
    leases.renew(feed.shard, "mqtt@here", feed.epoch, ttl_s=0)
    is_writing, may_commit = threading.Event(), threading.Event()
    real = ingest_module.write_tallies

    def slow(*args) -> None:
        real(*args)
        is_writing.set()
        may_commit.wait(10)

    monkeypatch.setattr(ingest_module, "write_tallies", slow)
    took: list[int | None] = []

    def batch() -> None:
        feed.write(feed.data(1))
        connection.close()

    def takeover() -> None:
        took.append(leases.take(feed.shard, "mqtt@there"))
        connection.close()

    threads = [threading.Thread(target=batch), threading.Thread(target=takeover)]
    threads[0].start()
    assert is_writing.wait(10)
    threads[1].start()
    time.sleep(0.3)
    assert took == []
    may_commit.set()
    for thread in threads:
        thread.join(timeout=10)

    assert took == [feed.epoch + 1]
    assert values() == [1]
    with pytest.raises(FencedError):
        feed.write(feed.data(2))
    assert values() == [1]
    assert ConnectionStats.objects.get(connection=feed.connection).stored == 1
