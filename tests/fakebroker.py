"""A scripted MQTT 3.1.1 broker on loopback that notes every PUBACK it gets.

Knows just enough to be connected to: CONNACK, SUBACK, PINGRESP, PUBACK; and it sends
what the test tells it to.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, UNSUBSCRIBE, PINGREQ = 1, 3, 4, 8, 10, 12


class FakeBroker:
    """Serves one client at a time; `on_puback` runs at the moment a PUBACK arrives."""

    def __init__(self, on_puback: Callable[[int], None] | None = None) -> None:
        self.pubacks: list[int] = []
        self.published: list[str] = []  # the topics of what came at QoS 1
        self.withheld: set[str] = set()  # topics that get no PUBACK
        self.connects = 0
        self.greetings: list[bytes] = []  # the bodies of the CONNECTs
        self._on_puback = on_puback
        self._subscribed = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._client: socket.socket | None = None
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> FakeBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        if self._client is not None and self._client.fileno() != -1:
            self._client.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def send(self, mid: int, topic: str, payload: bytes, *, dup: bool = False) -> None:
        """Send a QoS 1 PUBLISH to the connected client."""
        self.send_raw(publish(mid, topic.encode(), payload, dup=dup))

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
            client.sendall(b"\x20\x02\x00\x00")
            self.connects += 1
        elif kind == SUBSCRIBE:
            client.sendall(
                b"\x90"
                + _length(2 + _filters(body))
                + body[:2]
                + b"\x01" * _filters(body)
            )
            self._subscribed.set()
        elif kind == UNSUBSCRIBE:
            client.sendall(b"\xb0\x02" + body[:2])
        elif kind == PINGREQ:
            client.sendall(b"\xd0\x00")
        elif kind == PUBLISH and head & 0x06:
            self._confirm(client, body)
        elif kind == PUBACK:
            mid = struct.unpack("!H", body)[0]
            if self._on_puback is not None:
                self._on_puback(mid)
            self.pubacks.append(mid)

    def _confirm(self, client: socket.socket, body: bytes) -> None:
        size = struct.unpack("!H", body[:2])[0]
        topic = body[2 : 2 + size].decode()
        self.published.append(topic)
        if topic not in self.withheld:
            client.sendall(b"\x40\x02" + body[2 + size : 4 + size])


def publish(mid: int, topic: bytes, payload: bytes, *, dup: bool = False) -> bytes:
    """Return a QoS 1 PUBLISH of MQTT 3.1.1."""
    body = struct.pack("!H", len(topic)) + topic + struct.pack("!H", mid) + payload
    head = (PUBLISH << 4) | (8 if dup else 0) | (1 << 1)
    return bytes([head]) + _length(len(body)) + body


def _filters(body: bytes) -> int:
    count, place = 0, 2
    while place < len(body):
        place += 2 + struct.unpack("!H", body[place : place + 2])[0] + 1
        count += 1
    return count


def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = client.recv(count - len(data))
        if not piece:
            raise OSError
        data += piece
    return data


def _length(size: int) -> bytes:
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
