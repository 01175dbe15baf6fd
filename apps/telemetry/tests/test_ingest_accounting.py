"""received = stored + duplicate + quarantined + dropped, whatever comes."""

from __future__ import annotations

import random

import pytest
from django.db import connection

from apps.sites.models import ConnectionStats
from apps.telemetry.facts import Output, Unclaimed
from apps.telemetry.models import QuarantinedMessage, QuarantineReason
from apps.telemetry.tests.batches import GATEWAY, MONSTRO, Feed, moment


@pytest.fixture
def feed(north) -> Feed:
    return Feed(north)


def test_every_kind_of_message_is_counted_once(feed):
    feed.write(
        feed.data(1),
        feed.data(),
        feed.heartbeat(),
        feed.heartbeat(GATEWAY),
        feed.status(online=True),
        feed.entry(Output(MONSTRO)),
        feed.entry(Unclaimed()),
        feed.bad(),
        dropped={feed.connection.pk: 3},
    )

    assert feed.counters == (11, 7, 0, 1, 3)


def test_dropped_messages_alone_are_counted(feed):
    feed.write(dropped={feed.connection.pk: 3})
    feed.write(dropped={feed.connection.pk: 4})

    assert feed.counters == (7, 0, 0, 0, 7)


def test_the_time_of_the_last_message_never_goes_back(feed):
    late = feed.data(1)
    new = feed.data(2)

    feed.write(new)
    feed.write(late)
    feed.write(dropped={feed.connection.pk: 1})

    stats = ConnectionStats.objects.get(connection=feed.connection)
    assert stats.last_message_at == moment(new.message.received_us)


def test_connections_are_counted_apart(feed, hidden):
    other = Feed(hidden)

    written = feed.ingest.write_batch(
        [feed.data(1), other.data(1), other.bad()],
        {feed.shard: feed.epoch, other.shard: other.epoch},
    )

    assert feed.counters == (1, 1, 0, 0, 0)
    assert other.counters == (2, 1, 0, 1, 0)
    assert set(written.tallies) == {feed.connection.pk, other.connection.pk}


def test_any_mixture_balances(feed):
    chance = random.Random(7)
    start_us = feed.clock_us
    sent = 0
    for _ in range(12):
        entries = []
        for _ in range(chance.randrange(40)):
            at = chance.choice([None, start_us + chance.randrange(20)])
            flags = {
                "qos": chance.choice([0, 1]),
                "dup": chance.random() < 0.3,
                "retain": chance.random() < 0.3,
                "mid": chance.randrange(1, 30),
            }
            value = chance.randrange(3)
            entries.append(
                chance.choice(
                    [
                        feed.data(value, at=at, **flags),
                        feed.data(value, str(value), at=at, **flags),
                        feed.bad(**flags),
                        feed.heartbeat(),
                    ]
                )
            )
        dropped = chance.randrange(3)
        sent += len(entries) + dropped
        feed.write(*entries, dropped={feed.connection.pk: dropped})
        if chance.random() < 0.3:
            feed.restart()

    received, *parts = feed.counters
    assert received == sent == sum(parts)


# -- quarantine ----------------------------------------------------------------


def test_a_bad_message_is_kept_with_its_reason_and_bytes(feed):
    entry = feed.bad(
        "value_invalid",
        topic=b"site/\xff\x00/data",
        content=b"\x00\xff payload",
        retain=True,
    )

    feed.write(entry)

    row = QuarantinedMessage.objects.get()
    assert row.site == feed.site
    assert row.reason == QuarantineReason.VALUE_INVALID
    assert row.topic == "site/\\xff\\x00/data"
    assert bytes(row.payload) == b"\x00\xff payload"
    assert row.payload_size == 10
    assert (row.qos, row.retain) == (1, True)
    assert row.received_at == moment(entry.message.received_us)
    assert row.detail == "why"


def test_of_a_large_bad_payload_the_beginning_is_kept(feed):
    feed.write(feed.bad("too_large", content=b"x" * 2_000_000))

    row = QuarantinedMessage.objects.get()
    assert len(bytes(row.payload)) == 65_536
    assert row.payload_size == 2_000_000


def test_a_detail_with_nul_or_of_any_length_is_kept(feed):
    from apps.telemetry.facts import Bad

    feed.write(feed.entry(Bad("data_error", "a\0" * 1_000)))

    row = QuarantinedMessage.objects.get()
    assert row.detail.startswith("a\\x00")
    assert len(row.detail) == 300


def test_the_number_of_statements_does_not_grow_with_the_batch(
    feed, django_assert_num_queries
):
    def batch(count: int) -> list:
        return [
            feed.data(n, at=feed.clock_us + n, key=f"k{n % 7}") for n in range(count)
        ]

    feed.write(*batch(20))
    with connection.execute_wrapper(count := Statements()):
        feed.write(*batch(1))
    few = count.number
    with connection.execute_wrapper(count := Statements()):
        feed.write(*batch(500))

    assert few < 15
    assert count.number - few <= 2  # its row of deliveries, and perhaps old ones go


class Statements:
    def __init__(self) -> None:
        self.number = 0

    def __call__(self, execute, sql, params, many, context):
        self.number += 1
        return execute(sql, params, many, context)
