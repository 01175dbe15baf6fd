"""What we rely on inside paho 2.2, and the buffering that we add to it."""

from __future__ import annotations

import inspect
import select
import socket
import struct
from contextlib import suppress

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from workers.pahoclient import BufferedClient
from workers.tests.peers import PUBACK, Wired, publish, wired

TOPIC = b"site_003/datalogger/monstro/15/data"


def test_paho_still_has_the_methods_that_we_override():
    assert list(inspect.signature(Client._sock_recv).parameters) == ["self", "bufsize"]
    assert list(inspect.signature(Client._sock_send).parameters) == ["self", "buf"]
    assert list(inspect.signature(Client._sock_close).parameters) == ["self"]
    assert "_sock_recv(" in inspect.getsource(Client._packet_read)
    assert "_sock_send(" in inspect.getsource(Client._packet_write)
    assert list(inspect.signature(Client._create_socket).parameters) == ["self"]
    assert "self._create_socket()" in inspect.getsource(Client.reconnect)


def test_paho_still_says_how_long_the_coming_packet_is():
    client = BufferedClient(CallbackAPIVersion.VERSION2, take=print)

    assert client.announced_bytes == 0


def test_paho_still_hands_a_publish_to_the_method_that_we_override():
    assert list(inspect.signature(Client._handle_publish).parameters) == ["self"]
    assert "_handle_publish()" in inspect.getsource(Client._packet_handle)


def test_packets_may_come_in_any_pieces():
    sent = b"".join(publish(TOPIC, b"%d" % n, qos=n % 2, mid=n + 1) for n in range(20))
    with wired() as pair:
        pair.greeted()

        for n in range(0, len(sent), 7):
            pair.peer.send(sent[n : n + 7])
            if pair.link.sock is not None:
                pair.link.on_readable()

        messages = pair.messages(20)
    assert [message.payload for message in messages] == [b"%d" % n for n in range(20)]


def test_acknowledgements_leave_together_and_in_order():
    with wired() as pair:
        pair.greeted()
        for mid in (5, 3, 65_535, 9):
            pair.peer.send(publish(TOPIC, qos=1, mid=mid))
        pair.messages(4)

        pair.link.acknowledge([5, 3, 65_535, 9])

        data = pair.peer.sock.recv(65_536)  # one piece, hence one call
    assert data == b"".join(
        bytes([PUBACK, 2]) + struct.pack("!H", mid) for mid in (5, 3, 65_535, 9)
    )


def test_thousands_of_acknowledgements_arrive_through_a_full_socket():
    mids = list(range(1, 20_001))
    with wired() as pair:
        pair.greeted()
        assert pair.link.sock is not None
        pair.link.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        pair.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        pair.link.acknowledge(mids)
        assert pair.link.wants_write  # not all of it did fit

        pair.peer.sock.setblocking(False)
        received = bytearray()

        def is_all_there() -> bool:
            with suppress(BlockingIOError):
                received.extend(pair.peer.sock.recv(1_000_000))
            return len(received) >= 4 * len(mids)

        pair.pump(is_all_there)

    assert list(struct.iter_unpack("!BBH", received)) == [
        (PUBACK, 2, mid) for mid in mids
    ]


def test_what_is_said_after_acknowledgements_stays_behind_them():
    with wired() as pair:
        pair.greeted()

        pair.link._client.ack(1, 1)
        pair.link.publish("site_003/backend/status", "online", qos=1, retain=True)
        pair.link._client.ack(2, 1)
        pair.flushed()

        kinds = [pair.peer.read()[0] & 0xF0 for _ in range(3)]
    assert kinds == [PUBACK, 0x30, PUBACK]


def test_a_flood_is_read_256_kilobytes_at_a_time():
    """Else one site's storm would keep the loop from all the others."""
    one = publish(TOPIC, b"x" * 1_000)
    with wired() as pair:
        pair.greeted()
        pair.peer.sock.setblocking(False)
        stock = one * 3_000
        sent = 0

        def send() -> None:
            nonlocal sent
            try:
                while sent < len(stock):
                    sent += pair.peer.sock.send(stock[sent : sent + 500_000])
            except BlockingIOError:
                return

        pair.heard.in_sink = lambda _: send()
        send()
        assert pair.link.sock is not None
        select.select([pair.link.sock], [], [], 30)
        pair.link.on_readable()
        read_at_once = len(pair.heard.messages) * len(one)

        assert 0 < read_at_once <= 300_000
        assert len(pair.messages(3_000)) == 3_000


def test_acknowledgements_never_get_into_a_packet_that_is_half_sent():
    """A command of 20 kB, a socket that is full, and a batch that was committed."""
    mids = list(range(1, 2_001))
    with wired() as pair:
        pair.greeted()
        fill_the_socket(pair)
        pair.link.publish("site_003/x", "@" * 20_000, qos=1, retain=False)
        pair.link.on_writable()
        drain(pair, 5_000)  # a part of the packet fits now
        pair.link.on_writable()
        pair.link.acknowledge(mids)
        pair.link.publish("site_003/y", "@" * 20_000, qos=1, retain=False)

        kinds = packets_of(drain(pair, None))

    assert kinds.count(PUBACK) == 2_000 + FILLING
    assert [kind for kind in kinds if kind != PUBACK] == [0x32, 0x32]


def test_a_goodbye_waits_until_everything_before_it_is_sent():
    with wired() as pair:
        pair.greeted()
        fill_the_socket(pair)
        pair.link.publish("site_003/x", "@" * 20_000, qos=1, retain=False)

        pair.link.disconnect()
        assert not pair.link.is_closed
        pair.link.acknowledge([7])  # too late: nothing may follow a DISCONNECT
        kinds = packets_of(drain(pair, None))

    assert kinds[-2:] == [0x32, 0xE0]
    assert ("closed",) in pair.heard.events


FILLING = 20_000


def fill_the_socket(pair: Wired) -> None:
    assert pair.link.sock is not None
    pair.link.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    pair.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    pair.link.acknowledge([1] * FILLING)
    assert pair.link.wants_write


def drain(pair: Wired, most: int | None) -> bytes:
    """Read what the link sends, all of it or at least so much."""
    pair.peer.sock.setblocking(False)
    drained = pair.drained

    def is_enough() -> bool:
        with suppress(BlockingIOError):
            drained.extend(pair.peer.sock.recv(most or 1_000_000))
        if most is not None:
            return len(drained) >= most
        return pair.link.is_closed or not pair.link.wants_write

    pair.pump(is_enough)
    if most is None:  # the rest is in the kernel's hands, and behind it a FIN
        if not pair.link.is_closed:
            assert pair.link.sock is not None
            pair.link.sock.shutdown(socket.SHUT_WR)
        pair.peer.sock.settimeout(30)
        while piece := pair.peer.sock.recv(1_000_000):
            drained.extend(piece)
    return bytes(drained)


def packets_of(data: bytes) -> list[int]:
    """Return the first byte of each packet; fails when the stream is none."""
    kinds, place = [], 0
    while place < len(data):
        kinds.append(data[place])
        size = shift = 0
        while True:
            place += 1
            size |= (data[place] & 0x7F) << shift
            shift += 7
            if data[place] < 0x80:
                break
        place += 1 + size
    assert place == len(data)
    return kinds
