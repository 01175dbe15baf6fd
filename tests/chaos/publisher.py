"""A publisher that never sends anything twice and remembers every PUBACK.

Its own few lines of MQTT 3.1.1: paho sends again after a reconnect what was not
confirmed, and then nobody knows who doubled a message.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time

from tests.chaos.messages import Script, Sent

MOST_UNCONFIRMED = 1_000
PATIENCE_S = 30.0  # with a frozen broker; then a new connection
TURN_S = 0.02


class Publisher:
    """Publishes one site's messages from a thread of its own."""

    def __init__(self, port: int, code: str, script: Script, rate: float) -> None:
        self.sent: list[Sent] = []
        self.acked = 0
        self.connects = 0
        self._port, self._code, self._script, self._rate = port, code, script, rate
        self._stop = threading.Event()
        self._waiting: dict[int, Sent] = {}  # by packet id, of this connection
        self._mid = 0
        self._rest = b""
        self._thread = threading.Thread(target=self._run, name=f"publish-{code}")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send no more; wait for the PUBACKs that are still to come."""
        self._stop.set()
        self._thread.join(2 * PATIENCE_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self._port), 5) as sock:
                    self._talk(sock)
            except OSError:
                self._stop.wait(0.3)

    def _talk(self, sock: socket.socket) -> None:
        self._waiting.clear()  # what the last connection owes us is never known
        self._rest = b""
        sock.settimeout(PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = f"chaos_{self._code}_{self.connects}".encode()
        body = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack("!H", len(name)) + name
        sock.sendall(b"\x10" + _length(len(body)) + body)
        if _exactly(sock, 4)[3]:
            raise OSError  # refused
        self.connects += 1
        due = time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            due = max(due, now - 1.0)  # after a pause no flood
            while due <= now and len(self._waiting) < MOST_UNCONFIRMED:
                self._send(sock)
                due += 1 / self._rate
            self._read(sock, TURN_S)
        end = time.monotonic() + PATIENCE_S
        while self._waiting and time.monotonic() < end:
            self._read(sock, TURN_S)

    def _send(self, sock: socket.socket) -> None:
        self._mid = self._mid % 65_535 + 1
        message = self._script.next(time.time())
        topic = f"{self._code}/datalogger/chaos/{message.device}/data".encode()
        body = struct.pack("!H", len(topic)) + topic + struct.pack("!H", self._mid)
        body += message.payload
        self.sent.append(message)
        self._waiting[self._mid] = message
        sock.sendall(b"\x32" + _length(len(body)) + body)

    def _read(self, sock: socket.socket, timeout_s: float) -> None:
        if not select.select([sock], [], [], timeout_s)[0]:
            return
        data = sock.recv(65_536)
        if not data:
            raise OSError
        data = self._rest + data
        whole = len(data) // 4 * 4  # nothing but PUBACKs comes
        now = time.time()
        for start in range(0, whole, 4):
            head, mid = struct.unpack("!HH", data[start : start + 4])
            if head != 0x4002:
                message = f"not a PUBACK: 0x{head:04X}"
                raise AssertionError(message)
            confirmed = self._waiting.pop(mid, None)
            if confirmed is not None:
                confirmed.acked_at = now
                self.acked += 1
        self._rest = data[whole:]


def _length(size: int) -> bytes:
    return bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise OSError
        data += piece
    return data
