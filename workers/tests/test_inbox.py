"""The bounded buffer: QoS 1 is never dropped, and memory never grows without end."""

from __future__ import annotations

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


def fill(inbox: Inbox, count: int, **but: int) -> list[Message]:
    messages = [message(n, **but) for n in range(count)]
    for one in messages:
        inbox.put(one)
    return messages


def test_messages_come_out_in_the_order_of_receipt():
    inbox = Inbox()
    sent = fill(inbox, 5) + fill(inbox, 3, connection_id=2)

    assert inbox.take(6, 0) == sent[:6]
    assert inbox.take(6, 0) == sent[6:]
    assert inbox.take(6, 0) == []


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

    assert not inbox._is_full(inbox._loads[1])
    assert inbox._loads[1].size >= inbox_module.OVERHEAD_BYTES


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
