"""The bounded buffer: QoS 1 is never dropped, and memory never grows without end."""

from __future__ import annotations

import random
import threading
import time

import pytest

from apps.telemetry.facts import Message
from workers import inbox as inbox_module
from workers.inbox import Inbox


def message(
    n: int = 0, *, connection_id: int = 1, qos: int = 1, size: int = 10
) -> Message:
    return Message(0, 1, connection_id, 1, b"t", b"x" * size, qos, False, False, n, n)


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "MAX_MESSAGES", 40)
    monkeypatch.setattr(inbox_module, "MAX_BYTES", 80_000)
    monkeypatch.setattr(inbox_module, "CONNECTION_MESSAGES", 20)
    monkeypatch.setattr(inbox_module, "CONNECTION_BYTES", 40_000)
    monkeypatch.setattr(inbox_module, "FAIR_MESSAGES", 5)
    monkeypatch.setattr(inbox_module, "FAIR_BYTES", 10_000)
    monkeypatch.setattr(inbox_module, "LIGHT_MESSAGES", 5)


def fill(inbox: Inbox, count: int, **but: int) -> list[Message]:
    messages = [message(n, **but) for n in range(count)]
    for one in messages:
        inbox.put(one)
    return messages


def test_messages_of_a_connection_come_out_in_the_order_of_receipt():
    inbox = Inbox()
    sent = [message(n, qos=n % 3 % 2) for n in range(12)]
    for one in sent:
        inbox.put(one)

    assert inbox.take(7, 0) == sent[:7]
    assert inbox.take(7, 0) == sent[7:]
    assert inbox.take(7, 0) == []


def test_a_quiet_connection_is_in_the_next_batch_and_the_batch_is_a_short_one():
    inbox = Inbox()
    storm = fill(inbox, 19)
    quiet = fill(inbox, 2, connection_id=2)

    assert inbox.take(16, 0) == [*quiet, *storm[:5]]
    assert inbox.take(16, 0) == storm[5:]


def test_storms_share_a_batch():
    inbox = Inbox()
    for connection_id in (1, 2, 3):
        fill(inbox, 19, connection_id=connection_id)

    for _ in range(2):
        batch = inbox.take(16, 0)
        counts = [sum(m.connection_id == n for m in batch) for n in (1, 2, 3)]
        assert sorted(counts) == [5, 5, 6]


def test_many_quiet_connections_leave_a_storm_its_turn():
    inbox = Inbox()
    fill(inbox, 19)
    for connection_id in range(2, 10):
        fill(inbox, 4, connection_id=connection_id)

    taken = [inbox.take(16, 0) for _ in range(5)]

    assert all(len(batch) <= 16 for batch in taken)
    in_turn = [m.connection_id for batch in taken[:4] for m in batch]
    assert set(in_turn) == set(range(1, 10))
    assert sum(len(batch) for batch in taken) == 19 + 8 * 4


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_nothing_is_lost_and_every_connection_keeps_its_order(seed):
    chance = random.Random(seed)
    inbox = Inbox()
    sent: dict[int, list[int]] = {n: [] for n in range(1, 6)}
    got: dict[int, list[int]] = {n: [] for n in range(1, 6)}

    def take() -> int:
        batch = inbox.take(chance.choice([6, 16]), 0)
        for one in batch:
            got[one.connection_id].append(one.mid)
        inbox.done(batch)
        return len(batch)

    for n in range(600):
        connection_id = chance.choice([1, 1, 1, 1, 2, 3, 4, 5])
        sent[connection_id].append(n)
        inbox.put(message(n, connection_id=connection_id))
        if chance.random() < 0.1:
            take()
    while take():
        pass

    assert got == sent
    assert inbox.depth == inbox.size == 0


def test_room_is_given_back_when_a_message_is_done_not_when_it_is_taken():
    inbox = Inbox()
    fill(inbox, 3)

    taken = inbox.take(10, 0)
    assert inbox.depth == 3
    inbox.done(taken)

    assert inbox.depth == 0
    assert inbox.depth_of(1) == 0
    assert inbox.depth_of(99) == 0


def test_qos_1_is_never_dropped_but_its_connection_is_told_to_stop():
    inbox = Inbox()

    fill(inbox, 19)
    assert inbox.overfull == set()
    fill(inbox, 6)

    assert inbox.overfull == {1}
    assert inbox.depth == 25
    assert inbox.take_dropped() == {}


def test_qos_0_without_room_is_dropped_and_counted():
    inbox = Inbox()

    fill(inbox, 25, qos=0)

    assert inbox.depth == 20
    assert inbox.overfull == set()
    assert inbox.take_dropped() == {1: 5}
    assert inbox.take_dropped() == {}


def test_of_qos_0_the_oldest_are_dropped():
    inbox = Inbox()
    sent = fill(inbox, 10)
    sent += [message(10 + n, qos=0) for n in range(15)]

    for one in sent[10:]:
        inbox.put(one)

    taken = inbox.take(100, 0)
    assert taken == [*sent[:10], *sent[15:]]
    assert inbox.take_dropped() == {1: 5}
    inbox.done(taken)
    assert inbox.depth == inbox.size == 0


def test_a_large_message_takes_the_room_of_several():
    inbox = Inbox()
    fill(inbox, 18, qos=0, size=1_000)

    inbox.put(message(18, qos=0, size=25_000))
    inbox.put(message(19, qos=0, size=25_000))

    assert [one.mid for one in inbox.take(100, 0)] == [19]
    assert inbox.take_dropped() == {1: 19}


def test_qos_1_makes_room_for_no_qos_0_and_loses_none():
    inbox = Inbox()
    fill(inbox, 22)

    inbox.put(message(30, qos=0))

    assert [one.qos for one in inbox.take(100, 0)] == [1] * 22
    assert inbox.take_dropped() == {1: 1}


def test_a_snapshots_message_is_kept_and_its_sender_sees_the_lack_of_room():
    inbox = Inbox()

    for n in range(25):
        inbox.put(message(n, qos=0), is_kept=True)

    assert inbox.depth == 25
    assert not inbox.has_room(1)
    assert inbox.overfull == set()  # the main link goes on
    assert inbox.take_dropped() == {}


def test_what_could_not_be_written_down_is_counted_again():
    inbox = Inbox()
    fill(inbox, 22, qos=0)
    dropped = inbox.take_dropped()
    fill(inbox, 1, qos=0)

    inbox.give_back_dropped(dropped)

    assert inbox.take_dropped() == {1: 3}


def test_a_storm_on_one_connection_leaves_room_for_the_others():
    inbox = Inbox()
    fill(inbox, 25)

    fill(inbox, 4, connection_id=2)
    fill(inbox, 4, connection_id=3, qos=0)

    assert inbox.overfull == {1}
    assert inbox.take_dropped() == {}


def test_a_quiet_connection_is_not_stopped_because_others_fill_the_worker():
    inbox = Inbox()
    for connection_id in (1, 2, 3):
        fill(inbox, 19, connection_id=connection_id)
    inbox.overfull.clear()

    fill(inbox, 2, connection_id=4)

    assert inbox.overfull == set()


def test_a_few_huge_messages_stop_their_connection_too():
    """An MQTT 5 broker may send 2,000 at once: of 1 MiB each they are 2 GB."""
    inbox = Inbox()

    fill(inbox, 4, size=15_000)

    assert inbox.overfull == {1}


def test_empty_messages_have_a_size_as_well():
    inbox = Inbox()

    fill(inbox, 1, size=0)

    assert not inbox._is_full(inbox._lanes[1])
    assert inbox._lanes[1].size >= inbox_module.OVERHEAD_BYTES


def test_a_stopped_connection_may_come_back_when_half_is_stored():
    inbox = Inbox()
    fill(inbox, 20)

    taken = inbox.take(100, 0)
    assert not inbox.has_room(1)
    inbox.done(taken[:10])
    assert not inbox.has_room(1)
    inbox.done(taken[10:11])

    assert inbox.has_room(1)
    assert inbox.has_room(99)


def test_taking_waits_for_the_first_message():
    inbox = Inbox()
    timer = threading.Timer(0.1, lambda: inbox.put(message()))
    timer.start()

    started = time.monotonic()
    taken = inbox.take(10, 10.0)

    assert len(taken) == 1
    assert time.monotonic() - started < 5
    timer.join()


def test_nothing_is_lost_between_two_threads():
    """Each message finds an empty lane, or one that is just left: the tight moments."""
    inbox = Inbox()
    count = 20_000
    seen: list[int] = []

    def take() -> None:
        while len(seen) < count:
            batch = inbox.take(500, 0.01)
            seen.extend(one.mid for one in batch)
            inbox.done(batch)

    thread = threading.Thread(target=take)
    thread.start()
    fill(inbox, count)
    thread.join(timeout=30)

    assert seen == list(range(count))
    assert inbox.depth == 0


def test_qos_0_that_is_dropped_while_it_is_taken_is_counted_once():
    inbox = Inbox()
    count = 20_000
    seen: list[int] = []
    is_over = threading.Event()

    def take() -> None:
        while not is_over.is_set() or inbox.depth:
            batch = inbox.take(7, 0.01)
            seen.extend(one.mid for one in batch)
            inbox.done(batch)

    thread = threading.Thread(target=take)
    thread.start()
    fill(inbox, count, qos=0)
    is_over.set()
    thread.join(timeout=30)

    assert seen == sorted(set(seen))
    assert len(seen) + inbox.take_dropped().get(1, 0) == count
    assert inbox.depth == inbox.size == 0
