"""A command is sent once or not at all, and what became of it is said exactly once."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DataError, InterfaceError, OperationalError
from paho.mqtt.client import Client

from apps.sites import publishing
from apps.sites.models import CommandReason, CommandState
from apps.sites.publishing import Outgoing, Settled
from workers.outbox import GIVE_UP_S, MAX_UNCONFIRMED, Flights, Outbox
from workers.tests.peers import PUBLISH, Wired, connack, packet, wired

TOPIC = "site_003/gateway/g1/datalogger/monstro/15/input"


def an_outgoing(number: int = 1, **but: Any) -> Outgoing:
    given: dict[str, Any] = {
        "command_id": number,
        "site_id": 3,
        "connection_id": 7,
        "topic": TOPIC,
        "payload": b"start \0\xff",
        "qos": 1,
        "retain": False,
    }
    return Outgoing(**given | but)


class Sender:
    """Flights over a wired link; `settled` holds what was said about them."""

    def __init__(self, pair: Wired) -> None:
        self.pair = pair
        self.settled: list[Settled] = []
        self.give_up_at = 0.0  # the last one sent; monotonic
        self.flights = Flights(self.settled.append)

    def send(self, outgoing: Outgoing | None = None, *, late_s: float = 0) -> None:
        self.give_up_at = time.monotonic() + GIVE_UP_S - late_s
        self.flights.send(outgoing or an_outgoing(), self.pair.link, self.give_up_at)

    def look(self, *, later_s: float = 0) -> None:
        self.flights.look(time.monotonic() + later_s)

    def heard(self) -> tuple[int, bytes, bytes]:
        """Return what the broker reads next: head, packet id, and the rest."""
        self.pair.flushed()
        head, body = self.pair.peer.read()
        assert head & 0xF0 == PUBLISH
        size = struct.unpack("!H", body[:2])[0]
        assert body[2 : 2 + size].decode() == TOPIC
        rest = body[2 + size :]
        return (head, rest[:2], rest[2:]) if head & 0x06 else (head, b"", rest)

    def puback(self, mid: bytes, code: bytes = b"") -> None:
        self.pair.peer.send(packet(0x40, mid + code))
        self.pair.pump(lambda: bool(self.settled))

    @property
    def ends(self) -> list[tuple[str, str]]:
        return [(one.state.value, one.reason.value) for one in self.settled]


@contextmanager
def sender(**but: Any) -> Iterator[Sender]:
    with wired(**but) as pair:
        pair.greeted()
        yield Sender(pair)


# -- the broker's word ---------------------------------------------------------


def test_it_is_delivered_when_the_broker_says_so_and_not_before():
    with sender() as one:
        one.send()
        head, mid, rest = one.heard()
        assert one.settled == []

        one.puback(mid)
        one.look()

    assert (head, rest) == (PUBLISH | 0x02, b"start \0\xff")
    [settled] = one.settled
    assert (settled.command_id, settled.site_id) == (1, 3)
    assert settled.state == CommandState.DELIVERED
    assert settled.sent_at
    assert settled.delivered_at
    assert settled.sent_at < settled.delivered_at
    assert len(one.flights) == 0


def test_qos_0_is_delivered_once_it_is_written():
    with sender() as one:
        one.send(an_outgoing(qos=0))

        assert one.heard()[2] == b"start \0\xff"
    assert one.ends == [("delivered", "")]


def test_it_is_retained_only_if_asked():
    with sender() as one:
        one.send(an_outgoing(retain=True))

        assert one.heard()[0] & 1 == 1


@pytest.mark.parametrize("code", [0x80, 0x83, 0x87, 0x90, 0x97, 0x99])
def test_a_refusal_of_mqtt_5_says_why(code):
    with sender(protocol="5") as one:
        one.send()
        _, mid, _ = one.heard()

        one.puback(mid, bytes([code]))

    assert one.ends == [("failed", "refused")]
    assert f"0x{code:02X}" in one.settled[0].detail


@pytest.mark.parametrize(
    ("code", "detail"), [(b"", ""), (b"\0", ""), (b"\x10", "No matching subscribers")]
)
def test_a_success_of_mqtt_5_is_one_also_when_nobody_listens(code, detail):
    with sender(protocol="5") as one:
        one.send()
        _, mid, _ = one.heard()

        one.puback(mid, code)

    assert one.ends == [("delivered", "")]
    assert one.settled[0].detail == detail


def test_each_puback_counts_for_its_own_command():
    with sender() as one:
        for number in (1, 2):
            one.send(an_outgoing(number))
        first, second = one.heard()[1], one.heard()[1]

        one.puback(second)
        assert [settled.command_id for settled in one.settled] == [2]
        one.pair.peer.send(packet(0x40, second), packet(0x40, first))
        one.pair.pump(lambda: len(one.settled) == 2)

    assert [settled.command_id for settled in one.settled] == [2, 1]


# -- no word -------------------------------------------------------------------


def test_without_a_puback_it_gives_up_and_a_late_one_changes_nothing():
    with sender() as one:
        one.send()
        _, mid, _ = one.heard()
        one.flights.look(one.give_up_at - 0.5)
        assert one.settled == []

        one.look(later_s=GIVE_UP_S)
        one.puback(mid)
        one.look()

    assert one.ends == [("no_puback", "no_puback")]


@pytest.mark.parametrize("way", ["fin", "rst", "us"])
def test_a_link_that_is_lost_before_the_puback_is_told_at_once(way):
    with sender() as one:
        one.send()
        one.heard()

        if way == "us":
            one.pair.link.close()
        else:
            one.pair.peer.sock.close() if way == "fin" else one.pair.peer.reset()
            one.pair.hears("closed")
        one.look()

    assert one.ends == [("no_puback", "no_puback")]
    assert "lost" in one.settled[0].detail


def test_a_worker_that_ends_says_that_it_does_not_know():
    with sender() as one:
        one.send()

        one.flights.give_up()
        one.flights.give_up()

    assert one.ends == [("no_puback", "no_puback")]


# -- not sent ------------------------------------------------------------------


def nothing_came(one: Sender) -> bool:
    one.pair.link.disconnect()
    return one.pair.peer.read()[0] & 0xF0 != PUBLISH


def test_a_command_that_comes_too_late_is_not_sent():
    with sender() as one:
        one.send(late_s=GIVE_UP_S)

        assert one.ends == [("failed", "busy")]
        assert nothing_came(one)


def test_a_topic_of_the_sites_former_code_is_not_sent():
    with sender() as one:
        one.send(an_outgoing(topic="site_0030/x"))

        assert one.ends == [("failed", "not_connected")]
        assert nothing_came(one)


def test_without_a_link_nothing_is_sent():
    settled: list[Settled] = []

    Flights(settled.append).send(an_outgoing(), None, time.monotonic() + 5)

    assert [one.reason for one in settled] == [CommandReason.NOT_CONNECTED]


def test_a_closed_link_is_none():
    with sender() as one:
        one.pair.link.close()

        one.send()

    assert one.ends == [("failed", "not_connected")]


def test_what_the_broker_does_not_confirm_never_queues_behind_its_window():
    """Else paho would send it later, when the sender has been told 504."""
    with sender() as one:
        for number in range(MAX_UNCONFIRMED + 1):
            one.send(an_outgoing(number))
        mids = [one.heard()[1] for _ in range(MAX_UNCONFIRMED)]
        assert one.ends == [("failed", "busy")]

        one.look(later_s=GIVE_UP_S)  # given up, but still in the broker's window
        one.send(an_outgoing(98))
        assert one.ends[-1] == ("failed", "busy")
        one.pair.peer.send(packet(0x40, mids[0]))
        one.pair.pump(lambda: len(one.pair.link.awaiting) < MAX_UNCONFIRMED)
        one.send(an_outgoing(99))

        assert one.heard()[1] not in mids


def test_a_smaller_window_of_the_broker_is_kept():
    with wired(protocol="5") as pair:
        pair.flushed()
        pair.peer.read()
        pair.peer.send(packet(0x20, b"\0\0\3\x21\0\2"))  # Receive Maximum 2
        pair.hears("accepted")
        one = Sender(pair)

        for number in range(3):
            one.send(an_outgoing(number))

    assert one.ends[0] == ("failed", "busy")


def test_no_broker_means_the_widest_window():
    with wired() as pair:
        pair.flushed()
        pair.peer.send(connack())
        pair.hears("accepted")

        assert pair.link.receive_maximum == 65_535


def test_paho_takes_every_topic_that_we_let_pass():
    for topic in (TOPIC, "site_003/$SYS", "site_003/è/🌡", "site_003/" + "x" * 1_000):
        Client._raise_for_invalid_topic(topic.encode())


# -- the outbox ----------------------------------------------------------------


@pytest.fixture
def ledger(monkeypatch):
    """What the outbox wrote and announced; `faults` are raised first."""

    class Ledger:
        faults: list[Exception] = []
        written: list[Settled] = []
        said: list[tuple[Any, ...]] = []
        is_news = True

    book = Ledger()
    book.faults, book.written, book.said = [], [], []

    def settle(settled: Settled) -> bool:
        if book.faults:
            raise book.faults.pop(0)
        book.written.append(settled)
        return book.is_news

    monkeypatch.setattr(publishing, "settle", settle)
    monkeypatch.setattr(publishing, "announce", lambda *what: book.said.append(what))
    monkeypatch.setattr("workers.outbox.RETRY_EVERY_S", 0.01)
    monkeypatch.setattr("workers.outbox.connection.close", lambda: None)
    return book


RESULT = Settled(5, 3, CommandState.DELIVERED)


def an_outbox(sent: list[Any] | None = None) -> Outbox:
    """Return the outbox of a worker that owns shard 1."""
    sent = [] if sent is None else sent
    return Outbox({1: 9}, lambda outgoing, _: sent.append(outgoing))


def ran(outbox: Outbox) -> None:
    thread = threading.Thread(target=outbox.run)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_results_are_written_in_their_order_and_announced(ledger):
    outbox = an_outbox()
    for number in range(3):
        outbox.settle(Settled(number, 3, CommandState.DELIVERED))
    outbox.stop()

    ran(outbox)

    assert [one.command_id for one in ledger.written] == [0, 1, 2]
    assert ledger.said[0] == ([(3, 0)], CommandState.DELIVERED)


def test_what_was_settled_before_is_not_announced_again(ledger):
    ledger.is_news = False
    outbox = an_outbox()
    outbox.settle(RESULT)
    outbox.stop()

    ran(outbox)

    assert ledger.said == []


def test_a_database_that_is_away_is_tried_again(ledger):
    ledger.faults = [OperationalError("gone"), InterfaceError("closed")]
    outbox = an_outbox()
    outbox.settle(RESULT)
    thread = threading.Thread(target=outbox.run)
    thread.start()
    deadline = time.monotonic() + 10
    while not ledger.said and time.monotonic() < deadline:
        time.sleep(0.01)
    outbox.stop()
    thread.join(10)

    assert ledger.written == [RESULT]


def test_a_result_that_the_database_refuses_does_not_hold_up_the_next(ledger):
    ledger.faults = [DataError("no")]
    outbox = an_outbox()
    outbox.settle(RESULT)
    outbox.settle(RESULT)
    outbox.stop()

    ran(outbox)

    assert ledger.written == [RESULT]


def test_a_stop_does_not_wait_for_a_database_that_is_away(ledger):
    ledger.faults = [OperationalError("gone")] * 10_000
    outbox = an_outbox()
    outbox.settle(RESULT)
    outbox.stop()

    ran(outbox)

    assert ledger.written == []


def test_a_claimed_command_is_handed_to_the_network_thread(ledger, monkeypatch):
    asked: dict[str, Any] = {}

    def take(_: int, **how: Any) -> Outgoing:
        asked.update(how)
        return an_outgoing()

    monkeypatch.setattr(publishing, "waiting_site", lambda _: 3)
    monkeypatch.setattr(publishing, "claim", take)
    sent: list[Any] = []
    outbox = an_outbox(sent)
    outbox.claim(1)
    outbox.stop()

    ran(outbox)

    assert sent == [an_outgoing()]
    assert (asked["shard"], asked["epoch"]) == (1, 9)


@pytest.mark.parametrize("site_id", [3, 2])
def test_a_worker_that_stops_or_lost_its_shard_withdraws_the_command(
    ledger, monkeypatch, site_id
):
    withdrawn = []
    monkeypatch.setattr(publishing, "waiting_site", lambda _: site_id)
    monkeypatch.setattr(
        publishing, "withdraw", lambda number, *_: withdrawn.append(number)
    )
    outbox = an_outbox()
    if site_id == 3:
        outbox.drain()
    outbox.claim(1)
    outbox.stop()

    ran(outbox)

    assert withdrawn == [1]
