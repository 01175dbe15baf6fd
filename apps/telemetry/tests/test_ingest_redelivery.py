"""What a broker delivers a second time is counted, not stored; nothing else is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.telemetry.redelivery import (
    ENTRY_BYTES,
    KEPT_AT_LEAST,
    RedeliveryWindow,
    digest,
    pack,
)
from apps.telemetry.tests.batches import Feed, values


@pytest.fixture
def feed(north) -> Feed:
    return Feed(north)


def test_a_redelivery_is_counted_and_not_stored(feed):
    feed.write(feed.data(1, mid=7))

    feed.write(feed.data(1, mid=7, dup=True))

    assert values() == [1]
    assert feed.counters == (2, 1, 1, 0, 0)


def test_a_redelivery_is_recognised_by_the_next_process(feed):
    feed.write(feed.data(1, mid=7))
    feed.restart()

    feed.write(feed.data(1, mid=7, dup=True))

    assert values() == [1]
    assert feed.counters == (2, 1, 1, 0, 0)


def test_a_redelivery_is_recognised_in_the_batch_of_its_original(feed):
    feed.write(feed.data(1, mid=7), feed.data(1, mid=7, dup=True))

    assert values() == [1]
    assert feed.counters == (2, 1, 1, 0, 0)


def test_a_redelivery_of_what_never_came_is_stored(feed):
    feed.write(feed.data(1, mid=7, dup=True))

    assert values() == [1]


def test_other_content_under_a_known_packet_id_is_stored(feed):
    feed.write(feed.data(1, mid=7))

    feed.write(feed.data(2, mid=7, dup=True))

    assert values() == [1, 2]
    assert feed.counters == (2, 2, 0, 0, 0)


def test_the_same_content_on_another_topic_is_stored(feed):
    feed.write(feed.data(1, mid=7, topic=b"a"))

    feed.write(feed.data(1, mid=7, topic=b"b", dup=True))

    assert values() == [1, 1]


def test_a_packet_id_that_is_used_again_is_a_new_message(feed):
    for _ in range(3):
        feed.write(feed.data(1, mid=7))

    assert values() == [1, 1, 1]
    assert feed.counters == (3, 3, 0, 0, 0)


def test_a_twice_redelivered_message_is_counted_each_time(feed):
    feed.write(feed.data(1, mid=7))
    feed.write(feed.data(1, mid=7, dup=True))
    feed.restart()

    feed.write(feed.data(1, mid=7, dup=True))

    assert values() == [1]
    assert feed.counters == (3, 1, 2, 0, 0)


def test_qos_0_knows_no_redelivery(feed):
    feed.write(feed.data(1, mid=0, qos=0))
    feed.write(feed.data(1, mid=0, qos=0, dup=True))

    assert values() == [1, 1]


def test_a_bad_message_that_comes_again_is_quarantined_once(feed):
    feed.write(feed.bad(mid=7))

    feed.write(feed.bad(mid=7, dup=True))

    assert feed.counters == (2, 0, 1, 1, 0)


def test_what_a_failed_batch_delivered_is_not_remembered(feed):
    entry = feed.data(1, mid=7)
    epochs = {feed.shard: feed.epoch + 1}

    with pytest.raises(Exception, match="newer owner"):
        feed.ingest.write_batch([entry], epochs)
    feed.write(entry._replace(message=entry.message._replace(dup=True)))

    assert values() == [1]
    assert feed.counters == (1, 1, 0, 0, 0)


def test_a_window_that_another_owner_moved_on_is_read_anew(feed):
    feed.write(feed.data(1, mid=7))
    other = Feed(feed.site)
    other.write(other.data(2, mid=8))

    feed.ingest.forget_connections()
    feed.write(feed.data(2, mid=8, dup=True), feed.data(1, mid=7, dup=True))

    assert values() == [1, 2]


def test_a_whole_window_of_redeliveries_stores_nothing(feed):
    sent = [feed.data(n, mid=n + 1) for n in range(500)]
    feed.write(*sent[:300])
    feed.write(*sent[300:])
    feed.restart()

    feed.write(
        *(entry._replace(message=entry.message._replace(dup=True)) for entry in sent)
    )

    assert len(values()) == 500
    assert feed.counters == (1_000, 500, 500, 0, 0)


# -- the window itself ---------------------------------------------------------

CONTENT = st.binary(min_size=ENTRY_BYTES - 2, max_size=ENTRY_BYTES - 2)
MIDS = st.integers(min_value=1, max_value=65_535)
BATCHES = st.lists(st.dictionaries(MIDS, CONTENT, max_size=40), max_size=12)


def test_the_digest_tells_topic_and_payload_apart(feed):
    ab_c = feed.message(b"c", topic=b"ab")
    a_bc = feed.message(b"bc", topic=b"a")

    assert digest(ab_c) != digest(a_bc)
    assert len(digest(ab_c)) == ENTRY_BYTES - 2


@given(batches=BATCHES)
def test_what_is_stored_is_what_a_new_process_knows(batches):
    window, stored = RedeliveryWindow(), b""
    for batch in batches:
        stored = window.packed_with(batch)
        window.remember(batch)

    reloaded = RedeliveryWindow(stored)

    for batch in batches[-2:]:
        latest = {**batch} if batch is batches[-1] else {}
        for mid, content in latest.items():
            assert reloaded.is_repeat(mid, content)
    assert len(stored) % ENTRY_BYTES == 0
    largest = max((len(batch) for batch in batches), default=0)
    assert len(stored) <= ENTRY_BYTES * max(KEPT_AT_LEAST, 2 * largest)


@given(batches=BATCHES)
def test_the_last_128_packet_ids_are_always_known(batches):
    window, stored = RedeliveryWindow(), b""
    order: dict[int, bytes] = {}
    for batch in batches:
        stored = window.packed_with(batch)
        window.remember(batch)
        for mid, content in batch.items():
            order.pop(mid, None)
            order[mid] = content

    reloaded = RedeliveryWindow(stored)

    for mid in list(order)[-KEPT_AT_LEAST:]:
        assert reloaded.is_repeat(mid, order[mid])
        assert window.is_repeat(mid, order[mid])


def test_the_window_never_holds_more_than_there_are_packet_ids():
    window = RedeliveryWindow()
    every = dict.fromkeys(range(1, 65536), b"x" * 8)
    window.remember(every)

    stored = window.packed_with(every)

    assert len(stored) == 65_535 * ENTRY_BYTES


def test_the_previous_batch_is_kept_however_large_it_was():
    window = RedeliveryWindow()
    window.remember(dict.fromkeys(range(1, 1001), b"x" * 8))

    reloaded = RedeliveryWindow(window.packed_with({2_000: b"y" * 8}))

    assert all(reloaded.is_repeat(mid, b"x" * 8) for mid in range(1, 1_001))


def test_packing_is_ten_bytes_an_entry():
    assert pack([(1, b"a" * 8), (65_535, b"b" * 8)]) == (
        b"\0\1" + b"a" * 8 + b"\xff\xff" + b"b" * 8
    )
