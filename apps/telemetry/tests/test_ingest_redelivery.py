"""What a broker delivers a second time is counted, not stored; nothing else is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from apps.telemetry.accounting import write_tallies
from apps.telemetry.facts import Entry, Message
from apps.telemetry.ingest import count_received
from apps.telemetry.redelivery import digest, find_repeats, pack
from apps.telemetry.tests.batches import Feed, values


@pytest.fixture
def feed(north) -> Feed:
    return Feed(north)


def remember(messages: Sequence[Message]) -> None:
    """Have messages delivered, without what they say; find no repeats but DUPs."""
    repeats = find_repeats(messages)
    write_tallies(count_received(messages, repeats), pack(messages, repeats))


def again(feed: Feed, entry: Entry) -> Entry:
    """Return the same message as it comes after a cut."""
    feed.clock_us += 1_000
    message = entry.message._replace(dup=True, received_us=feed.clock_us)
    return entry._replace(message=message)


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


def test_an_equal_message_beside_a_redelivery_of_its_id_is_stored(feed):
    feed.write(feed.data(1, mid=7))

    feed.write(feed.data(1, mid=7), feed.data(1, mid=7, dup=True))

    assert values() == [1, 1]
    assert feed.counters == (3, 2, 1, 0, 0)


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


def test_what_another_owner_delivered_meanwhile_is_known(feed):
    feed.write(feed.data(1, mid=7))
    other = Feed(feed.site)
    other.clock_us = feed.clock_us + 1_000_000
    other.write(other.data(2, mid=8))
    feed.clock_us = other.clock_us + 1_000_000

    feed.write(feed.data(2, mid=8, dup=True), feed.data(1, mid=7, dup=True))

    assert values() == [1, 2]


def test_an_id_that_another_owner_gave_away_again_is_known(feed):
    feed.write(feed.data(1, mid=7))
    other = Feed(feed.site)
    other.clock_us = feed.clock_us + 1_000_000
    other.write(other.data(2, mid=7))
    feed.clock_us = other.clock_us + 1_000_000

    feed.write(feed.data(1, mid=7, dup=True))

    assert values() == [1, 2, 1]


def test_a_whole_window_of_redeliveries_stores_nothing(feed):
    sent = [feed.data(n, mid=n + 1) for n in range(500)]
    feed.write(*sent[:300])
    feed.write(*sent[300:])
    feed.restart()

    feed.write(*[again(feed, entry) for entry in sent])

    assert len(values()) == 500
    assert feed.counters == (1_000, 500, 500, 0, 0)


def test_redeliveries_of_one_connection_are_none_of_another(feed, hidden):
    other = Feed(hidden)
    epochs = {feed.shard: feed.epoch, other.shard: other.epoch}
    feed.write(feed.data(1, mid=7))

    feed.ingest.write_batch(
        [feed.data(1, mid=7, dup=True), other.data(1, mid=7, dup=True)], epochs
    )

    assert feed.counters == (2, 1, 1, 0, 0)
    assert other.counters == (1, 1, 0, 0, 0)


@pytest.mark.parametrize("size", [1, 30, 200], ids=["single", "small", "large"])
def test_a_window_larger_than_any_limit_of_a_broker_is_known_to_a_successor(feed, size):
    """171 were doubled when the window held 128: mosquitto sends more than it may."""
    sent = [feed.data(n, mid=n + 1) for n in range(2_000 if size > 1 else 300)]
    for first in range(0, len(sent), size):
        feed.write(*sent[first : first + size])
    feed.restart()

    feed.write(*[again(feed, entry) for entry in sent])

    assert len(values()) == len(sent)
    assert feed.counters[2] == len(sent)


def test_an_equal_reading_after_a_whole_turn_of_the_packet_ids_is_stored(feed):
    """The broker counts up to 65,535 and begins anew; the message got lost on its way
    and comes with DUP. It is another one than that of a turn ago."""
    turn = [feed.message(b"x", mid=mid) for mid in range(1, 65_536)]
    for first in range(0, len(turn), 5_000):
        remember(turn[first : first + 5_000])

    feed.write(feed.data(1, content=b"x", mid=1, dup=True))

    assert values() == [1]
    assert feed.counters == (65_536, 1, 0, 0, 0)


def test_the_mark_is_set_last_and_within_the_transaction(feed):
    def mark() -> None:
        assert feed.counters == (1, 1, 0, 0, 0)
        raise LookupError

    with pytest.raises(LookupError):
        feed.write(feed.data(1), mark=mark)

    assert values() == []
    assert feed.counters == (0, 0, 0, 0, 0)


# -- what waited in a spool ----------------------------------------------------


def test_late_messages_know_what_came_before_them_and_not_what_came_after(feed):
    before = feed.message(b"a", mid=1)
    repeat = feed.message(b"a", mid=1, dup=True)
    other = feed.message(b"b", mid=1)
    remember([before])
    remember([other])  # stored live while the repeat waited

    found = find_repeats([repeat], is_late=True)

    assert found == {0}


def test_the_order_of_receipt_counts_and_not_that_of_storing(feed):
    older, newer = feed.message(b"a", mid=1), feed.message(b"b", mid=1)
    remember([newer])
    remember([older])  # drained

    assert find_repeats([feed.message(b"b", mid=1, dup=True)]) == {0}
    assert find_repeats([feed.message(b"b", mid=1, dup=True)], is_late=True) == {0}
    assert not find_repeats([feed.message(b"a", mid=1, dup=True)])
    assert not find_repeats([feed.message(b"a", mid=1, dup=True)], is_late=True)


def test_an_id_in_other_use_before_a_late_dup_makes_it_no_repeat(feed):
    remember([feed.message(b"a", mid=1)])
    remember([feed.message(b"b", mid=1)])

    assert not find_repeats([feed.message(b"a", mid=1, dup=True)], is_late=True)


def test_a_late_original_is_the_repeat_of_its_redelivery_that_was_stored(feed):
    original = feed.message(b"a", mid=1)
    redelivery = feed.message(b"a", mid=1, dup=True)
    remember([redelivery])

    assert find_repeats([original], is_late=True) == {0}


def test_also_when_a_second_redelivery_waits_beside_it(feed):
    original = feed.message(b"a", mid=1)
    second = feed.message(b"a", mid=1, dup=True)
    stored = feed.message(b"a", mid=1, dup=True)
    remember([stored])

    assert find_repeats([original, second], is_late=True) == {0, 1}


def test_a_late_original_is_stored_when_its_redelivery_was_not(feed):
    """The redelivery was taken for one of an earlier message: nothing has it yet."""
    remember([feed.message(b"a", mid=1)])
    late = feed.message(b"a", mid=1)
    redelivery = feed.message(b"a", mid=1, dup=True)
    remember([redelivery])  # a repeat, as far as the live side knew

    assert not find_repeats([late], is_late=True)


def test_a_late_message_with_other_content_than_the_next_is_stored(feed):
    late = feed.message(b"a", mid=1)
    remember([feed.message(b"b", mid=1, dup=True)])

    assert not find_repeats([late], is_late=True)


def test_a_late_redelivery_is_found_in_the_batch_of_its_original(feed):
    batch = [feed.message(b"a", mid=1), feed.message(b"a", mid=1, dup=True)]

    assert find_repeats(batch, is_late=True) == {1}


def test_the_digest_tells_topic_and_payload_apart(feed):
    ab_c = feed.message(b"c", topic=b"ab")
    a_bc = feed.message(b"bc", topic=b"a")

    assert digest(ab_c) != digest(a_bc)
    assert len(digest(ab_c)) == 6
