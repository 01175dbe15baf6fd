"""The paho client as one of thousands in a selector loop, made for many messages.

paho asks the kernel for one byte at a time, sends one packet a call and makes several
objects of every PUBLISH. Here a read fetches up to 32 KiB, PUBLISH packets are taken
apart where they lie (everything else is paho's), and the acknowledgements of a batch
leave together: 25 µs a message became 5 (November 2026).

It overrides four internal methods of paho 2.2 (`_create_socket`, `_sock_recv`,
`_sock_send`, `_handle_publish`) and reads `_in_packet`;
workers/tests/test_pahoclient.py fails when a newer paho has other ones.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import MQTTErrorCode

if TYPE_CHECKING:
    import socket

READ_BYTES = 32_768
_PUBLISH = 0x30
_DISCONNECT = 0xE0
_MAX_QOS = 1  # we never subscribe at QoS 2


class Publish(NamedTuple):
    """A message as it lay on the wire."""

    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    mid: int


class BufferedClient(Client):
    """A client that is driven by a loop of ours; never by `loop_start`."""

    def __init__(
        self, *args: object, take: Callable[[Publish], None], **kwargs: object
    ) -> None:
        """Prepare a client as paho does; `take` gets each message."""
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._take = take
        self._received = b""
        self._taken = 0
        self._to_send = bytearray()
        self._is_goodbye_queued = False
        self.dialled: socket.socket | None = None  # what `connect` is to use
        self.tls_alert = ""  # why the other end closed the secure connection
        self.reads_left = 1  # of READ_BYTES each; set anew before every turn

    @property
    def has_buffered(self) -> bool:
        """Whether bytes wait here that the selector cannot see."""
        return self._taken < len(self._received)

    @property
    def has_unsent(self) -> bool:
        return bool(self._to_send) or self.want_write()

    @property
    def announced_bytes(self) -> int:
        """Length of the packet that is coming in; paho itself puts no bound on it."""
        return int(self._in_packet["remaining_length"])

    def read_on(self) -> MQTTErrorCode:
        """Handle what is buffered up to the next packet that is not a PUBLISH."""
        if self._in_packet["command"] == 0:
            self._take_publishes()
            if not self.has_buffered:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
        return self.loop_read()

    def _take_publishes(self) -> None:
        data, start = self._received, self._taken
        while (found := whole_publish(data, start)) is not None:
            body, end = found
            self._take(parse_publish(data, data[start], body, end, self._is_v5))
            start = self._taken = end
            self._last_bytes_received = time.monotonic()  # for paho's keepalive

    def _handle_publish(self) -> MQTTErrorCode:
        """Take a PUBLISH that came in pieces, put together by paho."""
        packet = bytes(self._in_packet["packet"])
        head = self._in_packet["command"]
        self._take(parse_publish(packet, head, 0, len(packet), self._is_v5))
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    @property
    def _is_v5(self) -> bool:
        return bool(self._protocol == MQTTv5)

    def acknowledge(self, mids: Iterable[int]) -> None:
        """Queue the PUBACKs of a batch; `flush` sends them. None follows a goodbye."""
        if self._is_goodbye_queued:
            return
        for mid in mids:
            self._to_send += b"\x40\x02" + mid.to_bytes(2, "big")

    def flush(self) -> None:
        """Send what `_sock_send` holds; raises OSError when the link is gone."""
        while self._to_send:
            try:
                sent = super()._sock_send(self._to_send)
            except BlockingIOError:
                return
            except OSError:
                with suppress(OSError):
                    self._receive()  # what the other end said before it closed
                raise
            del self._to_send[:sent]

    def _create_socket(self) -> socket.socket:
        if self.dialled is None:
            message = "no connection was dialled"
            raise ValueError(message)
        return self.dialled

    def _receive(self) -> bytes:
        try:
            return super()._sock_recv(READ_BYTES)
        except ssl.SSLError as error:  # to paho just one more lost connection
            self.tls_alert = str(error)
            raise

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._taken >= len(self._received):
            if self.reads_left <= 0:
                raise BlockingIOError  # the rest waits in the socket
            self.reads_left -= 1
            self._received = self._receive()
            self._taken = 0
        chunk = self._received[self._taken : self._taken + bufsize]
        self._taken += len(chunk)
        return chunk

    def _sock_send(self, buf: bytes | bytearray) -> int:
        """Take a packet as a whole, behind what waits already.

        Never a part of one: acknowledgements would get between its parts when the
        socket is full, and under TLS a write that was begun has to be repeated with
        the same bytes.
        """
        if buf[0] & 0xF0 == _DISCONNECT:
            return self._send_goodbye(buf)
        self._to_send += buf
        return len(buf)

    def _send_goodbye(self, buf: bytes | bytearray) -> int:
        """Send everything: paho closes the socket as soon as this is taken."""
        if not self._is_goodbye_queued:
            self._is_goodbye_queued = True
            self._to_send += buf
        self.flush()
        if self._to_send:
            raise BlockingIOError
        return len(buf)


def whole_publish(data: bytes, start: int) -> tuple[int, int] | None:
    """Return where the body of the PUBLISH at `start` begins and ends.

    None if another packet lies there, or not the whole of it.
    """
    place, size, shift = start + 1, 0, 0
    if start >= len(data) or data[start] & 0xF0 != _PUBLISH:
        return None
    while place < len(data) and shift <= 21:  # noqa: PLR2004 (four bytes of seven bits)
        byte = data[place]
        place += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 (no more bytes of the length follow)
            end = place + size
            return (place, end) if end <= len(data) else None
    return None


def parse_publish(data: bytes, head: int, start: int, end: int, is_v5: bool) -> Publish:
    """Take a PUBLISH apart (MQTT 3.1.1 §3.3, MQTT 5 §3.3).

    Raises:
        ValueError: it is not one, or has QoS 2, which we never asked for.
    """
    qos = head >> 1 & 0x03
    topic_end = start + 2 + int.from_bytes(data[start : start + 2], "big")
    place, mid = topic_end, 0
    if qos:
        mid = int.from_bytes(data[place : place + 2], "big")
        place += 2
    is_alias = False
    if is_v5:
        place = _after_properties(data, place, end)
        is_alias = topic_end == start + 2  # we offer none: whose message would it be?
    if place > end or qos > _MAX_QOS or bool(qos) != bool(mid) or is_alias:
        message = f"malformed PUBLISH (head 0x{head:02X}, {end - start} bytes)"
        raise ValueError(message)
    topic = data[start + 2 : topic_end]
    payload = data[place:end]
    return Publish(topic, payload, qos, bool(head & 1), bool(head & 8), mid)


def _after_properties(data: bytes, place: int, end: int) -> int:
    """Return where the properties end, or a place behind `end` if that is nowhere."""
    size = shift = 0
    while place < end and shift <= 21:  # noqa: PLR2004 (four bytes of seven bits)
        byte = data[place]
        place += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 (as above)
            return place + size
    return end + 1
