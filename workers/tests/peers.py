"""A broker that does exactly what a test tells it, and a link wired to it."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from workers.link import Link
from workers.pahoclient import Publish
from workers.tests.fakes import a_spec

PATIENCE_S = 10.0

CONNECT, CONNACK, PUBLISH, PUBACK = 0x10, 0x20, 0x30, 0x40
SUBSCRIBE, SUBACK, UNSUBSCRIBE, PINGREQ, DISCONNECT = 0x80, 0x90, 0xA0, 0xC0, 0xE0


def packet(first: int, body: bytes = b"") -> bytes:
    return bytes([first]) + varint(len(body)) + body


def varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def connack(code: int = 0, *, session_present: bool = False) -> bytes:
    return packet(CONNACK, bytes([session_present, code]))


def connack_v5(code: int = 0) -> bytes:
    return packet(CONNACK, bytes([0, code, 0]))


def publish(
    topic: bytes, payload: bytes = b"", *, qos: int = 0, mid: int = 0, flags: int = 0
) -> bytes:
    body = struct.pack("!H", len(topic)) + topic
    if qos:
        body += struct.pack("!H", mid)
    return packet(PUBLISH | qos << 1 | flags, body + payload)


def suback(mid: int, *codes: int) -> bytes:
    return packet(SUBACK, struct.pack("!H", mid) + bytes(codes))


class Peer:
    """The broker's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE_S)

    def send(self, *parts: bytes) -> None:
        self.sock.sendall(b"".join(parts))

    def read(self) -> tuple[int, bytes]:
        """Return the next packet: its type with flags, and its body."""
        first = self._exactly(1)[0]
        length = shift = 0
        while True:
            digit = self._exactly(1)[0]
            length |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                return first, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def is_hung_up(self) -> bool:
        """Wait for the other end to close; skip what it still says."""
        try:
            while self.sock.recv(65_536):
                pass
        except ConnectionResetError:
            return True
        return True

    def reset(self) -> None:
        """Close with an RST instead of a FIN."""
        linger = struct.pack("ii", 1, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.sock.close()


@dataclass
class Heard:
    """What a link told its listener and its sink."""

    events: list[tuple[Any, ...]] = field(default_factory=list)
    messages: list[Publish] = field(default_factory=list)
    in_sink: Callable[[Publish], None] = lambda _: None

    def link_accepted(self, link: Link, *, session_present: bool) -> None:
        self.events.append(("accepted", session_present))

    def link_refused(self, link: Link, code: int, words: str) -> None:
        self.events.append(("refused", code, words))

    def link_subscribed(self, link: Link, mid: int, refused: list[str]) -> None:
        self.events.append(("subscribed", refused))

    def link_published(self, link: Link, mid: int, code: int) -> None:
        self.events.append(("published", mid, code))

    def link_closed(self, link: Link) -> None:
        if ("closed",) not in self.events:
            self.events.append(("closed",))

    def sink(self, link: Link, message: Publish) -> None:
        self.messages.append(message)
        self.in_sink(message)


class Wired:
    """A link and its peer; `pump` plays the loop thread."""

    def __init__(self, *, is_visit: bool = False, **but: Any) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(PATIENCE_S)
        port = self._listening.getsockname()[1]
        self.heard = Heard()
        self.drained = bytearray()  # what a test has read from the peer's end
        spec = a_spec(host="127.0.0.1", port=port, **but)
        self.link = Link(
            spec.visiting() if is_visit else spec,
            1,
            self.heard,
            self.heard.sink,
        )
        self.link.open()
        self.link.is_opening = False
        self.peer = Peer(self._listening.accept()[0])

    def pump(self, until: Callable[[], bool]) -> None:
        """Serve the link until something is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < deadline, self.heard.events
            if self.link.is_closed or self.link.sock is None:
                self.link.tell_closed()
                continue
            wants = [self.link.sock] if self.link.wants_write else []
            readable, writable, _ = select.select([self.link.sock], wants, [], 0.05)
            if readable:
                self.link.on_readable()
            if writable and not self.link.is_closed:
                self.link.on_writable()

    def hears(self, event: str) -> tuple[Any, ...]:
        """Serve the link until it says this."""
        self.pump(lambda: any(said[0] == event for said in self.heard.events))
        return next(said for said in self.heard.events if said[0] == event)

    def messages(self, count: int) -> list[Publish]:
        self.pump(lambda: len(self.heard.messages) >= count)
        return self.heard.messages

    def flushed(self) -> None:
        self.pump(lambda: not self.link.wants_write)

    def greeted(self) -> bytes:
        """Let the link say CONNECT, and accept it; return CONNECT's body."""
        self.flushed()
        first, body = self.peer.read()
        assert first == CONNECT
        self.peer.send(connack_v5() if self.link.spec.protocol == "5" else connack())
        self.hears("accepted")
        return body

    def close(self) -> None:
        self.link.close()
        self.peer.sock.close()
        self._listening.close()


@contextmanager
def wired(**but: Any) -> Iterator[Wired]:
    pair = Wired(**but)
    try:
        yield pair
    finally:
        pair.close()
