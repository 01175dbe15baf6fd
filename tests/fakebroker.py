"""A scripted broker on loopback, of MQTT 3.1.1 and 5, that notes every PUBACK it gets.

Knows just enough to be connected to: CONNACK, SUBACK, PINGRESP, PUBACK; and it sends
what the test tells it to. Which MQTT it speaks is what the CONNECT asks for.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, UNSUBSCRIBE = 1, 3, 4, 8, 10
PINGREQ, DISCONNECT = 12, 14


class FakeBroker:
    """Serves one client at a time; `on_puback` runs at the moment a PUBACK arrives."""

    def __init__(self, on_puback: Callable[[int], None] | None = None) -> None:
        self.pubacks: list[int] = []
        self.published: list[str] = []  # the topics of what came at QoS 1
        self.withheld: set[str] = set()  # topics that get no PUBACK
        self.connects = 0
        self.greetings: list[bytes] = []  # the bodies of the CONNECTs
        self.is_v5 = False
        self._on_puback = on_puback
        self._subscribed = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._client: socket.socket | None = None
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        if self._client is not None:
            _hang_up(self._client)  # it may be going at this moment
        self._thread.join(10)

    def send(self, mid: int, topic: str, payload: bytes, *, dup: bool = False) -> None:
        """Send a QoS 1 PUBLISH to the connected client."""
        self.send_raw(publish(mid, topic.encode(), payload, dup=dup, v5=self.is_v5))

    def send_raw(self, data: bytes) -> None:
        """Send any bytes to the connected client."""
        assert self._subscribed.wait(30)
        assert self._client is not None
        self._client.sendall(data)

    def cut(self) -> None:
        """Drop the client without a word."""
        self._subscribed.clear()
        assert self._client is not None
        self._client.shutdown(socket.SHUT_RDWR)

    def wait_connects(self, count: int, timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while self.connects < count:
            assert time.monotonic() < end, f"{self.connects} of {count} connects"
            time.sleep(0.02)
        assert self._subscribed.wait(30)

    def _serve(self) -> None:
        while True:
            try:
                self._client, _ = self._server.accept()
                with self._client:
                    while self._packet(self._client):
                        pass
            except OSError:
                if self._server.fileno() == -1:
                    return

    def _packet(self, client: socket.socket) -> bool:
        head = client.recv(1)
        if not head:
            return False
        body = _exactly(client, _read_length(client))
        self.answer(client, head[0], body)
        return True

    def answer(self, client: socket.socket, head: int, body: bytes) -> None:
        """Answer one packet; a hostile broker overrides it."""
        kind = head >> 4
        if kind == CONNECT:
            self.greetings.append(body)
            self.is_v5 = body[6] == 5
            client.sendall(self.packet(0x20, b"\0\0", properties=True))
            self.connects += 1
        elif kind == SUBSCRIBE:
            self.grant(client, body, b"\x01" * self.count_filters(body))
        elif kind == UNSUBSCRIBE:
            codes = b"\0" * self.count_filters(body, 0) if self.is_v5 else b""
            client.sendall(self.packet(0xB0, body[:2], codes, properties=True))
        elif kind == PINGREQ:
            client.sendall(b"\xd0\x00")
        elif kind == PUBLISH and head & 0x06:
            self._confirm(client, body)
        elif kind == PUBACK:
            mid = struct.unpack("!H", body[:2])[0]
            if self._on_puback is not None:
                self._on_puback(mid)
            self.pubacks.append(mid)

    def grant(self, client: socket.socket, body: bytes, codes: bytes) -> None:
        """Answer a SUBSCRIBE with these codes."""
        client.sendall(self.packet(0x90, body[:2], codes, properties=True))
        self._subscribed.set()

    def packet(
        self, head: int, first: bytes, rest: bytes = b"", *, properties: bool = False
    ) -> bytes:
        """Return a packet; in MQTT 5 with an empty list of properties in between."""
        body = first + (b"\0" if properties and self.is_v5 else b"") + rest
        return bytes([head]) + length(len(body)) + body

    def count_filters(self, body: bytes, options: int = 1) -> int:
        """Return how many filters a SUBSCRIBE has; without options, an UNSUBSCRIBE."""
        count, place = 0, 2
        if self.is_v5:
            place += 1 + body[2]  # properties, of at most 127 bytes
        while place < len(body):
            place += 2 + struct.unpack("!H", body[place : place + 2])[0] + options
            count += 1
        return count

    def _confirm(self, client: socket.socket, body: bytes) -> None:
        size = struct.unpack("!H", body[:2])[0]
        topic = body[2 : 2 + size].decode()
        if topic not in self.withheld:
            client.sendall(b"\x40\x02" + body[2 + size : 4 + size])
        self.published.append(topic)


def publish(
    mid: int, topic: bytes, payload: bytes, *, dup: bool = False, v5: bool = False
) -> bytes:
    """Return a QoS 1 PUBLISH."""
    properties = b"\0" if v5 else b""
    number = struct.pack("!H", mid)
    body = struct.pack("!H", len(topic)) + topic + number + properties + payload
    head = (PUBLISH << 4) | (8 if dup else 0) | (1 << 1)
    return bytes([head]) + length(len(body)) + body


def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = client.recv(count - len(data))
        if not piece:
            raise OSError
        data += piece
    return data


def length(size: int) -> bytes:
    encoded = bytearray()
    while True:
        size, digit = divmod(size, 128)
        encoded.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(encoded)


def _read_length(client: socket.socket) -> int:
    size = shift = 0
    while True:
        byte = _exactly(client, 1)[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return size


@dataclass(slots=True)
class Session:
    """One TCP session with a client, as the broker saw it; times are monotonic."""

    client_id: str
    began: float
    ended: float | None = None
    was_evicted: bool = False
    pubacks: list[tuple[float, int]] = field(default_factory=list)


class SessionLog(FakeBroker):
    """Serves many clients at once, as a real broker: one session for each client id.

    A CONNECT ends the older session of its client id, which is noted.
    """

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self._sockets: dict[socket.socket, Session] = {}
        self._lock = threading.Lock()
        super().__init__()

    @property
    def alive(self) -> list[Session]:
        return [session for session in list(self.sessions) if session.ended is None]

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        with self._lock:
            for client in self._sockets:
                _hang_up(client)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._attend, args=(client,), daemon=True).start()

    def _attend(self, client: socket.socket) -> None:
        with client:
            try:
                while self._packet(client):
                    pass
            except OSError:
                pass  # it is gone, or was evicted
            with self._lock:
                session = self._sockets.pop(client, None)
            if session is not None and session.ended is None:
                session.ended = time.monotonic()

    def answer(self, client: socket.socket, head: int, body: bytes) -> None:
        if head >> 4 == CONNECT:
            self._begin(client, _client_id(body))
        elif head >> 4 == PUBACK:
            mid = struct.unpack("!H", body[:2])[0]
            self._sockets[client].pubacks.append((time.monotonic(), mid))
        super().answer(client, head, body)

    def _begin(self, client: socket.socket, client_id: str) -> None:
        with self._lock:
            for other, session in self._sockets.items():
                if session.client_id == client_id and session.ended is None:
                    session.ended = time.monotonic()
                    session.was_evicted = True
                    _hang_up(other)
            self._client = client
            self._sockets[client] = Session(client_id, time.monotonic())
            self.sessions.append(self._sockets[client])


def _client_id(body: bytes) -> str:
    place = 10  # after protocol name, level, flags, keepalive
    if body[6] == 5:
        place += 1 + body[10]  # properties, of at most 127 bytes
    size = struct.unpack("!H", body[place : place + 2])[0]
    return body[place + 2 : place + 2 + size].decode()


def _hang_up(client: socket.socket) -> None:
    with suppress(OSError):  # it has gone by itself
        client.shutdown(socket.SHUT_RDWR)
