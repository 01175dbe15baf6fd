"""How much of what was delivered is kept, and in how many rows."""

from __future__ import annotations

from datetime import timedelta
from hashlib import blake2b
from importlib import import_module

import pytest
from django.utils import timezone

from apps.sites import deliveries
from apps.sites.models import ConnectionStats, Delivered
from apps.sites.services import site_delete
from apps.telemetry.redelivery import find_repeats
from apps.telemetry.tests.batches import Feed

SECOND_US = 1_000_000
migration = import_module("apps.sites.migrations.0004_deliveries_and_gaps")


@pytest.fixture
def feed(north, monkeypatch) -> Feed:
    monkeypatch.setattr(deliveries, "PRUNE_ONE_IN", 1)
    return Feed(north)


def numbers(feed: Feed) -> tuple[int, int]:
    """Return how many entries wait in the statistics, and how many rows there are."""
    stats = ConnectionStats.objects.get(connection=feed.connection)
    waiting = len(stats.recent) // deliveries.ENTRY_BYTES
    return waiting, Delivered.objects.filter(connection=feed.connection).count()


def test_a_quiet_connection_makes_a_row_of_64_messages(feed):
    for _ in range(63):
        feed.write(feed.heartbeat())
    before = numbers(feed)

    feed.write(feed.heartbeat())

    assert before == (63, 0)
    assert numbers(feed) == (0, 1)
    assert len(Delivered.objects.get().entries) == deliveries.SEALED_BYTES


def test_a_large_batch_is_a_row_at_once_and_rewrites_nothing(feed):
    feed.write(feed.heartbeat())

    feed.write(*[feed.heartbeat() for _ in range(100)])

    assert numbers(feed) == (1, 1)
    row = Delivered.objects.get()
    assert row.newest_us == feed.clock_us
    assert len(row.entries) == 100 * deliveries.ENTRY_BYTES


def test_qos_0_is_not_remembered(feed):
    feed.write(*[feed.data(1, qos=0, mid=0) for _ in range(100)])

    assert numbers(feed) == (0, 0)


def test_of_old_deliveries_the_newest_are_kept(feed, monkeypatch):
    monkeypatch.setattr(deliveries, "KEPT_ALWAYS", 150 * deliveries.ENTRY_BYTES)
    for _ in range(5):
        feed.write(*[feed.heartbeat() for _ in range(100)])
        feed.clock_us += 1_000 * SECOND_US

    assert numbers(feed) == (0, 2)


def test_everything_of_the_last_minutes_is_kept(feed, monkeypatch):
    monkeypatch.setattr(deliveries, "KEPT_ALWAYS", 1)
    for _ in range(5):
        feed.write(*[feed.heartbeat() for _ in range(100)])

    assert numbers(feed) == (0, 5)


def test_no_connection_keeps_more_than_there_is_room_for(feed, hidden, monkeypatch):
    monkeypatch.setattr(deliveries, "KEPT_AT_MOST", 150 * deliveries.ENTRY_BYTES)
    other = Feed(hidden)
    other.write(*[other.heartbeat() for _ in range(100)])
    for _ in range(5):
        feed.write(*[feed.heartbeat() for _ in range(100)])

    assert numbers(feed) == (0, 2)
    assert numbers(other) == (0, 1)


def test_a_stored_redelivery_is_remembered_for_days(feed, monkeypatch):
    """Its original may lie in the spool of a host that is down."""
    monkeypatch.setattr(deliveries, "KEPT_ALWAYS", 1)
    original = feed.message(b"a", mid=9)
    feed.write(feed.data(1, content=b"a", mid=9, dup=True))
    for _ in range(5):
        feed.clock_us += 1_000 * SECOND_US
        feed.write(*[feed.heartbeat(mid=9) for _ in range(100)])

    assert find_repeats([original], is_late=True) == {0}


def test_a_stored_redelivery_is_forgotten_after_a_week(feed):
    feed.write(feed.data(1, mid=9, dup=True))
    feed.clock_us += 8 * 86_400 * SECOND_US
    feed.write(*[feed.heartbeat() for _ in range(64)])

    deliveries.prune()

    assert not Delivered.objects.filter(is_redelivery=True).exists()


def test_the_chore_prunes_what_no_batch_did(feed, monkeypatch):
    monkeypatch.setattr(deliveries, "PRUNE_ONE_IN", 10**12)
    monkeypatch.setattr(deliveries, "KEPT_AT_MOST", 100 * deliveries.ENTRY_BYTES)
    for _ in range(5):
        feed.write(*[feed.heartbeat() for _ in range(100)])

    assert deliveries.count_prunable() == 4
    assert deliveries.prune() == 4
    assert deliveries.count_prunable() == deliveries.prune() == 0


def test_a_deleted_site_takes_its_deliveries_along(feed):
    feed.write(*[feed.heartbeat() for _ in range(100)])

    site_delete(feed.site)

    assert not Delivered.objects.exists()


# -- upgrading -----------------------------------------------------------------


def old_entry(mid: int, topic: bytes, payload: bytes) -> bytes:
    """Return an entry as version 0002 had it."""
    hashed = blake2b(topic + b"\0" + payload, digest_size=8).digest()
    return mid.to_bytes(2, "big") + hashed


@pytest.mark.parametrize("count", [1, 300])
def test_an_upgrade_takes_the_windows_along(feed, count):
    at = timezone.now() - timedelta(hours=1)
    old = b"".join(old_entry(n + 1, b"t", b"%d" % n) for n in range(count))
    new = migration.convert(old, int(at.timestamp() * 1e6))
    Delivered.objects.create(connection=feed.connection, newest_us=1, entries=new)

    came = [feed.message(b"%d" % n, mid=n + 1, dup=True) for n in range(count)]

    assert find_repeats(came) == set(range(count))
    assert not find_repeats([feed.message(b"other", mid=1, dup=True)])


def test_a_later_use_of_an_id_counts_after_the_upgrade_too(feed):
    old = old_entry(1, b"t", b"a") + old_entry(1, b"t", b"b")
    ConnectionStats.objects.update(recent=migration.convert(old, feed.clock_us))

    assert find_repeats([feed.message(b"b", mid=1, dup=True)]) == {0}
    assert not find_repeats([feed.message(b"a", mid=1, dup=True)])


def test_a_torn_old_window_stops_no_upgrade():
    assert migration.convert(b"x" * 25, 10) != b""
    assert migration.convert(b"", 10) == b""
